//! TLS as an option of the builders: `.tls(..)` puts a layer under the protocol.

use std::fmt;
use std::io;
use std::rc::Rc;

use tidegate_protocols::{
    Above, Cause, Connects, Gate, Incoming, Layer, Layered, Protocol, Serves, Slot, Transport,
};
use tidegate_reactor::LoopHandle;

use crate::config::{Client, Server};
use crate::connection::{Terms, Tls};
use crate::lower::Lower;
use crate::session::Session;

/// TLS for connections that are made: `.tls(client, name)` on `create_connection`, `open_connection` and their kin.
///
/// ```no_run
/// use tidegate_protocols::Protocol;
/// use tidegate_tls::{Client, ClientTls};
/// use tidegate_transports::create_connection;
///
/// struct Idle;
/// impl Protocol for Idle {}
///
/// # async fn example() -> std::io::Result<()> {
/// let client = Client::new()?;
/// let transport =
///     create_connection(|| Idle, ("example.org", 443)).tls(client, "example.org").await?;
/// # Ok(())
/// # }
/// ```
pub trait ClientTls: Connects {
    /// Speaks TLS as a client, with the server of that name (asyncio's `ssl` and `server_hostname`).
    ///
    /// The certificate has to be valid for `name`, which is a host name or an address; an empty one stands for the
    /// host that is connected to. The builder then resolves when the handshake is done, and the protocol's
    /// `connection_made` comes then. Dropping it meanwhile aborts the connection.
    ///
    /// # Errors
    ///
    /// The builder answers, before it connects, that `name` is no name; and, when the handshake fails, a
    /// [`TlsError`](crate::TlsError) inside of an [`io::Error`].
    fn tls(self, client: Client, name: &str) -> Self {
        self.layer(ClientLayer { client, name: name.to_owned() })
    }
}

impl<B: Connects> ClientTls for B {}

/// TLS for servers: `.tls(server)` on `create_server`, `start_server`, `connect_accepted_socket` and their kin.
///
/// ```no_run
/// use tidegate_protocols::Protocol;
/// use tidegate_tls::{Server, ServerTls};
/// use tidegate_transports::create_server;
///
/// struct Idle;
/// impl Protocol for Idle {}
///
/// # async fn example() -> std::io::Result<()> {
/// let tls = Server::from_pem_files("chain.pem", "key.pem")?;
/// create_server(|| Idle, ("127.0.0.1", 8443)).tls(tls).await?.serve_forever().await
/// # }
/// ```
pub trait ServerTls: Serves {
    /// Speaks TLS as a server (asyncio's `ssl`).
    ///
    /// The handshake of each connection goes on beside those of all others; a protocol's `connection_made` comes when
    /// its own is done, and a protocol whose handshake fails is never called. Failures are reported in debug mode only.
    fn tls(self, server: Server) -> Self {
        self.layer(ServerLayer(server))
    }
}

impl<B: Serves> ServerTls for B {}

/// A client's end, as a layer.
struct ClientLayer {
    client: Client,
    name: String,
}

impl ClientLayer {
    fn session(&self, host: Option<&str>) -> io::Result<Session> {
        let name = match (self.name.as_str(), host) {
            ("", Some(host)) => host,
            ("", None) => {
                // asyncio: base_events.py create_connection.
                let text = "You must set server_hostname when using ssl without a host";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            (name, _) => name,
        };
        client_session(&self.client, name)
    }
}

impl Layer for ClientLayer {
    fn check(&self) -> io::Result<()> {
        match self.name.as_str() {
            "" => Ok(()),
            name => Ok(crate::config::server_name(name).map(drop)?),
        }
    }

    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        let session = self.session(gate.host());
        under(above, gate, session, terms_of_client(&self.client))
    }
}

/// A server's end, as a layer.
struct ServerLayer(Server);

impl Layer for ServerLayer {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        under(above, gate, server_session(&self.0), terms_of_server(&self.0))
    }
}

/// The session of a client.
pub(crate) fn client_session(client: &Client, name: &str) -> io::Result<Session> {
    let name = crate::config::server_name(name)?;
    Ok(Session::client(client.rustls(), name)?)
}

/// The session of a server.
pub(crate) fn server_session(server: &Server) -> io::Result<Session> {
    Ok(Session::server(server.rustls())?)
}

/// What a client has agreed to.
pub(crate) fn terms_of_client(client: &Client) -> Terms {
    Terms {
        handshake_timeout: client.handshake_timeout(),
        shutdown_timeout: client.shutdown_timeout(),
        accept_truncation: client.accepts_truncation(),
    }
}

/// What a server has agreed to.
pub(crate) fn terms_of_server(server: &Server) -> Terms {
    Terms {
        handshake_timeout: server.handshake_timeout(),
        shutdown_timeout: server.shutdown_timeout(),
        accept_truncation: server.accepts_truncation(),
    }
}

/// The protocol for what is below.
fn under(
    above: Above,
    gate: Gate,
    session: io::Result<Session>,
    terms: Terms,
) -> Box<dyn Protocol> {
    let found = session.and_then(|session| Ok((session, LoopHandle::current()?)));
    let (session, handle) = match found {
        Ok(found) => found,
        Err(error) => return Box::new(Refused(Some((gate, error)))),
    };
    let tls = Tls::new(handle, session, Slot::new(above.protocol), terms, gate);
    tls.stands_under(above.greeted, above.flow);
    Box::new(Lower::new(tls))
}

/// What is below a connection that cannot be opened: it ends with the first word.
struct Refused(Option<(Gate, io::Error)>);

impl Protocol for Refused {
    fn connection_made(&mut self, below: &Transport) {
        if let Some((gate, error)) = self.0.take() {
            gate.fail(Cause::from(error));
        }
        below.abort();
    }

    fn receive(&mut self, below: &Transport, _incoming: &mut Incoming<'_>) -> io::Result<()> {
        below.abort();
        Ok(())
    }
}

impl fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer").field("name", &self.name).finish_non_exhaustive()
    }
}

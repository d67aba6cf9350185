//! TLS as an option of the builders: `.tls(..)` puts a layer under the protocol.

use std::io;

use tidegate_protocols::{
    Above, Cause, Connects, Gate, Incoming, Layer, Protocol, Serves, Slot, Transport,
};
use tidegate_reactor::LoopHandle;

use crate::config::{Client, Server};
use crate::connection::Tls;
use crate::info::TlsConfig;
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
    /// [`TlsError`](crate::TlsError) inside of an [`io::Error`]. A server that refuses this client's certificate, or
    /// misses one, says so only later with TLS 1.3: the first read fails then, or `connection_lost` has the cause.
    fn tls(self, client: Client, name: &str) -> Self {
        self.layer(ClientLayer::new(client, name))
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
        self.layer(ServerLayer::new(server))
    }
}

impl<B: Serves> ServerTls for B {}

/// The client's end as a [`Layer`], for what has no builder: connections of a kind of one's own, or in memory.
///
/// [`ClientTls`] says the rest.
#[derive(Clone, Debug)]
pub struct ClientLayer {
    client: Client,
    name: String,
}

impl ClientLayer {
    /// Speaks TLS with the server of that name, or, if it is empty, of the host that is connected to.
    pub fn new(client: Client, name: &str) -> ClientLayer {
        ClientLayer { client, name: name.to_owned() }
    }

    fn session(&self, host: Option<&str>) -> io::Result<Session> {
        let name = match self.name.as_str() {
            "" => host.unwrap_or_default(),
            name => name,
        };
        client_session(&self.client, name)
    }
}

impl Layer for ClientLayer {
    fn check(&self) -> io::Result<()> {
        match self.name.as_str() {
            "" => Ok(()),
            name => Ok(self.client.server_name(name).map(drop)?),
        }
    }

    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        let session = self.session(gate.host());
        under(above, gate, session, TlsConfig::Client(self.client.clone()))
    }
}

/// The server's end as a [`Layer`], for what has no builder.
#[derive(Clone, Debug)]
pub struct ServerLayer(Server);

impl ServerLayer {
    /// Speaks TLS as `server` says.
    pub fn new(server: Server) -> ServerLayer {
        ServerLayer(server)
    }
}

impl Layer for ServerLayer {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        under(above, gate, server_session(&self.0), TlsConfig::Server(self.0.clone()))
    }
}

/// The session of a client.
pub(crate) fn client_session(client: &Client, name: &str) -> io::Result<Session> {
    Ok(Session::client(client.rustls(), client.server_name(name)?)?)
}

/// The session of a server.
pub(crate) fn server_session(server: &Server) -> io::Result<Session> {
    Ok(Session::server(server.rustls())?)
}

/// The protocol for what is below.
fn under(
    above: Above,
    gate: Gate,
    session: io::Result<Session>,
    config: TlsConfig,
) -> Box<dyn Protocol> {
    let found = session.and_then(|session| Ok((session, LoopHandle::current()?)));
    let (session, handle) = match found {
        Ok(found) => found,
        Err(error) => return Box::new(Refused(Some((gate, error)))),
    };
    let tls = Tls::new(handle, session, Slot::new(above.protocol), config, gate);
    tls.carry(above.greeted, above.flow);
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

//! Our own end of a case: connections as streams, what they carry, and how they end.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::OnceLock;

use tidegate::{
    DEFAULT_LIMIT, StreamReader, StreamReaderProtocol, StreamWriter, connect_accepted_socket,
    open_connection, sock_accept,
};
use tidegate_tls::{
    CertificateProblem, Cipher, Client, ClientBuilder, ClientTls, Server, ServerBuilder, ServerTls,
    TlsError, Version,
};

use super::python;
use crate::authority::Authority;

/// How much goes each way where much does.
pub(crate) const MUCH: usize = 8 << 20;

/// A connection of ours.
pub(crate) struct Ours {
    pub(crate) reader: StreamReader,
    pub(crate) writer: StreamWriter,
}

impl Ours {
    /// What came to an end that the peer has said.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        self.reader.read_to_end().await.expect("an end in good order").to_vec()
    }

    /// The line that comes next.
    pub(crate) async fn line(&mut self) -> String {
        String::from_utf8_lossy(&self.reader.readline().await.expect("a line")).into_owned()
    }

    /// The reason for which nothing more can be read.
    pub(crate) async fn loss(&mut self) -> TlsError {
        tls_error(self.reader.read_to_end().await.expect_err("the connection is lost"))
    }

    /// Says our end, and reads that of a Python, which has nothing more to send.
    pub(crate) async fn half_close_to_python(mut self) {
        self.writer.write_eof().expect("a half close");
        if python::answers_close_notify() {
            assert_eq!(self.rest().await, b"");
            self.close().await;
        } else {
            assert_eq!(self.loss().await, TlsError::Truncated);
        }
    }

    /// Closes, and waits until the peer has closed as well.
    pub(crate) async fn close(self) {
        self.writer.close().await.expect("a close without an error");
    }

    /// Checks that the peer and we agree on `version`.
    pub(crate) fn speaks(&self, version: Version) {
        let cipher: Cipher = self.writer.get_extra_info().expect("a cipher");
        assert_eq!(cipher.version, version);
    }

    /// Sends [`much`] and receives as much, both at once; the answer is what came.
    pub(crate) async fn exchange_much(&mut self) -> Vec<u8> {
        let writer = self.writer.clone();
        let sending = tidegate::spawn(send_much(writer)).expect("a running loop");
        let received = self.reader.readexactly(MUCH).await.expect("as much as was sent");
        sending.await.expect("the task ends").expect("all is sent");
        received.to_vec()
    }
}

/// Sends [`much`] as fast as it leaves.
pub(crate) async fn send_much(writer: StreamWriter) -> io::Result<()> {
    for piece in much().chunks(100_000) {
        writer.write(piece);
        writer.drain().await?;
    }
    writer.flush().await
}

/// 8 MiB of digits that do not repeat. (Some programs take letters for commands.)
pub(crate) fn much() -> &'static [u8] {
    static MUCH_OF_IT: OnceLock<Vec<u8>> = OnceLock::new();
    MUCH_OF_IT.get_or_init(|| {
        let mut state = 88_172_645_463_325_252_u64;
        let mut digits = Vec::with_capacity(MUCH + 16);
        while digits.len() < MUCH {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            digits.extend_from_slice(format!("{:016}", state % 10_000_000_000_000_000).as_bytes());
        }
        digits.truncate(MUCH);
        digits
    })
}

/// Checks that `received` is [`much`].
pub(crate) fn is_much(received: &[u8]) {
    if received != much() {
        let wrong = received.iter().zip(much()).position(|(came, sent)| came != sent);
        panic!("{} of {MUCH} bytes; the first that differs: {wrong:?}", received.len());
    }
}

/// A server of ours, each of whose connections is asked for.
pub(crate) struct Serving {
    listener: TcpListener,
    tls: Server,
}

impl Serving {
    pub(crate) fn new(tls: Server) -> Serving {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        Serving { listener, tls }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// The next connection, when its handshake is done.
    pub(crate) async fn accept(&self) -> io::Result<Ours> {
        self.accepted(Some(&self.tls)).await
    }

    /// The next connection, in clear.
    pub(crate) async fn accept_plain(&self) -> Ours {
        self.accepted(None).await.expect("a connection")
    }

    /// Why the next connection does not come about.
    pub(crate) async fn refusal(&self) -> TlsError {
        tls_error(self.accept().await.err().expect("the handshake fails"))
    }

    pub(crate) fn tls(&self) -> &Server {
        &self.tls
    }

    async fn accepted(&self, tls: Option<&Server>) -> io::Result<Ours> {
        let (sock, _) = sock_accept(&self.listener).await?;
        let streams = Rc::new(Cell::new(None));
        let share = streams.clone();
        let protocol = StreamReaderProtocol::new(DEFAULT_LIMIT, move |reader, writer| {
            share.set(Some(Ours { reader, writer }));
        })?;
        let connection = connect_accepted_socket(|| protocol, sock);
        match tls {
            Some(tls) => connection.tls(tls.clone()).await?,
            None => connection.await?,
        };
        Ok(streams.take().expect("the connection is made"))
    }
}

/// A connection of ours to the server at this port.
pub(crate) async fn connect(port: u16, client: &Client, name: &str) -> io::Result<Ours> {
    let (reader, writer) = open_connection(("127.0.0.1", port)).tls(client.clone(), name).await?;
    Ok(Ours { reader, writer })
}

/// Why a server refuses us: a client of TLS 1.3 is done before the server has looked at its certificate.
pub(crate) async fn refused(connecting: io::Result<Ours>) -> TlsError {
    match connecting {
        Ok(mut ours) => ours.loss().await,
        Err(error) => tls_error(error),
    }
}

/// Checks that our end does not accept a certificate, for this reason.
pub(crate) fn is_problem(error: TlsError, expected: CertificateProblem) {
    match error {
        TlsError::Certificate(problem, _) if problem == expected => {}
        other => panic!("{expected:?} is expected, and it is {other:?}"),
    }
}

/// Checks that the peer has refused by one of these alerts.
pub(crate) fn is_alert(error: TlsError, names: &[&str]) {
    match &error {
        TlsError::Alert(alert) if names.contains(&alert.name()) => {}
        other => panic!("an alert of {names:?} is expected, and it is {other:?}"),
    }
}

/// The client that trusts `authority` and speaks one version.
pub(crate) fn client(authority: &Authority, version: Version) -> ClientBuilder {
    authority.client_builder().versions(version..=version)
}

/// The server that shows a certificate of `authority` for `localhost` and speaks both versions: the peer chooses one.
pub(crate) fn server(authority: &Authority) -> ServerBuilder {
    authority.server_builder()
}

fn tls_error(error: io::Error) -> TlsError {
    TlsError::of(&error).unwrap_or_else(|| panic!("no error of TLS: {error:?}")).clone()
}

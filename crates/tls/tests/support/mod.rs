//! Two ends that speak TLS over memory or over sockets, and a peer that is rustls alone.

#![allow(dead_code, reason = "every test program uses a part of this")]

pub(crate) mod upgrading;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tidegate_protocols::layer::{Layer, stack};
use tidegate_protocols::{AtEof, Cause, Protocol, Transport};
use tidegate_reactor::{EventLoop, LoopHandle, Report, create_future};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{JumpingClock, Log, Recorder, until, watched};
use tidegate_tls::rustls::pki_types::pem::PemObject;
use tidegate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tidegate_tls::rustls::{
    self, ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};
use tidegate_tls::{
    Client, ClientBuilder, ClientLayer, Provider, Server, ServerBuilder, ServerLayer, Version,
};

use crate::authority::Authority;

/// The shutdown limit of [`Both`].
pub(crate) const LIMIT: Duration = Duration::from_secs(8);

/// A client and a server that trust each other.
pub(crate) struct Both {
    pub(crate) authority: Authority,
    pub(crate) client: Client,
    pub(crate) server: Server,
}

impl Both {
    pub(crate) fn new() -> Both {
        Both::with(|client| client, |server| server)
    }

    pub(crate) fn with(
        client: impl FnOnce(ClientBuilder) -> ClientBuilder,
        server: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Both {
        let authority = Authority::new();
        let of_client = client(authority.client_builder().shutdown_timeout(LIMIT)).build();
        let of_server = server(authority.server_builder().shutdown_timeout(LIMIT)).build();
        let (client, server) = (of_client.expect("a client"), of_server.expect("a server"));
        Both { authority, client, server }
    }

    /// Both with this version alone.
    pub(crate) fn of_version(version: Version) -> Both {
        let only = version..=version;
        Both::with(|client| client.versions(only.clone()), |server| server.versions(only.clone()))
    }

    pub(crate) fn client_layer(&self) -> Rc<dyn Layer> {
        Rc::new(ClientLayer::new(self.client.clone(), "localhost"))
    }

    pub(crate) fn server_layer(&self) -> Rc<dyn Layer> {
        Rc::new(ServerLayer::new(self.server.clone()))
    }
}

/// One end of a connection.
pub(crate) struct End {
    pub(crate) transport: Transport,
    pub(crate) log: Log,
}

impl Deref for End {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

/// A secure connection over memory; its client is the left end of the line.
pub(crate) struct Pair {
    pub(crate) client: End,
    pub(crate) server: End,
    pub(crate) line: Line,
}

impl Pair {
    pub(crate) async fn lost(&self) {
        self.client.log.lost().await;
        self.server.log.lost().await;
        self.client.log.until(Log::is_abandoned).await;
        self.server.log.until(Log::is_abandoned).await;
        self.client.log.assert_complete();
        self.server.log.assert_complete();
    }
}

/// How a memory line is that takes so much at a time.
pub(crate) fn narrow(capacity: usize) -> PairOptions {
    PairOptions { capacity, ..PairOptions::default() }
}

/// What becomes of a connection whose layers are to open.
type Opening = std::pin::Pin<Box<dyn Future<Output = io::Result<Transport>>>>;

/// `protocol` with these layers under it, the first next to the wire, and when they are open.
pub(crate) fn layered(
    layers: &[Rc<dyn Layer>],
    protocol: impl Protocol,
) -> (Box<dyn Protocol>, Opening) {
    let (promise, opened) = create_future::<Result<Transport, Cause>>();
    let told = move |outcome| {
        // Nobody may wait for it any more.
        let _ = promise.set_result(outcome);
    };
    let opened = async move {
        let outcome = opened.await.map_err(io::Error::other)?;
        outcome.map_err(io::Error::from)
    };
    (stack(layers, Box::new(protocol), None, told), Box::pin(opened))
}

/// The layers of both ends, the first next to the wire.
type Layers<'a> = (&'a [Rc<dyn Layer>], &'a [Rc<dyn Layer>]);

/// Connects two recorders.
pub(crate) async fn connect_over(
    options: PairOptions,
    tls: &Both,
    client: Recorder,
    server: Recorder,
) -> Pair {
    let layers = (&[tls.client_layer()][..], &[tls.server_layer()][..]);
    connect_through(options, layers, client, server).await
}

/// The same over a line of the usual kind.
pub(crate) async fn connect(tls: &Both, client: Recorder, server: Recorder) -> Pair {
    connect_over(PairOptions::default(), tls, client, server).await
}

/// The same with any layers.
pub(crate) async fn connect_through(
    options: PairOptions,
    (client_layers, server_layers): Layers<'_>,
    client: Recorder,
    server: Recorder,
) -> Pair {
    let (client_log, server_log) = (client.log(), server.log());
    let (left, client) = layered(client_layers, client);
    let (right, server) = layered(server_layers, server);
    let line = Line::open(&handle(), left, right, options).expect("a line");
    let client = End { transport: client.await.expect("an open client"), log: client_log };
    let server = End { transport: server.await.expect("an open server"), log: server_log };
    Pair { client, server, line }
}

/// Connects a client with a peer that is rustls alone; the peer is the right end of the line.
pub(crate) async fn client_of_peer(
    tls: &Both,
    options: PairOptions,
    client: Recorder,
) -> (End, Peer, Line) {
    let log = client.log();
    let (left, opened) = layered(&[tls.client_layer()], client);
    let peer = Peer::server(tls);
    peer.secure();
    let line = Line::open(&handle(), left, Box::new(peer.protocol()), options).expect("a line");
    let transport = opened.await.expect("an open client");
    (End { transport, log }, peer, line)
}

pub(crate) fn handle() -> LoopHandle {
    LoopHandle::current().expect("a running loop")
}

/// What passes by the clock of the loop.
pub(crate) async fn pass(time: Duration) {
    tidegate_reactor::sleep(time).await.expect("the loop lives");
}

/// Runs `test`, watched, in a loop whose clock jumps. It may register no descriptor.
pub(crate) fn jumping<F: Future>(test: F) -> F::Output {
    watched(|| {
        let event_loop = EventLoop::with_clock(JumpingClock::new()).expect("an event loop");
        let answer = event_loop.run_until_complete(test).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        answer
    })
}

/// Bytes of which each place looks different from its neighbours.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8 ^ (place / 251 % 256) as u8).collect()
}

/// Keeps the reports of the running loop.
pub(crate) fn keep_reports() -> Rc<RefCell<Vec<String>>> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = kept.clone();
    handle().set_exception_handler(Some(move |report: &Report| {
        keep.borrow_mut().push(report.message().to_owned());
    }));
    kept
}

/// Polls once; answers whether it is ready.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = std::pin::Pin::new(future);
    poll_fn(|context| {
        Poll::Ready(match future.as_mut().poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// The other end, with rustls and nothing of ours: it does what the test says, and shows what is on the wire.
#[derive(Clone)]
pub(crate) struct Peer(Rc<PeerState>);

pub(crate) struct PeerState {
    session: RefCell<Connection>,
    secured: Cell<bool>,
    /// What the session wants to be sent waits for the test.
    held: Cell<bool>,
    /// Every byte that has arrived, as it was on the wire.
    wire: RefCell<Vec<u8>>,
    /// What has arrived in clear, before it was secured.
    clear: RefCell<Vec<u8>>,
    /// What has arrived in TLS.
    plain: RefCell<Vec<u8>>,
    notified: Cell<bool>,
    ended: Cell<bool>,
    lost: Cell<bool>,
    error: RefCell<Option<rustls::Error>>,
    transport: RefCell<Option<Transport>>,
}

impl Peer {
    /// A server.
    pub(crate) fn server(tls: &Both) -> Peer {
        Peer::new(Connection::Server(server_session(tls, None)))
    }

    /// A server whose records hold so little, and which sends nothing by itself.
    pub(crate) fn slow_server(tls: &Both, record: usize) -> Peer {
        let peer = Peer::new(Connection::Server(server_session(tls, Some(record))));
        peer.0.held.set(true);
        peer.0.secured.set(true);
        peer
    }

    /// A client.
    pub(crate) fn client(tls: &Both) -> Peer {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_file(tls.authority.roots_pem()).expect("a root");
        roots.add(pem).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::clone(Provider::default().crypto()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
        Peer::new(Connection::Client(session))
    }

    fn new(mut session: Connection) -> Peer {
        session.set_buffer_limit(None);
        Peer(Rc::new(PeerState {
            session: RefCell::new(session),
            secured: Cell::new(false),
            held: Cell::new(false),
            wire: RefCell::default(),
            clear: RefCell::default(),
            plain: RefCell::default(),
            notified: Cell::new(false),
            ended: Cell::new(false),
            lost: Cell::new(false),
            error: RefCell::default(),
            transport: RefCell::default(),
        }))
    }

    /// From now on it sends nothing by itself.
    pub(crate) fn hold(&self) {
        self.0.held.set(true);
    }

    /// The protocol that stands for it.
    pub(crate) fn protocol(&self) -> PeerProtocol {
        PeerProtocol(self.clone())
    }

    /// What follows is TLS.
    pub(crate) fn secure(&self) {
        self.0.secured.set(true);
        self.send();
    }

    /// Its transport, in clear.
    pub(crate) fn transport(&self) -> Transport {
        self.0.transport.borrow().clone().expect("a connection that was made")
    }

    /// Says something in TLS.
    pub(crate) fn write(&self, data: &[u8]) {
        self.0.session.borrow_mut().writer().write_all(data).expect("no limit");
        self.send();
    }

    /// The records that say something in TLS, unsent.
    pub(crate) fn records(&self, data: &[u8]) -> Vec<u8> {
        let mut session = self.0.session.borrow_mut();
        session.writer().write_all(data).expect("no limit");
        drop(session);
        self.unsent()
    }

    pub(crate) fn close_notify(&self) {
        self.0.session.borrow_mut().send_close_notify();
        self.send();
    }

    /// What the session wants to be sent, unsent.
    pub(crate) fn unsent(&self) -> Vec<u8> {
        let mut session = self.0.session.borrow_mut();
        let mut records = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut records).expect("memory");
        }
        records
    }

    /// Sends what the session wants to be sent.
    fn send(&self) {
        let transport = self.0.transport.borrow().clone();
        if let (false, Some(transport)) = (self.0.held.get(), transport) {
            transport.write(&self.unsent());
        }
    }

    fn take(&self, mut data: &[u8]) {
        self.0.wire.borrow_mut().extend_from_slice(data);
        if !self.0.secured.get() {
            return self.0.clear.borrow_mut().extend_from_slice(data);
        }
        let mut session = self.0.session.borrow_mut();
        while !data.is_empty() && self.0.error.borrow().is_none() {
            let read = session.read_tls(&mut data).expect("memory");
            match session.process_new_packets() {
                Ok(state) => {
                    let mut plain = self.0.plain.borrow_mut();
                    let before = plain.len();
                    plain.resize(before + state.plaintext_bytes_to_read(), 0);
                    session.reader().read_exact(&mut plain[before..]).expect("what there is");
                    self.0.notified.set(self.0.notified.get() || state.peer_has_closed());
                }
                Err(error) => *self.0.error.borrow_mut() = Some(error),
            }
            if read == 0 {
                break;
            }
        }
        drop(session);
        self.send();
    }

    pub(crate) fn clear(&self) -> Vec<u8> {
        self.0.clear.borrow().clone()
    }

    pub(crate) fn wire(&self) -> Vec<u8> {
        self.0.wire.borrow().clone()
    }

    pub(crate) fn plain(&self) -> Vec<u8> {
        self.0.plain.borrow().clone()
    }

    pub(crate) fn plain_len(&self) -> usize {
        self.0.plain.borrow().len()
    }

    /// Whether a close_notify has arrived.
    pub(crate) fn is_notified(&self) -> bool {
        self.0.notified.get()
    }

    /// Whether the stream has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.get()
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    pub(crate) fn error(&self) -> Option<rustls::Error> {
        self.0.error.borrow().clone()
    }

    pub(crate) async fn received(&self, length: usize) {
        until(|| self.plain_len() >= length).await;
    }
}

/// The protocol of a [`Peer`]. It never closes by itself.
pub(crate) struct PeerProtocol(Peer);

impl Protocol for PeerProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        *self.0.0.transport.borrow_mut() = Some(transport.clone());
        if self.0.0.secured.get() {
            self.0.send();
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
        self.0.take(data);
        Ok(())
    }

    fn eof_received(&mut self, _: &Transport) -> io::Result<AtEof> {
        self.0.0.ended.set(true);
        Ok(AtEof::KeepWriting)
    }

    fn connection_lost(&mut self, _: &Transport, _: Option<Cause>) {
        self.0.0.lost.set(true);
    }
}

fn server_session(tls: &Both, record: Option<usize>) -> ServerConnection {
    let pem = tls.authority.certificate(&["localhost"]);
    let chain = CertificateDer::pem_file_iter(pem.chain).expect("a chain");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_file(pem.key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::clone(Provider::default().crypto()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a configuration");
    config.max_fragment_size = record;
    ServerConnection::new(Arc::new(config)).expect("a session")
}

//! Where two ends meet in tests: over memory with a clock that jumps, or a raw peer that keeps to no rule.

#![allow(dead_code, reason = "every test program uses a part of this")]

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;

use tidegate_protocols::layer::{Layer, stack};
use tidegate_protocols::{Cause, Protocol, Transport};
use tidegate_reactor::{EventLoop, Future as Promised, LoopHandle, Report, create_future};
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{JumpingClock, Log, Recorder, watched};
use tidegate_tls::rustls::crypto::cipher::{
    MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use tidegate_tls::rustls::pki_types::pem::PemObject;
use tidegate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tidegate_tls::rustls::{
    self, ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, ContentType,
    ProtocolVersion, RootCertStore, ServerConfig, ServerConnection,
};
use tidegate_tls::{Provider, TlsError};

use crate::authority::Authority;

/// Runs `test` in a loop whose clock jumps. Nothing may be reported.
pub(crate) fn play<F: Future>(test: F) -> F::Output {
    watched(|| {
        let event_loop = EventLoop::with_clock(JumpingClock::new()).expect("an event loop");
        let reports = keep_reports(&event_loop.handle());
        let answer = event_loop.run_until_complete(test).expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        assert_eq!(*reports.borrow(), [""; 0]);
        answer
    })
}

/// Keeps what is reported.
pub(crate) fn keep_reports(handle: &LoopHandle) -> Rc<RefCell<Vec<String>>> {
    let kept: Rc<RefCell<Vec<String>>> = Rc::default();
    let keep = kept.clone();
    handle.set_exception_handler(Some(move |report: &Report| {
        keep.borrow_mut().push(report.to_string());
    }));
    kept
}

/// The running loop.
pub(crate) fn handle() -> LoopHandle {
    LoopHandle::current().expect("a running loop")
}

/// What whoever opens a connection waits for.
pub(crate) struct Opened(Promised<Result<Transport, Cause>>);

impl Opened {
    /// How it went.
    pub(crate) async fn outcome(&mut self) -> io::Result<Transport> {
        (&mut self.0).await.map_err(io::Error::other)?.map_err(io::Error::from)
    }

    /// How it failed.
    pub(crate) async fn error(&mut self) -> TlsError {
        tls_error(&self.outcome().await.expect_err("a handshake that fails"))
    }
}

/// The error of TLS in an error.
pub(crate) fn tls_error(error: &io::Error) -> TlsError {
    TlsError::of(error).unwrap_or_else(|| panic!("no error of TLS: {error:?}")).clone()
}

/// A protocol with `layer` under it.
pub(crate) fn under(layer: impl Layer, above: impl Protocol) -> (Box<dyn Protocol>, Opened) {
    let (promise, opened) = create_future();
    let told = move |outcome| {
        // Nobody may wait for it any more.
        let _ = promise.set_result(outcome);
    };
    (stack(&[Rc::new(layer)], Box::new(above), None, told), Opened(opened))
}

/// Connects a client and a server over memory.
pub(crate) fn connect(
    options: PairOptions,
    (client_layer, client): (impl Layer, Recorder),
    (server_layer, server): (impl Layer, Recorder),
) -> (Line, Opened, Opened) {
    let (client, client_opened) = under(client_layer, client);
    let (server, server_opened) = under(server_layer, server);
    let line = Line::open(&handle(), client, server, options).expect("an open loop");
    (line, client_opened, server_opened)
}

/// rustls as everybody has it, at the other end of a memory connection, with nothing of ours in between.
pub(crate) struct RawPeer {
    pub(crate) tls: Connection,
    wire: Transport,
    log: Log,
    taken: usize,
    /// What it has understood.
    pub(crate) received: Vec<u8>,
}

impl RawPeer {
    /// A server beside the `authority`'s clients.
    pub(crate) fn server(authority: &Authority, wire: Transport, log: Log) -> RawPeer {
        let tls = ServerConnection::new(server_config(authority).into()).expect("a configuration");
        RawPeer { tls: tls.into(), wire, log, taken: 0, received: Vec::new() }
    }

    /// A client that trusts the `authority`.
    pub(crate) fn client(authority: &Authority, wire: Transport, log: Log) -> RawPeer {
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(client_config(authority).into(), name);
        let tls = tls.expect("a configuration");
        RawPeer { tls: tls.into(), wire, log, taken: 0, received: Vec::new() }
    }

    /// Takes what came and sends what is due. Errors are those of rustls.
    pub(crate) fn pump(&mut self) -> Result<(), rustls::Error> {
        let all = self.log.received();
        let mut new = &all[self.taken..];
        self.taken = all.len();
        let mut outcome = Ok(());
        while !new.is_empty() && outcome.is_ok() {
            self.tls.read_tls(&mut new).expect("memory");
            outcome = self.tls.process_new_packets().map(drop);
            let _ = io::Read::read_to_end(&mut self.tls.reader(), &mut self.received);
        }
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).expect("memory");
        }
        self.wire.write(&out);
        outcome
    }

    /// Goes on until `done`.
    pub(crate) async fn pump_until(&mut self, mut done: impl FnMut(&RawPeer) -> bool) {
        while !done(self) {
            self.pump().expect("a peer that keeps to the protocol");
            tidegate_testkit::turns(1).await;
        }
    }

    /// Goes on until the handshake is done, and what belongs to it was sent.
    pub(crate) async fn shake_hands(&mut self) {
        self.pump_until(|peer| !peer.tls.is_handshaking()).await;
        self.pump().expect("a peer that keeps to the protocol");
    }

    /// Gives up the rules: from now on any record can be sent.
    pub(crate) fn into_sealer(self) -> Sealer {
        let suite = self.tls.negotiated_cipher_suite().expect("a handshake that is done");
        let secrets = self.tls.dangerous_extract_secrets().expect("secrets may be had");
        let (sequence, secrets) = secrets.tx;
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => panic!("unknown secrets"),
        };
        let suite = suite.tls13().expect("TLS 1.3");
        Sealer { encrypter: suite.aead_alg.encrypter(key, iv), sequence, wire: self.wire }
    }
}

/// Sends records that no TLS library would.
pub(crate) struct Sealer {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    pub(crate) wire: Transport,
}

impl Sealer {
    /// Sends one record, well encrypted.
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) {
        let record = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let record = self.encrypter.encrypt(record, self.sequence).expect("a record");
        self.sequence += 1;
        self.wire.write(&record.encode());
    }
}

/// One record in clear.
pub(crate) fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a length of 16 bits").to_be_bytes();
    [&[kind, 3, 3], &length[..], payload].concat()
}

/// What rustls needs to be the authority's server.
pub(crate) fn server_config(authority: &Authority) -> ServerConfig {
    let pem = authority.certificate(&["localhost"]);
    let chain = CertificateDer::pem_file_iter(&pem.chain).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&pem.key).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Provider::default().crypto().clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.enable_secret_extraction = true;
    // So that a sealer's first record is the first of its key.
    config.send_tls13_tickets = 0;
    config
}

/// What rustls needs to be a client of the authority's servers.
pub(crate) fn client_config(authority: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority.roots_pem()).expect("a file");
    roots.add(root).expect("a root");
    let mut config = ClientConfig::builder_with_provider(Provider::default().crypto().clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

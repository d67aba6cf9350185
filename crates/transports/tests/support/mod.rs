//! What the tests of connecting and serving share: layers that do not open, reports that are kept, peers.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod moves;
pub(crate) mod pipes;
pub(crate) mod places;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, AddressFamily, SocketType};
use tidegate_protocols::{Above, Cause, Gate, Layer, Protocol, Transport};
use tidegate_reactor::{LoopHandle, Report};
use tidegate_testkit::{Log, Recorder};
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use tidegate_testkit::{turns, until};
use tidegate_transports::{CreateServer, Hosts, Server, create_server};

/// A protocol that does nothing.
pub(crate) struct Idle;

impl Protocol for Idle {}

/// A server whose protocols write down what they are told.
pub(crate) fn recording(
    hosts: impl Into<Hosts>,
) -> (CreateServer<impl FnMut() -> Recorder + 'static>, Rc<RefCell<Vec<Log>>>) {
    let logs = Rc::new(RefCell::new(Vec::new()));
    let kept = logs.clone();
    let factory = move || {
        let recorder = Recorder::new();
        kept.borrow_mut().push(recorder.log());
        recorder
    };
    (create_server(factory, hosts), logs)
}

/// A port of its own on this machine.
pub(crate) const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Where a server listens.
pub(crate) fn address_of(server: &Server) -> SocketAddr {
    server.sockets()[0].sockname().as_inet().expect("an internet address")
}

/// A client of the standard library.
pub(crate) fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(address_of(server)).expect("the server listens")
}

/// A factory for tests in which nothing may be made.
pub(crate) fn never() -> Idle {
    panic!("the factory is not to be called")
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

/// A listener of the standard library on a port of its own.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address of this machine on which nobody listens: it is taken by a socket that does not.
pub(crate) struct Refusing {
    pub(crate) address: SocketAddr,
    _taken: OwnedFd,
}

impl Refusing {
    pub(crate) fn new() -> Refusing {
        let (_taken, address) = bound();
        Refusing { address, _taken }
    }
}

/// The inner error of an [`io::Error`], if it is of this type.
pub(crate) fn inner<E: std::error::Error + 'static>(error: &io::Error) -> Option<&E> {
    error.get_ref()?.downcast_ref()
}

/// Keeps the reports of the running loop.
pub(crate) fn keep_reports() -> Rc<RefCell<Vec<Report>>> {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = kept.clone();
    let handle = LoopHandle::current().expect("a running loop");
    handle.set_exception_handler(Some(move |report: &Report| {
        keep.borrow_mut().push(report.clone());
    }));
    kept
}

/// The messages of reports.
pub(crate) fn messages(reports: &RefCell<Vec<Report>>) -> Vec<String> {
    reports.borrow().iter().map(|report| report.message().to_owned()).collect()
}

/// An address that takes no connection and refuses none: a listener whose queue is full.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: OwnedFd,
    waiting: Vec<OwnedFd>,
}

impl BlackHole {
    pub(crate) fn new() -> BlackHole {
        let (listener, address) = bound();
        net::listen(&listener, 0).expect("a queue");
        let mut hole = BlackHole { address, _listener: listener, waiting: Vec::new() };
        while hole.takes_another() {}
        hole
    }

    fn takes_another(&mut self) -> bool {
        let client = socket();
        let _ = net::connect(&client, &self.address);
        let mut watched = [PollFd::new(&client, PollFlags::OUT)];
        let limit = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let ready = poll(&mut watched, Some(&limit)).expect("poll");
        self.waiting.push(client);
        ready > 0
    }
}

/// A socket with a port of its own.
fn bound() -> (OwnedFd, SocketAddr) {
    let descriptor = socket();
    net::bind(&descriptor, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let address = net::getsockname(&descriptor).expect("an address");
    (descriptor, SocketAddr::try_from(address).expect("an internet address"))
}

fn socket() -> OwnedFd {
    let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::io::ioctl_fionbio(&socket, true).expect("a socket");
    socket
}

/// Whether a connection has ended, without waiting: the end of the stream or a reset.
pub(crate) fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("a socket");
    let read = (&mut &*stream).read(&mut [0]);
    stream.set_nonblocking(false).expect("a socket");
    match read {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Everything that a peer sends until it ends.
pub(crate) fn read_all(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(50))).expect("a socket");
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    all
}

/// What becomes of a gate.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is kept with the connection and told nothing.
    Kept,
    /// It is kept for longer than the connection and told nothing.
    KeptElsewhere,
    /// It is told a failure in `connection_made`.
    Failed,
    /// It is dropped in `connection_made`.
    Dropped,
    /// It is dropped before there is a connection.
    DroppedEarly,
    /// The layer panics instead of being made.
    Panics,
}

/// A layer that never opens. It counts the gates that were made.
pub(crate) struct Shut {
    pub(crate) fate: Fate,
    pub(crate) gates: Rc<Cell<usize>>,
    pub(crate) hosts: Rc<RefCell<Vec<Option<String>>>>,
    kept: Rc<RefCell<Vec<Gate>>>,
}

impl Shut {
    pub(crate) fn new(fate: Fate) -> Shut {
        Shut { fate, gates: Rc::default(), hosts: Rc::default(), kept: Rc::default() }
    }
}

impl Layer for Shut {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        self.gates.set(self.gates.get() + 1);
        self.hosts.borrow_mut().push(gate.host().map(str::to_owned));
        let gate = match self.fate {
            Fate::Panics => panic!("a layer that cannot be made"),
            Fate::DroppedEarly => None,
            Fate::KeptElsewhere => {
                self.kept.borrow_mut().push(gate);
                None
            }
            _ => Some(gate),
        };
        Box::new(ShutProtocol { fate: self.fate, gate, _above: above })
    }
}

struct ShutProtocol {
    fate: Fate,
    gate: Option<Gate>,
    _above: Above,
}

impl Protocol for ShutProtocol {
    fn connection_made(&mut self, _: &Transport) {
        match (self.fate, self.gate.take()) {
            (Fate::Kept, gate) => self.gate = gate,
            (Fate::Failed, Some(gate)) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, "no handshake");
                gate.fail(Cause::from(error));
            }
            (_, gate) => drop(gate),
        }
    }
}

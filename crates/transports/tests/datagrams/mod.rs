//! What the tests of datagrams share: a protocol that writes down its callbacks, and a wire that is played by hand.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidegate_protocols::{Address, Cause, DatagramProtocol, DatagramTransport};
use tidegate_reactor::{Enrolled, Interest, LoopHandle, Readiness, Watcher};
use tidegate_testkit::run;
use tidegate_transports::datagram::{self, DatagramOptions, DatagramWire, Received};

/// Any free port of this machine.
pub(crate) const LOOPBACK: (&str, u16) = ("127.0.0.1", 0);

/// Where an endpoint is.
pub(crate) fn own(transport: &DatagramTransport) -> SocketAddr {
    transport.sockname().and_then(|own| own.as_inet()).expect("an internet address")
}

/// Closes an endpoint and waits until it is gone.
pub(crate) async fn end(transport: &DatagramTransport) {
    transport.close();
    transport.closed().await;
}

/// What a recorder was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Made,
    Datagram(Vec<u8>),
    Error(io::ErrorKind),
    Pause,
    Resume,
    Lost(Option<io::ErrorKind>),
    Dropped,
}

/// What it was told so far, and by whom.
#[derive(Clone, Default)]
pub(crate) struct Diary {
    entries: Rc<RefCell<Vec<Told>>>,
    senders: Rc<RefCell<Vec<Address>>>,
}

impl Diary {
    pub(crate) fn entries(&self) -> Vec<Told> {
        self.entries.borrow().clone()
    }

    pub(crate) fn senders(&self) -> Vec<Address> {
        self.senders.borrow().clone()
    }

    pub(crate) fn datagrams(&self) -> Vec<Vec<u8>> {
        let only = |told: &Told| match told {
            Told::Datagram(data) => Some(data.clone()),
            _ => None,
        };
        self.entries.borrow().iter().filter_map(only).collect()
    }

    pub(crate) fn has(&self, told: &Told) -> bool {
        self.entries.borrow().contains(told)
    }

    pub(crate) fn count(&self, told: &Told) -> usize {
        self.entries.borrow().iter().filter(|known| *known == told).count()
    }
}

type Script = Box<dyn FnMut(&DatagramTransport, &Told) -> io::Result<()>>;

/// Writes each callback down, then does what its script says.
pub(crate) struct Recorder {
    diary: Diary,
    script: Script,
}

impl Recorder {
    pub(crate) fn new(diary: &Diary) -> Recorder {
        Recorder::doing(diary, |_, _| Ok(()))
    }

    pub(crate) fn doing(
        diary: &Diary,
        script: impl FnMut(&DatagramTransport, &Told) -> io::Result<()> + 'static,
    ) -> Recorder {
        Recorder { diary: diary.clone(), script: Box::new(script) }
    }

    fn note(&mut self, transport: &DatagramTransport, told: Told) -> io::Result<()> {
        self.diary.entries.borrow_mut().push(told.clone());
        (self.script)(transport, &told)
    }
}

impl DatagramProtocol for Recorder {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        self.note(transport, Told::Made).expect("the script fails elsewhere");
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        self.diary.senders.borrow_mut().push(from.clone());
        self.note(transport, Told::Datagram(data.to_vec()))
    }

    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        self.note(transport, Told::Error(error.kind()))
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        self.note(transport, Told::Pause).expect("the script fails elsewhere");
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        self.note(transport, Told::Resume).expect("the script fails elsewhere");
    }

    fn connection_lost(&mut self, transport: &DatagramTransport, cause: Option<Cause>) {
        let lost = Told::Lost(cause.map(|cause| cause.kind()));
        self.note(transport, lost).expect("the script fails elsewhere");
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.diary.entries.borrow_mut().push(Told::Dropped);
    }
}

/// Bytes of a datagram.
pub(crate) fn datagram(data: &[u8]) -> Told {
    Told::Datagram(data.to_vec())
}

/// Some address; nobody need be there.
pub(crate) fn somewhere(port: u16) -> Address {
    Address::from(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// One call that a wire was asked to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) data: Vec<u8>,
    /// How long each datagram is, if it was to be several.
    pub(crate) size: Option<usize>,
    pub(crate) to: Option<Address>,
}

/// A wire that is played by hand: what it receives, and what it answers to sends.
#[derive(Clone, Default)]
pub(crate) struct Played(Rc<Play>);

/// What one receive brings: bytes, and how long each datagram is.
type Incoming = io::Result<(Vec<u8>, usize)>;

#[derive(Default)]
pub(crate) struct Play {
    incoming: RefCell<VecDeque<Incoming>>,
    /// Errors for the sends to come; where there is none they succeed.
    answers: RefCell<VecDeque<Option<io::Error>>>,
    /// While set every send would have to wait.
    pub(crate) is_full: Cell<bool>,
    pub(crate) joins: Cell<bool>,
    calls: RefCell<Vec<Sent>>,
    delivered: RefCell<Vec<Vec<u8>>>,
    interest: Cell<Option<Interest>>,
    watcher: RefCell<Option<Rc<dyn Watcher>>>,
}

impl Played {
    /// A wire that can send several datagrams at once.
    pub(crate) fn joining() -> Played {
        let played = Played::default();
        played.0.joins.set(true);
        played
    }

    /// Opens an endpoint over it, with the remote address 127.0.0.1:7 if it is to have one.
    pub(crate) async fn open(
        &self,
        protocol: impl DatagramProtocol,
        remote: Option<Address>,
    ) -> io::Result<DatagramTransport> {
        let transport = self.open_in(&LoopHandle::current()?, protocol, remote)?;
        tidegate_testkit::turns(2).await;
        Ok(transport)
    }

    /// The same, of an endpoint whose protocol has not been told of it.
    pub(crate) fn open_in(
        &self,
        handle: &LoopHandle,
        protocol: impl DatagramProtocol,
        remote: Option<Address>,
    ) -> io::Result<DatagramTransport> {
        let wire = |watcher: Rc<dyn Watcher>| {
            *self.0.watcher.borrow_mut() = Some(watcher.clone());
            Ok(PlayedWire(self.0.clone(), handle.enrol(watcher)?))
        };
        let options =
            DatagramOptions { connected: remote.is_some(), remote, ..DatagramOptions::default() };
        datagram::open(handle, wire, Box::new(protocol), options)
    }

    /// The next receives bring this: datagrams of `size` in one piece.
    pub(crate) fn comes(&self, data: &[u8], size: usize) {
        self.0.incoming.borrow_mut().push_back(Ok((data.to_vec(), size)));
    }

    /// How many receives have not been made yet that would bring something.
    pub(crate) fn waiting(&self) -> usize {
        self.0.incoming.borrow().len()
    }

    pub(crate) fn fails(&self, error: impl Into<io::Error>) {
        self.0.incoming.borrow_mut().push_back(Err(error.into()));
    }

    /// What the sends to come are answered.
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Option<io::Error>>) {
        self.0.answers.borrow_mut().extend(answers);
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.0.is_full.set(is_full);
    }

    /// Makes turns in which the watcher is told what it wants to hear, as a loop does.
    pub(crate) async fn play(&self) {
        for _ in 0..8 {
            let interest = self.0.interest.get().unwrap_or(Interest::NONE);
            let readable = interest.readable() && !self.0.incoming.borrow().is_empty();
            let writable = interest.writable() && !self.0.is_full.get();
            let watcher = self.0.watcher.borrow().clone();
            if let Some(watcher) = watcher
                && (readable || writable)
            {
                let readiness = Readiness { readable, writable, hung_up: false };
                LoopHandle::current()
                    .and_then(|handle| handle.call_soon(move || watcher.ready(readiness)))
                    .expect("a running loop");
            }
            tidegate_testkit::turns(2).await;
        }
    }

    /// The calls it was asked to make, also those that it refused.
    pub(crate) fn calls(&self) -> Vec<Sent> {
        self.0.calls.borrow().clone()
    }

    /// Each datagram that was sent.
    pub(crate) fn delivered(&self) -> Vec<Vec<u8>> {
        self.0.delivered.borrow().clone()
    }

    pub(crate) fn interest(&self) -> Option<Interest> {
        self.0.interest.get()
    }

    /// Whether the endpoint has let go of it.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.watcher.borrow().is_none()
    }
}

struct PlayedWire(Rc<Play>, #[expect(dead_code, reason = "the loop knows it by this")] Enrolled);

impl PlayedWire {
    fn answer(&self, data: &[u8], size: Option<usize>, to: Option<&Address>) -> io::Result<()> {
        let call = Sent { data: data.to_vec(), size, to: to.cloned() };
        self.0.calls.borrow_mut().push(call);
        if self.0.is_full.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.0.answers.borrow_mut().pop_front().flatten() {
            Some(error) => Err(error),
            None => {
                let mut delivered = self.0.delivered.borrow_mut();
                match size {
                    Some(size) => delivered.extend(data.chunks(size).map(<[u8]>::to_vec)),
                    None => delivered.push(data.to_vec()),
                }
                Ok(())
            }
        }
    }
}

impl DatagramWire for PlayedWire {
    fn receive(&self, into: &mut [u8]) -> io::Result<Received> {
        let (data, size) = self
            .0
            .incoming
            .borrow_mut()
            .pop_front()
            .unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        into[..data.len()].copy_from_slice(&data);
        Ok(Received { length: data.len(), size, from: somewhere(9) })
    }

    fn send(&self, data: &[u8], to: Option<&Address>) -> io::Result<()> {
        self.answer(data, None, to)
    }

    fn send_segments(&self, data: &[u8], size: usize, to: Option<&Address>) -> io::Result<()> {
        self.answer(data, Some(size), to)
    }

    fn can_send_segments(&self) -> bool {
        self.0.joins.get()
    }

    fn set_interest(&self, interest: Interest) {
        self.0.interest.set(Some(interest));
    }
}

impl Drop for PlayedWire {
    fn drop(&mut self) {
        let watcher = self.0.watcher.take();
        drop(watcher);
    }
}

/// Runs a test over a connected endpoint on a wire that is played, and sees it lost once at its end.
pub(crate) fn with_endpoint<F>(
    wire: Played,
    script: impl FnMut(&DatagramTransport, &Told) -> io::Result<()> + 'static,
    test: impl FnOnce(Played, DatagramTransport, Diary) -> F,
) where
    F: Future<Output = io::Result<()>> + 'static,
{
    let diary = Diary::default();
    run(async {
        let recorder = Recorder::doing(&diary, script);
        let transport = wire.open(recorder, Some(somewhere(7))).await?;
        let test = test(wire.clone(), transport.clone(), diary.clone());
        test.await?;
        transport.abort();
        transport.closed().await;
        assert!(wire.is_closed());
        // G-12
        let lost = diary.entries().iter().filter(|told| matches!(told, Told::Lost(_))).count();
        assert_eq!((lost, diary.count(&Told::Dropped)), (1, 1));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A script that does nothing.
pub(crate) fn quiet(_: &DatagramTransport, _: &Told) -> io::Result<()> {
    Ok(())
}

//! A transport without a loop and without a wire, for the tests: it notes each call, and delivers on demand.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Address, AtEof, Cause, Change, Flow, Incoming, Lent, Outcome, PeerName, Protocol, RawTransport,
    ReadSource, Slot, Transport, TransportStatistics, Waiter, Waiters, WithProtocolError,
    WriteLimits,
};

/// The transport. What a loop would do with it is [`made`](Fake::made), [`feed`](Fake::feed) and so on.
pub(crate) struct Fake {
    slot: Slot<dyn Protocol>,
    /// The handle for callbacks; gone with the connection.
    face: Cell<Option<Transport>>,
    calls: RefCell<Vec<String>>,
    limits: Cell<WriteLimits>,
    /// Closing has begun, perhaps with a cause.
    ending: Cell<bool>,
    cause: RefCell<Option<Cause>>,
    /// The callback that failed, if one has.
    failed: Cell<Option<&'static str>>,
    lost: Cell<bool>,
    closed: Waiters,
}

impl Fake {
    pub(crate) fn new(protocol: impl Protocol) -> (Rc<Fake>, Transport) {
        Fake::with(Box::new(protocol))
    }

    pub(crate) fn with(protocol: Box<dyn Protocol>) -> (Rc<Fake>, Transport) {
        let fake = Rc::new(Fake {
            slot: Slot::new(protocol),
            face: Cell::new(None),
            calls: RefCell::default(),
            limits: Cell::default(),
            ending: Cell::new(false),
            cause: RefCell::default(),
            failed: Cell::new(None),
            lost: Cell::new(false),
            closed: Waiters::new(),
        });
        let transport = Transport::new(fake.clone());
        fake.face.set(Some(transport.clone()));
        (fake, transport)
    }

    /// The calls that have come down since this was last asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.take()
    }

    /// The callback that failed and the text of its failure.
    pub(crate) fn failure(&self) -> Option<(&'static str, String)> {
        let cause = self.cause.borrow();
        Some((self.failed.get()?, cause.as_ref()?.to_string()))
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.borrow().clone()
    }

    pub(crate) fn face(&self) -> Option<Transport> {
        let face = self.face.take();
        let copy = face.clone();
        self.face.set(face);
        copy
    }

    pub(crate) fn made(&self) {
        self.callback("connection_made", |protocol, face| protocol.connection_made(face));
    }

    /// One read that finds `data`; nothing is the end of the stream.
    pub(crate) fn feed(&self, data: &[u8]) -> Outcome {
        self.read(Ok(data.to_vec()))
    }

    /// One read that ends so.
    pub(crate) fn read(&self, read: io::Result<Vec<u8>>) -> Outcome {
        let Some(face) = self.face() else { return Outcome::Unread };
        let mut source = Source(Some(read), Vec::new());
        let mut incoming = Incoming::new(&mut source);
        let lent = self.slot.lend(|protocol| protocol.receive(&face, &mut incoming));
        let stage = incoming.stage();
        let outcome = incoming.outcome();
        self.came_home(stage, lent);
        outcome
    }

    pub(crate) fn eof(&self) -> Option<AtEof> {
        let face = self.face()?;
        let lent = self.slot.lend(|protocol| protocol.eof_received(&face));
        self.came_home("eof_received", lent)
    }

    pub(crate) fn pause(&self) {
        self.callback("pause_writing", |protocol, face| protocol.pause_writing(face));
    }

    pub(crate) fn resume(&self) {
        self.callback("resume_writing", |protocol, face| protocol.resume_writing(face));
    }

    /// Delivers `connection_lost`, and lets go of everything.
    pub(crate) fn lose(&self) {
        self.ending.set(true);
        let cause = self.cause();
        self.callback("connection_lost", |protocol, face| protocol.connection_lost(face, cause));
        self.forget();
    }

    /// What a loop does that closes: everything is let go, and nobody is told.
    pub(crate) fn forget(&self) {
        self.ending.set(true);
        self.lost.set(true);
        let face = self.face.take();
        let emptied = self.slot.empty();
        assert!(emptied.is_ok(), "no destructor of these tests panics here");
        drop(face);
        self.closed.wake_all();
    }

    fn callback(&self, stage: &'static str, call: impl FnOnce(&mut dyn Protocol, &Transport)) {
        let Some(face) = self.face() else { return };
        let lent = self.slot.lend(|protocol| {
            call(protocol, &face);
            Ok(())
        });
        self.came_home(stage, lent);
    }

    fn came_home<R>(&self, stage: &'static str, lent: Lent<io::Result<R>>) -> Option<R> {
        let cause = match lent {
            Lent::Gave(Ok(answer)) => return Some(answer),
            Lent::Gave(Err(error)) => Cause::from(error),
            Lent::Panicked(payload) => Cause::from_panic(payload),
            Lent::Nobody => return None,
        };
        self.failed.set(Some(stage));
        self.end(Some(cause));
        None
    }

    fn end(&self, cause: Option<Cause>) {
        if !self.ending.replace(true) {
            *self.cause.borrow_mut() = cause;
        }
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.borrow_mut().push(call.into());
    }
}

/// A read, and where its data lies.
struct Source(Option<io::Result<Vec<u8>>>, Vec<u8>);

impl ReadSource for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let data = self.0.take().expect("read once")?;
        let length = data.len().min(into.len());
        into[..length].copy_from_slice(&data[..length]);
        Ok(length)
    }

    fn shared(&mut self) -> io::Result<&[u8]> {
        self.1 = self.0.take().expect("read once")?;
        Ok(&self.1)
    }

    fn append(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let data = self.0.take().expect("read once")?;
        let length = data.len().min(into.capacity() - into.len());
        into.extend_from_slice(&data[..length]);
        Ok(length)
    }
}

impl RawTransport for Fake {
    fn write(&self, data: &[u8]) -> Flow {
        self.note(format!("write {}", data.escape_ascii()));
        self.flow()
    }

    fn write_bytes(&self, data: Bytes) -> Flow {
        self.note(format!("write_bytes {}", data.escape_ascii()));
        self.flow()
    }

    fn writelines(&self, lines: &[&[u8]]) -> Flow {
        self.note(format!("writelines {}", lines.join(&b'|').escape_ascii()));
        self.flow()
    }

    fn poll_flush(&self, _waiter: &Waiter, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.note("poll_flush");
        Poll::Ready(Ok(()))
    }

    fn write_eof(&self) -> io::Result<()> {
        self.note("write_eof");
        Ok(())
    }

    fn can_write_eof(&self) -> bool {
        true
    }

    fn close(&self) {
        self.note("close");
        self.end(None);
    }

    fn abort(&self) {
        self.note("abort");
        self.end(None);
    }

    fn close_lingering(&self, bytes: usize, time: Duration) {
        self.note(format!("close_lingering {bytes} {time:?}"));
        self.end(None);
    }

    fn fail(&self, cause: Cause) {
        self.note(format!("fail {cause}"));
        self.end(Some(cause));
    }

    fn is_closing(&self) -> bool {
        self.ending.get()
    }

    fn pause_reading(&self) {
        self.note("pause_reading");
    }

    fn resume_reading(&self) {
        self.note("resume_reading");
    }

    fn is_reading(&self) -> bool {
        !self.ending.get()
    }

    fn flow(&self) -> Flow {
        if self.ending.get() { Flow::Closed } else { Flow::Open }
    }

    fn flow_told(&self) -> Flow {
        self.flow()
    }

    fn get_write_buffer_size(&self) -> usize {
        7
    }

    fn get_write_buffer_limits(&self) -> WriteLimits {
        self.limits.get()
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) {
        self.limits.set(limits);
    }

    fn default_write_buffer_limits(&self) -> WriteLimits {
        WriteLimits::TLS
    }

    fn change_protocol(&self, change: Change) {
        if let Err(payload) = self.slot.change(change) {
            self.failed.set(Some("change"));
            self.end(Some(Cause::from_panic(payload)));
        }
    }

    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError> {
        self.slot.visit(look)
    }

    fn rebind(&self, handle: Transport) {
        if !self.lost.get() {
            drop(self.face.replace(Some(handle)));
        }
    }

    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        if self.lost.get() {
            return Poll::Ready(self.cause());
        }
        self.closed.register(waiter, context.waker());
        Poll::Pending
    }

    fn peer_hung_up(&self) -> bool {
        true
    }

    fn peername(&self) -> Option<Address> {
        Some(Address::Unnamed)
    }

    fn sockname(&self) -> Option<Address> {
        None
    }

    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>> {
        (wanted == TypeId::of::<PeerName>()).then(|| Rc::new(PeerName(Address::Unnamed)) as _)
    }

    fn with_socket(&self, _look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool {
        false
    }

    fn statistics(&self) -> TransportStatistics {
        TransportStatistics { bytes_received: 1, bytes_sent: 2, buffered: 3, paused_for: None }
    }
}

/// What a [`Diary`] has written down; clones are one log.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

/// A protocol that writes down its callbacks, and does at one of them what it was told.
#[derive(Default)]
pub(crate) struct Diary {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
    pub(crate) at: Option<(&'static str, Script)>,
}

/// What a [`Diary`] does: calls of the transport, an error, a panic.
pub(crate) type Script = Box<dyn FnMut(&Transport) -> io::Result<()>>;

impl Diary {
    /// One that writes into a log of its own.
    pub(crate) fn with_log() -> (Diary, Log) {
        let diary = Diary::default();
        let log = diary.log.clone();
        (diary, log)
    }

    pub(crate) fn named(name: &'static str, log: &Log) -> Diary {
        Diary { name, log: log.clone(), at: None }
    }

    pub(crate) fn at(
        mut self,
        callback: &'static str,
        script: impl FnMut(&Transport) -> io::Result<()> + 'static,
    ) -> Diary {
        self.at = Some((callback, Box::new(script)));
        self
    }

    fn write(&mut self, callback: &'static str, transport: &Transport) -> io::Result<()> {
        self.write_with(callback, "", transport)
    }

    fn write_with(
        &mut self,
        callback: &'static str,
        detail: &str,
        transport: &Transport,
    ) -> io::Result<()> {
        let words = [self.name, callback, detail];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        self.log.borrow_mut().push(words.join(" "));
        match &mut self.at {
            Some((at, script)) if *at == callback => script(transport),
            _ => Ok(()),
        }
    }
}

impl Protocol for Diary {
    fn connection_made(&mut self, transport: &Transport) {
        self.write("made", transport).unwrap();
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.write_with("data", &data.escape_ascii().to_string(), transport)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        self.write("eof", transport)?;
        Ok(AtEof::KeepWriting)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.write("pause", transport).unwrap();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.write("resume", transport).unwrap();
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        let cause = cause.map_or(String::new(), |cause| cause.to_string());
        self.write_with("lost", &cause, transport).unwrap();
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            self.log.borrow_mut().push(format!("{} dropped", self.name));
        }
    }
}

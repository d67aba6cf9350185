//! Fails a test in which the user's code runs while a call of a transport is on the stack.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use tidegate_protocols::{AtEof, Cause, Incoming, Protocol, Transport};

mod watching;

use watching::Watching;

/// Notices when the law is broken: "calls go down at any time; callbacks come up only from the loop, one at
/// a time".
///
/// A [guarded](Tripwire::guard) protocol says when one of its callbacks or its destructor begins; a
/// [watched](Tripwire::watch) transport says when one of its methods is entered and left. If the first
/// happens inside the second, or inside another callback of the same tripwire, the wire is tripped, and
/// [`assert_intact`](Tripwire::assert_intact) tells which was in which. A guarded protocol has its transport
/// watched from `connection_made` on.
///
/// Not counted are the calls that are given the user's code in order to run it: `set_protocol`,
/// `wrap_protocol`, `with_protocol` and `with_socket`. Clones are one tripwire.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::{Recorder, Tripwire, memory, run};
///
/// run(async {
///     let tripwire = Tripwire::new();
///     let left = tripwire.guard(Recorder::new());
///     let log = left.log();
///     let handle = tidegate_reactor::LoopHandle::current()?;
///     let (left, _right) = memory::pair(&handle, left, Recorder::new(), Default::default());
///     log.made().await;
///     left.write(b"hello");
///     left.close();
///     log.lost().await;
///     tripwire.assert_intact();
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Tripwire(Rc<Stacked>);

#[derive(Debug, Default)]
struct Stacked {
    /// What is on the stack now, the newest last.
    entered: RefCell<Vec<Frame>>,
    trips: RefCell<Vec<String>>,
    calls: RefCell<Vec<&'static str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frame {
    Call(&'static str),
    Callback(&'static str),
}

impl Tripwire {
    /// An intact one.
    pub fn new() -> Tripwire {
        Tripwire::default()
    }

    /// Guards `protocol`.
    pub fn guard<P: Protocol>(&self, protocol: P) -> Guarded<P> {
        Guarded { protocol, tripwire: self.clone() }
    }

    /// Watches the methods of `transport`, of all its clones.
    pub fn watch(&self, transport: &Transport) {
        let below = transport.raw();
        let tripwire = self.clone();
        transport.raise(|_| Rc::new(Watching { below: below.clone(), tripwire }));
        // Callbacks are given the watched handle, as before, and not the private one of a layer.
        below.rebind(transport.clone());
    }

    /// Says that the user's code runs now, under the name of `what`: an exception handler, say.
    pub fn user_code(&self, what: &'static str) {
        if let Some(Frame::Call(name)) = self.0.entered.borrow().last() {
            self.0.trips.borrow_mut().push(format!("{what} ran inside {name}()"));
        }
    }

    /// Which code ran in which call, each time the wire was tripped.
    pub fn trips(&self) -> Vec<String> {
        self.0.trips.borrow().clone()
    }

    /// The watched methods that were called, by name, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.0.calls.borrow().clone()
    }

    /// Asserts that it was never tripped.
    ///
    /// # Panics
    ///
    /// If it was, telling by what.
    #[track_caller]
    pub fn assert_intact(&self) {
        let trips = self.trips();
        assert!(trips.is_empty(), "the tripwire was tripped: {}", trips.join("; "));
    }

    /// A callback begins: nothing of the same connection's may be on the stack.
    fn callback(&self, name: &'static str) -> Entered<'_> {
        let above = self.0.entered.borrow().last().copied();
        if let Some(Frame::Call(outer) | Frame::Callback(outer)) = above {
            self.0.trips.borrow_mut().push(format!("{name}() ran inside {outer}()"));
        }
        self.enter(Frame::Callback(name))
    }

    fn call(&self, name: &'static str) -> Entered<'_> {
        self.0.calls.borrow_mut().push(name);
        self.enter(Frame::Call(name))
    }

    fn enter(&self, frame: Frame) -> Entered<'_> {
        self.0.entered.borrow_mut().push(frame);
        Entered(self)
    }
}

/// A frame on the stack; dropped when it is left, by a panic too.
struct Entered<'a>(&'a Tripwire);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.entered.borrow_mut().pop();
    }
}

/// A protocol whose callbacks and destructor are guarded by a [`Tripwire`]. Made by [`Tripwire::guard`].
///
/// # Examples
///
/// ```
/// use tidegate_testkit::{Recorder, Tripwire};
///
/// let guarded = Tripwire::new().guard(Recorder::new());
/// assert!(guarded.log().events().is_empty(), "it is the recorder to whoever looks");
/// ```
pub struct Guarded<P> {
    protocol: P,
    tripwire: Tripwire,
}

impl<P> Deref for Guarded<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.protocol
    }
}

impl<P> DerefMut for Guarded<P> {
    fn deref_mut(&mut self) -> &mut P {
        &mut self.protocol
    }
}

impl<P: fmt::Debug> fmt::Debug for Guarded<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Guarded").field(&self.protocol).finish()
    }
}

impl<P: Protocol> Protocol for Guarded<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.tripwire.watch(transport);
        let _entered = self.tripwire.callback("connection_made");
        self.protocol.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        let _entered = self.tripwire.callback("data_received");
        self.protocol.data_received(transport, data)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        let _entered = self.tripwire.callback("eof_received");
        self.protocol.eof_received(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        let _entered = self.tripwire.callback("pause_writing");
        self.protocol.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        let _entered = self.tripwire.callback("resume_writing");
        self.protocol.resume_writing(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        let _entered = self.tripwire.callback("connection_lost");
        self.protocol.connection_lost(transport, cause);
    }

    fn get_buffer(&mut self, size_hint: Option<usize>) -> Option<&mut [u8]> {
        let _entered = self.tripwire.callback("get_buffer");
        self.protocol.get_buffer(size_hint)
    }

    fn buffer_updated(&mut self, transport: &Transport, len: usize) -> io::Result<()> {
        let _entered = self.tripwire.callback("buffer_updated");
        self.protocol.buffer_updated(transport, len)
    }

    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        let _entered = self.tripwire.callback("receive");
        self.protocol.receive(transport, incoming)
    }

    fn type_name(&self) -> &'static str {
        self.protocol.type_name()
    }
}

impl<P> Drop for Guarded<P> {
    fn drop(&mut self) {
        self.tripwire.user_code("the protocol's destructor");
    }
}

#[cfg(test)]
mod tests {
    use tidegate_protocols::Protocol;

    use super::Tripwire;

    struct Nothing;

    impl Protocol for Nothing {}

    /// What trips it, from inside `frame`.
    fn check(inside: impl FnOnce(&Tripwire), trips: &[&str]) {
        let tripwire = Tripwire::new();
        inside(&tripwire);
        assert_eq!(tripwire.trips(), trips);
    }

    #[test]
    fn a_callback_inside_a_call_trips_it() {
        check(
            |tripwire| {
                let _call = tripwire.call("write");
                let _callback = tripwire.callback("pause_writing");
            },
            &["pause_writing() ran inside write()"],
        );
    }

    #[test]
    fn a_callback_inside_a_callback_trips_it() {
        check(
            |tripwire| {
                let _outer = tripwire.callback("data_received");
                let _inner = tripwire.callback("connection_lost");
            },
            &["connection_lost() ran inside data_received()"],
        );
    }

    #[test]
    fn a_destructor_inside_a_call_trips_it() {
        check(
            |tripwire| {
                let protocol = tripwire.guard(Nothing);
                let _call = tripwire.call("abort");
                drop(protocol);
            },
            &["the protocol's destructor ran inside abort()"],
        );
    }

    #[test]
    fn calls_inside_callbacks_and_one_after_another_do_not() {
        check(
            |tripwire| {
                let callback = tripwire.callback("data_received");
                drop(tripwire.call("write"));
                tripwire.user_code("a closure");
                drop(callback);
                drop(tripwire.call("close"));
                drop(tripwire.callback("connection_lost"));
                drop(tripwire.guard(Nothing));
            },
            &[],
        );
    }
}

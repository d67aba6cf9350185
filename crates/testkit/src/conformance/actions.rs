//! Every method of a transport, as data: what the cases do inside callbacks, after the loss, or in odd orders.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocols::{Cause, PeerName, Transport, WeakTransport};

use crate::log::Log;
use crate::recorder::Recorder;

/// A call of one method.
pub(super) struct Action {
    pub(super) name: &'static str,
    /// Whether the connection ends by it, sooner or later.
    pub(super) ends: bool,
    /// Calls the method; a protocol that it installs writes to the log.
    pub(super) call: fn(&Transport, &Log),
}

/// Every method of a transport.
pub(super) const ALL: &[Action] = &[
    calm("write", |transport, _| {
        transport.write(b"more");
    }),
    calm("write of nothing", |transport, _| {
        transport.write(b"");
    }),
    calm("write_bytes", |transport, _| {
        transport.write_bytes(Bytes::from_owner(Curious::about(transport)));
    }),
    calm("writelines", |transport, _| {
        transport.writelines([&b"more"[..], b"", b"lines"]);
    }),
    calm("write_eof", |transport, _| {
        // Not every transport can.
        let _ = transport.write_eof();
    }),
    calm("flush", |transport, _| {
        let _ = pin!(transport.flush()).poll(&mut Context::from_waker(Waker::noop()));
    }),
    calm("pause_reading", |transport, _| transport.pause_reading()),
    calm("resume_reading", |transport, _| transport.resume_reading()),
    calm("set_write_buffer_limits", |transport, _| {
        transport.set_write_buffer_limits(Some(8), Some(2)).expect("8 is above 2");
    }),
    calm("set_protocol", |transport, log| {
        transport.set_protocol(Recorder::writing_to(log));
    }),
    calm("set_protocol, buffered", |transport, log| {
        transport.set_protocol(Recorder::writing_to(log).buffered(16));
    }),
    calm("wrap_protocol", |transport, _| {
        transport.wrap_protocol(|before| Box::new(Rc::new(RefCell::new(before))));
    }),
    calm("with_protocol", |transport, _| {
        // Inside a callback it is busy; after the loss it is gone.
        let _ = transport.with_protocol::<Recorder, _>(|_| ());
    }),
    calm("closed", |transport, _| {
        let _ = pin!(transport.closed()).poll(&mut Context::from_waker(Waker::noop()));
    }),
    calm("every question", |transport, _| ask_everything(transport)),
    calm("a clone, dropped", |transport, _| drop(transport.clone())),
    ending("close", |transport, _| transport.close()),
    ending("close_lingering", |transport, _| {
        transport.close_lingering(1024, Duration::from_millis(10))
    }),
    ending("abort", |transport, _| transport.abort()),
    ending("fail", |transport, _| transport.fail(failure())),
    ending("close and abort", |transport, _| {
        transport.close();
        transport.abort();
    }),
    ending("write and close", |transport, _| {
        transport.write(b"the last words");
        transport.close();
    }),
];

const fn calm(name: &'static str, call: fn(&Transport, &Log)) -> Action {
    Action { name, ends: false, call }
}

const fn ending(name: &'static str, call: fn(&Transport, &Log)) -> Action {
    Action { name, ends: true, call }
}

/// An error as the operating system reports it, so that no exception handler hears of it.
pub(super) fn failure() -> Cause {
    Cause::from(io::Error::from(rustix::io::Errno::TIMEDOUT))
}

/// Calls every method that only asks.
pub(super) fn ask_everything(transport: &Transport) {
    transport.is_closing();
    transport.is_reading();
    transport.can_write_eof();
    transport.flow();
    transport.get_write_buffer_size();
    transport.get_write_buffer_limits();
    transport.peername();
    transport.sockname();
    transport.peer_hung_up();
    transport.get_extra_info::<PeerName>();
    transport.statistics();
    // Asking inside of looking, too.
    transport.with_socket(|_| transport.get_write_buffer_size());
}

/// A memory owner whose destructor asks a transport everything, as a user's may.
struct Curious;

thread_local! {
    /// The transport that it asks: an owner of bytes must be `Send`, and a handle is not.
    static ASKED: RefCell<Option<WeakTransport>> = const { RefCell::new(None) };
}

impl Curious {
    fn about(transport: &Transport) -> Curious {
        ASKED.set(Some(transport.downgrade()));
        Curious
    }
}

impl AsRef<[u8]> for Curious {
    fn as_ref(&self) -> &[u8] {
        &[b'?'; 8192]
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        let asked = ASKED.with_borrow(|asked| asked.as_ref().and_then(WeakTransport::upgrade));
        if let Some(transport) = asked {
            ask_everything(&transport);
        }
    }
}

//! The law: user code of every kind may call everything, wherever it runs, and is never run inside of a call.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use tidegate_protocols::Cause;
use tidegate_reactor::Signal;
use tidegate_subprocess::{SubprocessProtocol, SubprocessTransport, subprocess_shell};
use tidegate_testkit::run;

mod support;
use support::{Idle, keep_reports, until};

thread_local! {
    /// The transport that user code of this thread calls.
    static TRANSPORT: RefCell<Option<SubprocessTransport>> = const { RefCell::new(None) };
    /// A call of ours is on the stack.
    static CALLING: Cell<bool> = const { Cell::new(false) };
    static RAN: Cell<usize> = const { Cell::new(0) };
}

/// Says that user code runs, which calls everything there is that ends nothing.
fn user_code() {
    assert!(!CALLING.get(), "user code runs inside of a call");
    RAN.set(RAN.get() + 1);
    let transport = TRANSPORT.with_borrow(Option::clone);
    if let Some(transport) = transport {
        call_everything(&transport);
    }
}

fn call_everything(transport: &SubprocessTransport) {
    CALLING.set(true);
    let _ = transport.send_signal(Signal::SIGCONT);
    let _ = transport.send_signal_to_group(Signal::SIGCONT);
    let _ = (transport.get_returncode(), transport.exit_status(), transport.is_closing());
    let _ = (transport.get_pid(), format!("{transport:?}"));
    for fd in 0..3 {
        drop(transport.get_pipe_transport(fd));
    }
    if let Some(stdin) = transport.stdin() {
        stdin.write(b"x");
    }
    let nobody = &mut Context::from_waker(Waker::noop());
    let _ = Pin::new(&mut transport.wait()).poll(nobody);
    let _ = Pin::new(&mut transport.closed()).poll(nobody);
    let _ = transport.with_protocol(|_: &mut Idle| ());
    CALLING.set(false);
}

/// An error that calls everything when it is dropped.
#[derive(Debug)]
struct Loud;

impl fmt::Display for Loud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("loud")
    }
}

impl Error for Loud {}

impl Drop for Loud {
    fn drop(&mut self) {
        user_code();
    }
}

/// A waker that calls everything when it is woken and when it is dropped.
struct Calls;

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        user_code();
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        user_code();
    }
}

struct CallsEverything {
    /// The callback that fails.
    fails: &'static str,
    gone: Rc<Cell<bool>>,
}

impl CallsEverything {
    fn called(&self, transport: &SubprocessTransport, name: &str) -> io::Result<()> {
        TRANSPORT.set(Some(transport.clone()));
        user_code();
        if name == self.fails { Err(io::Error::other(Loud)) } else { Ok(()) }
    }
}

impl SubprocessProtocol for CallsEverything {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        if let Err(error) = self.called(transport, "connection_made") {
            transport.fail(error.into());
            transport.fail(io::Error::other(Loud).into());
        }
    }

    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        _: RawFd,
        _: &[u8],
    ) -> io::Result<()> {
        self.called(transport, "pipe_data_received")
    }

    fn pipe_connection_lost(
        &mut self,
        transport: &SubprocessTransport,
        _: RawFd,
        _: Option<Cause>,
    ) -> io::Result<()> {
        self.called(transport, "pipe_connection_lost")
    }

    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        self.called(transport, "process_exited")
    }

    fn connection_lost(&mut self, transport: &SubprocessTransport, _: Option<Cause>) {
        let _ = self.called(transport, "connection_lost");
    }
}

impl Drop for CallsEverything {
    fn drop(&mut self) {
        user_code();
        self.gone.set(true);
    }
}

#[test]
fn user_code_of_every_kind_may_call_everything() {
    run(async {
        let _reports = keep_reports();
        let callbacks =
            ["", "connection_made", "pipe_data_received", "pipe_connection_lost", "process_exited"];
        for fails in callbacks {
            let gone = Rc::new(Cell::new(false));
            let protocol = CallsEverything { fails, gone: gone.clone() };
            let child = subprocess_shell(move || protocol, "echo hello; read line; exit 1");
            let child = child.process_group(0);
            if let Ok(transport) = child.await {
                let waker = Arc::new(Calls).into();
                let (mut exited, mut closed) = (transport.wait(), transport.closed());
                let _ = Pin::new(&mut exited).poll(&mut Context::from_waker(&waker));
                let _ = Pin::new(&mut closed).poll(&mut Context::from_waker(&waker));
                drop(waker);
                transport.stdin().expect("piped").write(b"\n");
                let cause = transport.closed().await;
                assert_eq!(cause.is_some(), !fails.is_empty());
            }
            until(|| gone.get()).await;
            let transport = TRANSPORT.take();
            call_everything(&transport.expect("it was made"));
        }
        assert!(RAN.get() > 30, "{}", RAN.get());
    });
}

//! What goes wrong on one connection stays there: resets, dead proxies, failing callbacks.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tidegate::prelude::*;
use tidegate::{EventLoop, Report};
use tidegate_testkit::watched;

/// Closes a socket so that the peer gets a reset.
fn reset(stream: TcpStream) {
    set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// Accepts one connection for every connect made to the address it answers.
fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

struct PausedFromTheStart;

impl Protocol for PausedFromTheStart {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_reading();
    }
}

#[test]
fn a_paused_connection_whose_peer_resets_uses_no_cpu() {
    watched(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        tidegate::run(async move {
            let transport = create_connection(|| PausedFromTheStart, address).await?;
            let (peer, _) = listener.accept()?;
            reset(peer);
            let handle = LoopHandle::current()?;
            let before = handle.statistics().turns;
            for _ in 0..50 {
                sleep(Duration::from_millis(1)).await?;
            }
            let turns = handle.statistics().turns - before;
            assert!(turns < 200, "{turns} turns for 50 timers: the loop spins");
            // L-06: the hang-up was seen, and nothing was lost for being paused
            assert!(transport.peer_hung_up());
            assert!(!transport.is_closing());
            transport.resume_reading();
            let cause = transport.closed().await.expect("a reset is a cause");
            assert_eq!(cause.kind(), io::ErrorKind::ConnectionReset);
            io::Result::Ok(())
        })
        .unwrap();
    });
}

/// One side of a proxy.
struct Side {
    other: Rc<RefCell<Option<Transport>>>,
    lost: Rc<Cell<bool>>,
}

impl Side {
    fn with_other(&self, act: impl FnOnce(&Transport)) {
        let other = self.other.borrow().clone();
        if let Some(other) = other {
            act(&other);
        }
    }
}

impl Protocol for Side {
    fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
        self.with_other(|other| {
            other.write(data);
        });
        Ok(())
    }
    fn pause_writing(&mut self, _: &Transport) {
        self.with_other(Transport::pause_reading);
    }
    fn resume_writing(&mut self, _: &Transport) {
        self.with_other(Transport::resume_reading);
    }
    fn connection_lost(&mut self, _: &Transport, _: Option<Cause>) {
        self.lost.set(true);
        self.with_other(Transport::close);
    }
}

#[test]
fn a_proxy_whose_b_dies_while_a_is_paused_ends() {
    watched(|| {
        let (listener_a, listener_b) = (listener(), listener());
        let (address_a, address_b) =
            (listener_a.local_addr().unwrap(), listener_b.local_addr().unwrap());
        tidegate::run(async move {
            let (handle_a, handle_b) = (Rc::default(), Rc::default());
            let (lost_a, lost_b): (Rc<Cell<bool>>, Rc<Cell<bool>>) = (Rc::default(), Rc::default());
            let side_a = Side { other: Rc::clone(&handle_b), lost: lost_a.clone() };
            let side_b = Side { other: Rc::clone(&handle_a), lost: lost_b.clone() };
            let a = create_connection(move || side_a, address_a).await?;
            let b = create_connection(move || side_b, address_b).await?;
            *handle_a.borrow_mut() = Some(a.clone());
            *handle_b.borrow_mut() = Some(b.clone());
            let (mut source, _) = listener_a.accept()?;
            let (sink, _) = listener_b.accept()?;
            // The source writes until it is stuck, since B's peer reads nothing and so A is paused.
            let writing = thread::spawn(move || {
                let chunk = [7; 64 * 1024];
                while source.write_all(&chunk).is_ok() {}
            });
            let handle = LoopHandle::current()?;
            while a.is_reading() {
                sleep(Duration::from_millis(1)).await?;
            }
            assert!(!handle.is_closed());
            reset(sink);
            a.closed().await;
            b.closed().await;
            assert!(lost_a.get() && lost_b.get());
            writing.join().unwrap();
            io::Result::Ok(())
        })
        .unwrap();
    });
}

/// Fails in the way and at the callback it is made for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    Error,
    Panic,
}

struct Failing {
    callback: &'static str,
    way: Way,
}

impl Failing {
    fn reach(&self, callback: &'static str) -> io::Result<()> {
        match (self.callback == callback, self.way) {
            (false, _) => Ok(()),
            (true, Way::Error) => Err(io::Error::other("on purpose")),
            (true, Way::Panic) => panic!("on purpose"),
        }
    }
}

impl Protocol for Failing {
    fn connection_made(&mut self, transport: &Transport) {
        // Small limits, so that the big write below pauses and later resumes.
        transport.set_write_buffer_limits(Some(1), None).unwrap();
        transport.write(&vec![0; 16 << 20]);
        drop(self.reach("connection_made"));
    }
    fn data_received(&mut self, _: &Transport, _: &[u8]) -> io::Result<()> {
        self.reach("data_received")
    }
    fn eof_received(&mut self, _: &Transport) -> io::Result<tidegate::AtEof> {
        self.reach("eof_received")?;
        Ok(tidegate::AtEof::Close)
    }
    fn pause_writing(&mut self, _: &Transport) {
        drop(self.reach("pause_writing"));
    }
    fn resume_writing(&mut self, _: &Transport) {
        drop(self.reach("resume_writing"));
    }
    fn connection_lost(&mut self, _: &Transport, _: Option<Cause>) {
        drop(self.reach("connection_lost"));
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        if self.callback == "drop" {
            panic!("on purpose");
        }
    }
}

/// Echoes, as the connection that must not notice the other one's end.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }
}

fn check_failing(callback: &'static str, way: Way) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    let reports = Rc::new(RefCell::new(Vec::new()));
    let share = reports.clone();
    tidegate::run(async move {
        let handle = LoopHandle::current()?;
        handle.set_exception_handler(Some(move |report: &Report| {
            share.borrow_mut().push(report.to_string());
        }));
        let failing = create_connection(move || Failing { callback, way }, address).await?;
        let (mut failing_peer, _) = listener.accept()?;
        let echo = create_connection(|| Echo, address).await?;
        let (mut echo_peer, _) = listener.accept()?;
        let peers = thread::spawn(move || {
            drop(failing_peer.write_all(b"hello"));
            let mut sink = vec![0; 1 << 20];
            let mut left: usize = 16 << 20;
            while left > 0
                && let Ok(length @ 1..) = failing_peer.read(&mut sink)
            {
                left -= length;
            }
            drop(failing_peer.shutdown(std::net::Shutdown::Write));
            while let Ok(1..) = failing_peer.read(&mut sink) {}
            echo_peer.write_all(b"still here").unwrap();
            let mut reply = [0; 10];
            echo_peer.read_exact(&mut reply).unwrap();
            (reply, echo_peer)
        });
        failing.closed().await;
        let (reply, _echo_peer) =
            handle.run_in_executor(move || peers.join().unwrap()).await.unwrap();
        assert_eq!(&reply, b"still here", "{callback} {way:?}");
        assert!(!echo.is_closing(), "{callback} {way:?}");
        io::Result::Ok(())
    })
    .unwrap();
    let reports = reports.borrow();
    assert!(
        reports.iter().any(|report| report.contains("on purpose")),
        "{callback} {way:?} was not reported: {reports:?}"
    );
}

#[test]
fn a_callback_that_fails_ends_its_connection_alone() {
    watched(|| {
        // T-14 T-18 replaced: C-14 T-49 P-08
        for callback in ["data_received", "eof_received"] {
            check_failing(callback, Way::Error);
        }
        for callback in [
            "connection_made",
            "data_received",
            "eof_received",
            "pause_writing",
            "resume_writing",
            "connection_lost",
            "drop",
        ] {
            check_failing(callback, Way::Panic);
        }
    });
}

#[test]
fn a_closed_loop_refuses_everything_and_keeps_nothing() {
    watched(|| {
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let event_loop = EventLoop::new().unwrap();
        let transport = event_loop
            .run_until_complete(async move { create_connection(|| Echo, address).await })
            .unwrap()
            .unwrap();
        event_loop.close().unwrap();
        // T-05: every method can still be called
        assert!(transport.is_closing());
        assert!(!transport.is_reading());
        assert_eq!(transport.write(b"x"), Flow::Closed);
        assert_eq!(transport.get_write_buffer_size(), 0);
        assert!(transport.with_socket(|_| ()).is_none());
        transport.close();
        transport.abort();
        transport.pause_reading();
        transport.resume_reading();
        transport.write_eof().unwrap();
        assert!(transport.peername().is_some() && transport.sockname().is_some());
        // The peer sees the end although a handle is still alive.
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

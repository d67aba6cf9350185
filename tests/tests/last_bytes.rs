//! What was written last arrives, however the connection or the loop ends right after.

use std::cell::RefCell;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::thread::{self, JoinHandle};

use tidegate::prelude::*;
use tidegate::{Address, EventLoop};
use tidegate_testkit::watched;

/// A peer on a thread that reads everything until the end or an error.
fn reading_peer() -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            received.extend_from_slice(&chunk[..length]);
        }
        received
    });
    (address, peer)
}

/// Runs a script when the connection is made.
struct AtOnce<F>(Option<F>);

impl<F: FnOnce(&Transport) + 'static> Protocol for AtOnce<F> {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(script) = self.0.take() {
            script(transport);
        }
    }
}

/// Connects to a reading peer and runs `script` in `connection_made`; the peer must read "last words".
fn check_in_callback(script: impl FnOnce(&Transport) + 'static) {
    watched(|| {
        let (address, peer) = reading_peer();
        let ended = tidegate::run(async move {
            let transport = create_connection(move || AtOnce(Some(script)), address).await?;
            transport.closed().await;
            io::Result::Ok(())
        });
        ended.unwrap();
        assert_eq!(peer.join().unwrap(), b"last words");
    });
}

#[test]
fn before_close() {
    check_in_callback(|transport| {
        transport.write(b"last words");
        transport.close();
    });
}

#[test]
fn before_abort() {
    check_in_callback(|transport| {
        transport.write(b"last words");
        transport.abort();
    });
}

#[test]
fn before_a_flush_that_nobody_awaits() {
    check_in_callback(|transport| {
        transport.write(b"last words");
        drop(transport.flush());
        assert_eq!(transport.get_write_buffer_size(), 0);
        transport.close();
    });
}

#[test]
fn before_a_panic() {
    check_in_callback(|transport| {
        LoopHandle::current().unwrap().set_exception_handler(Some(|_: &tidegate::Report| {}));
        transport.write(b"last words");
        panic!("on purpose");
    });
}

#[test]
fn before_stop() {
    watched(|| {
        let (address, peer) = reading_peer();
        let event_loop = EventLoop::new().unwrap();
        let connecting = async move {
            let script = |transport: &Transport| {
                transport.write(b"last words");
                LoopHandle::current().unwrap().stop();
            };
            create_connection(move || AtOnce(Some(script)), address).await
        };
        event_loop.handle().spawn(async move { drop(connecting.await) }).unwrap();
        event_loop.run_forever().unwrap();
        // The loop has stopped and still owns the connection: the bytes have left all the same.
        event_loop.close().unwrap();
        assert_eq!(peer.join().unwrap(), b"last words");
    });
}

#[test]
fn before_the_end_of_run_until_complete() {
    watched(|| {
        let (address, peer) = reading_peer();
        let event_loop = EventLoop::new().unwrap();
        event_loop
            .run_until_complete(async move {
                let transport =
                    create_connection(|| AtOnce(Some(|_: &Transport| {})), address).await?;
                transport.write(b"last words");
                io::Result::Ok(())
            })
            .unwrap()
            .unwrap();
        event_loop.close().unwrap();
        assert_eq!(peer.join().unwrap(), b"last words");
    });
}

#[test]
fn before_the_end_of_run() {
    watched(|| {
        let (address, peer) = reading_peer();
        let ended = tidegate::run(async move {
            let transport = create_connection(|| AtOnce(Some(|_: &Transport| {})), address).await?;
            transport.write(b"last words");
            io::Result::Ok(())
        });
        ended.unwrap();
        assert_eq!(peer.join().unwrap(), b"last words");
    });
}

#[test]
fn while_no_loop_runs_they_leave_at_once() {
    watched(|| {
        let (address, peer) = reading_peer();
        let event_loop = EventLoop::new().unwrap();
        let transport = event_loop
            .run_until_complete(async move {
                create_connection(|| AtOnce(Some(|_: &Transport| {})), address).await
            })
            .unwrap()
            .unwrap();
        transport.write(b"last ");
        assert_eq!(transport.get_write_buffer_size(), 0);
        transport.write(b"words");
        event_loop.close().unwrap();
        assert_eq!(transport.write(b"too late"), Flow::Closed);
        assert_eq!(peer.join().unwrap(), b"last words");
    });
}

/// Counts what it is told, for the end of `run`.
#[derive(Default)]
struct Ends {
    made: usize,
    lost: usize,
}

impl Protocol for Ends {
    fn connection_made(&mut self, transport: &Transport) {
        assert!(matches!(transport.peername(), Some(Address::Inet(_))));
        self.made += 1;
    }
    fn connection_lost(&mut self, _: &Transport, _: Option<Cause>) {
        self.lost += 1;
    }
}

#[test]
fn the_end_of_run_delivers_each_loss() {
    watched(|| {
        let (address, peer) = reading_peer();
        let ends = Rc::new(RefCell::new(Ends::default()));
        let share = ends.clone();
        let ended = tidegate::run(async move {
            create_connection(move || share, address).await?;
            io::Result::Ok(())
        });
        ended.unwrap();
        assert_eq!((ends.borrow().made, ends.borrow().lost), (1, 1));
        assert_eq!(Rc::strong_count(&ends), 1, "the loop has let go of the protocol");
        assert_eq!(peer.join().unwrap(), b"");
    });
}

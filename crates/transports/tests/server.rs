//! The handle of a server over real sockets: how it governs its clients and how it ends.

#![cfg(not(windows))]

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tidegate_protocols::{Above, Address, Gate, Layer, Layered, Protocol, Transport};
use tidegate_reactor::{EventLoop, LoopHandle, timeout};
use tidegate_testkit::{Callback, Event, alone, open_descriptors, run, watched};
use tidegate_transports::{ServerError, create_connection, create_server};

mod support;
use support::{
    Idle, LOOPBACK, address_of, connect, has_ended, inner, read_all, recording, turns, until,
};

#[test]
fn close_ends_listening_and_nothing_else() {
    run(async {
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let address = address_of(&server);
        let mut client = connect(&server);
        until(|| logs.borrow().len() == 1).await;
        let log = logs.borrow()[0].clone();
        log.made().await;
        let waiting = connect(&server);
        let socket = server.sockets().remove(0);

        // S-30
        server.close();
        server.close();
        assert!(!server.is_serving());
        assert!(server.sockets().is_empty());
        assert!(TcpStream::connect(address).is_err());
        // S-38
        assert!(socket.with_socket(|_| ()).is_none());
        assert_eq!(socket.sockname(), Address::Inet(address));
        drop(TcpListener::bind(address)?);

        // S-30: established connections go on, those in the queue are reset
        client.write_all(b"still here")?;
        log.received_at_least(10).await;
        assert!(has_ended(&waiting));
        turns(3).await;
        assert_eq!(logs.borrow().len(), 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Whether it listens; where the system does not say that, whether it is there.
fn listens(socket: impl AsFd) -> rustix::io::Result<bool> {
    #[cfg(target_vendor = "apple")]
    return rustix::net::getsockname(socket).map(|_| true);
    #[cfg(not(target_vendor = "apple"))]
    return rustix::net::sockopt::socket_acceptconn(socket);
}

#[test]
fn a_socket_that_is_looked_at_can_be_duplicated_but_not_closed() {
    run(async {
        let server = create_server(|| Idle, LOOPBACK).await?;
        let socket = server.sockets().remove(0);
        // S-38
        let duplicate = socket
            .with_socket(|socket| socket.try_clone_to_owned().expect("one more"))
            .expect("open");
        // Closed while it is looked at, it stays open until the look is over.
        let looked = socket.with_socket(|looked_at| {
            server.close();
            listens(looked_at)
        });
        assert_eq!(looked, Some(Ok(true)));
        assert!(socket.with_socket(|_| ()).is_none());
        assert_eq!(listens(&duplicate), Ok(true));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn wait_closed_waits_for_the_close_and_for_the_last_client() {
    run(async {
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let over = Rc::new(Cell::new(0));
        let handle = LoopHandle::current()?;
        let wait = || {
            let (waiting, over) = (server.wait_closed(), over.clone());
            handle.spawn(async move {
                waiting.await;
                over.set(over.get() + 1);
            })
        };
        // S-31: any number of waiters, and before the close it waits even without clients
        let _waiters = [wait()?, wait()?];
        turns(3).await;
        assert_eq!(over.get(), 0);

        let client = connect(&server);
        until(|| logs.borrow().len() == 1).await;
        server.close();
        turns(3).await;
        assert_eq!(over.get(), 0);
        // S-32: it is gone when connection_lost was delivered
        drop(client);
        let log = logs.borrow()[0].clone();
        log.lost().await;
        turns(2).await;
        assert_eq!(over.get(), 2);
        assert_eq!(server.statistics().open, 0);
        // S-31: afterwards it returns at once
        server.wait_closed().await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_server_closed_without_clients_is_gone_at_once() {
    run(async {
        let server = create_server(|| Idle, LOOPBACK).await?;
        let waiting = LoopHandle::current()?.spawn(server.wait_closed())?;
        turns(2).await;
        assert!(!waiting.is_finished());
        server.close();
        // S-31
        waiting.await.expect("the task lives");
        server.wait_closed().await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Writes more than any socket buffer takes.
struct Flood;

impl Protocol for Flood {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(&vec![b'x'; 32 << 20]);
    }
}

#[test]
fn clients_are_closed_or_aborted() {
    run(async {
        let server = create_server(|| Flood, LOOPBACK).await?;
        let blocked = connect(&server);
        until(|| server.statistics().open == 1).await;
        turns(2).await;
        // S-33: the server stays open
        server.close_clients();
        assert!(server.is_serving());
        server.close();
        let limit = Duration::from_millis(50);
        // S-33: with a blocked peer only abort gets it to finish
        assert!(timeout(limit, server.wait_closed()).await.is_err());
        server.abort_clients();
        server.wait_closed().await;
        assert_eq!(server.statistics().aborted, 1);
        drop(blocked);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn closing_clients_sends_what_was_written() {
    run(async {
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let client = connect(&server);
        until(|| logs.borrow().len() == 1).await;
        let log = logs.borrow()[0].clone();
        log.made().await;
        // S-33
        server.close_clients();
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert!(read_all(client).is_empty());
        assert!(server.is_serving());
        assert_eq!(server.statistics().open, 0);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn serve_forever_starts_and_ends_with_the_server() {
    run(async {
        let handle = LoopHandle::current()?;
        let (server, logs) = recording(LOOPBACK);
        let server = server.start_serving(false).await?;
        let serving = handle.spawn(server.serve_forever())?;
        turns(2).await;
        assert!(server.is_serving());
        // S-34
        let second = server.serve_forever().await.expect_err("one at a time");
        assert_eq!(inner(&second), Some(&ServerError::AlreadyServing));

        let client = connect(&server);
        until(|| logs.borrow().len() == 1).await;
        // S-34: closed from outside it ends, when the clients are gone
        server.close();
        turns(3).await;
        assert!(!serving.is_finished());
        drop(client);
        let error = serving.await.expect("the task lives").expect_err("it was closed");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(inner(&error), Some(&ServerError::Interrupted));
        // S-34
        let late = server.serve_forever().await.expect_err("closed");
        assert_eq!(inner(&late), Some(&ServerError::Closed));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn dropping_serve_forever_closes_the_server() {
    run(async {
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let mut client = connect(&server);
        until(|| logs.borrow().len() == 1).await;
        // One that was never polled changes nothing.
        drop(server.serve_forever());
        assert!(server.is_serving());
        {
            let mut serving = pin!(server.serve_forever());
            let waited = timeout(Duration::from_millis(1), serving.as_mut()).await;
            assert!(waited.is_err());
        }
        // replaced: S-34 S-36: nobody is waited for
        assert!(!server.is_serving());
        client.write_all(b"still here")?;
        let log = logs.borrow()[0].clone();
        log.received_at_least(10).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_server_without_a_handle_goes_on() {
    run(async {
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let address = address_of(&server);
        let another = server.clone();
        drop(server);
        // S-37
        drop(another);
        let _client = TcpStream::connect(address)?;
        until(|| logs.borrow().len() == 1).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_server_that_never_served_is_closed_with_its_last_handle() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let server = create_server(|| Idle, LOOPBACK).start_serving(false).await?;
            assert_eq!(open_descriptors(), before + 1);
            drop(server);
            assert_eq!(open_descriptors(), before);
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn a_loop_that_closes_takes_its_servers_along() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let event_loop = EventLoop::new().expect("a loop");
        let (making, logs) = recording(LOOPBACK);
        let (server, client) = event_loop
            .run_until_complete(async {
                let server = making.await.expect("a server");
                let client = connect(&server);
                until(|| logs.borrow().len() == 1).await;
                (server, client)
            })
            .expect("a loop");
        event_loop.close().expect("a loop that does not run");
        assert!(!server.is_serving());
        assert!(server.sockets().is_empty());
        assert_eq!(server.statistics().open, 0);
        // No callback comes any more, and the protocol is dropped.
        let log = logs.borrow()[0].clone();
        assert!(!log.has(Callback::ConnectionLost));
        assert!(log.is_abandoned());
        assert!(has_ended(&client));
        drop((client, event_loop));
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_server_that_serves_ends_with_run() {
    watched(|| {
        let (making, logs) = recording(LOOPBACK);
        let kept = logs.clone();
        let main = async move {
            let server = making.await?;
            let client = connect(&server);
            until(|| kept.borrow().len() == 1).await;
            let address = address_of(&server);
            Ok::<_, io::Error>((server, address, client))
        };
        let (server, address, client) = tidegate_reactor::run(main).unwrap();
        assert!(!server.is_serving());
        assert!(TcpStream::connect(address).is_err());
        let log = logs.borrow()[0].clone();
        log.assert(&[Event::Made, Event::Lost(None)]);
        assert!(has_ended(&client));
    });
}

#[test]
fn drain_lets_clients_finish_and_aborts_the_rest() {
    run(async {
        // Everyone finishes.
        let (server, logs) = recording(LOOPBACK);
        let server = server.await?;
        let clients = [connect(&server), connect(&server)];
        until(|| logs.borrow().len() == 2).await;
        turns(2).await;
        assert_eq!(server.drain(Duration::from_secs(3600)).await, 0);
        assert!(clients.iter().all(has_ended));
        assert!(!server.is_serving());

        // One does not.
        let server = create_server(|| Flood, LOOPBACK).await?;
        let (blocked, reading) = (connect(&server), connect(&server));
        let reader = std::thread::spawn(move || read_all(reading).len());
        until(|| server.statistics().open == 2).await;
        turns(2).await;
        assert_eq!(server.drain(Duration::from_secs(2)).await, 1);
        assert_eq!(reader.join().expect("the reader"), 32 << 20);
        assert_eq!(server.statistics().open, 0);
        drop(blocked);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A layer whose protocol sees another transport, so that one can tell which of the two is closed.
struct Sees(Transport);

impl Layer for Sees {
    fn under(&self, above: Above, gate: Gate) -> Box<dyn Protocol> {
        struct Below {
            sees: Transport,
            gate: Option<Gate>,
            _above: Above,
        }
        impl Protocol for Below {
            fn connection_made(&mut self, _: &Transport) {
                if let Some(gate) = self.gate.take() {
                    gate.open(&self.sees);
                }
            }
        }
        Box::new(Below { sees: self.0.clone(), gate: Some(gate), _above: above })
    }
}

#[test]
fn clients_with_layers_are_closed_below_and_drained_from_above() {
    run(async {
        let (ours, _theirs) = UnixStream::pair()?;
        let seen = create_connection(|| Idle, ()).sock(ours).await?;
        let server = create_server(|| Idle, LOOPBACK).layer(Sees(seen.clone())).await?;
        let client = connect(&server);
        until(|| server.statistics().accepted == 1 && server.statistics().opening == 0).await;
        // S-33
        server.close_clients();
        until(|| has_ended(&client)).await;
        assert!(!seen.is_closing());

        let _client = connect(&server);
        until(|| server.statistics().accepted == 2 && server.statistics().opening == 0).await;
        // What is below does not follow by itself, so it is aborted.
        assert_eq!(server.drain(Duration::from_millis(20)).await, 1);
        assert!(seen.is_closing());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn dropping_drain_aborts_nobody() {
    run(async {
        let server = create_server(|| Flood, LOOPBACK).await?;
        let client = connect(&server);
        until(|| server.statistics().open == 1).await;
        turns(2).await;
        assert!(timeout(Duration::from_millis(1), server.drain(Duration::MAX)).await.is_err());
        assert!(!server.is_serving());
        let reader = std::thread::spawn(move || read_all(client).len());
        server.wait_closed().await;
        assert_eq!(reader.join().expect("the reader"), 32 << 20);
        assert_eq!(server.statistics().aborted, 0);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn the_end_of_a_client_is_read_by_it() {
    run(async {
        let server = create_server(|| Idle, LOOPBACK).await?;
        let mut client = connect(&server);
        until(|| server.statistics().open == 1).await;
        server.abort_clients();
        server.close();
        server.wait_closed().await;
        let ended = client.read(&mut [0]);
        assert!(matches!(ended, Ok(0) | Err(_)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

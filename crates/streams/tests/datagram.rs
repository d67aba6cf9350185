//! Datagrams seen from a task: what comes, what is refused, back-pressure both ways, and futures that are dropped.

#![cfg(not(windows))]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;

use tidegate_protocols::{Address, DatagramProtocol, SendtoError, WriteLimits};
use tidegate_reactor::{EventLoop, spawn};
use tidegate_streams::{DatagramStream, LimitError, StreamLimit, open_datagram};
use tidegate_testkit::{alone, open_descriptors, run, turns, until, watched};

const LOOPBACK: (&str, u16) = ("127.0.0.1", 0);

fn own(stream: &DatagramStream) -> SocketAddr {
    stream.local_addr().and_then(|own| own.as_inet()).expect("an internet address")
}

/// Polls a future once.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    futures_lite::future::poll_once(future).await
}

#[test]
fn what_is_sent_is_received_with_its_sender() {
    run(async {
        let server = open_datagram().local_addr(LOOPBACK).await?;
        let client = open_datagram().remote_addr(own(&server)).await?;
        for data in [&b"one"[..], b"", b"three"] {
            client.send(data).await?;
            let (received, from) = server.recv().await?;
            assert_eq!(received, data);
            assert_eq!(Some(&from), client.local_addr().as_ref());
            server.send_to(&received, &from).await?;
            assert_eq!(client.recv().await?.0, data);
        }
        assert_eq!(client.remote_addr(), server.local_addr());
        client.close().await?;
        server.close().await?;
        server.close().await
    })
    .unwrap();
}

#[test]
fn a_bad_request_is_answered_and_changes_nothing() {
    run(async {
        let error = open_datagram().local_addr(LOOPBACK).limit(0).await.unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<LimitError>()));
        let stream = open_datagram().local_addr(LOOPBACK).await?;
        // G-06
        let error = stream.send(b"to whom?").await.unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<SendtoError>()));
        stream.send_to(b"to myself", own(&stream)).await?;
        assert_eq!(stream.recv().await?.0, "to myself");
        stream.close().await
    })
    .unwrap();
}

#[test]
fn an_error_of_the_system_is_answered_once_and_by_either() {
    run(async {
        let gone = UdpSocket::bind(LOOPBACK)?;
        let to = gone.local_addr()?;
        drop(gone);
        let stream = open_datagram().remote_addr(to).await?;
        stream.send(b"x").await?;
        // G-02
        assert_eq!(stream.recv().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(once(stream.recv()).await.is_none(), "it was answered");
        stream.send(b"x").await?;
        let mut answer = stream.send(b"x").await;
        while answer.is_ok() {
            turns(1).await;
            answer = stream.send(b"x").await;
        }
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

        // The endpoint goes on; what was refused meanwhile is answered first.
        let back = UdpSocket::bind(to)?;
        back.set_nonblocking(true)?;
        while back.recv(&mut [0; 9]).is_err() {
            let _refused_before = stream.send(b"y").await;
            turns(1).await;
        }
        stream.close().await
    })
    .unwrap();
}

#[test]
fn a_stream_that_nobody_reads_stops_receiving_and_loses_nothing() {
    run(async {
        let (near, far) = UnixDatagram::pair()?;
        let stream = open_datagram().sock(near).limit(100).await?;
        far.set_nonblocking(true)?;
        // 18 bytes each: the twelfth is the one above twice the limit.
        for number in 0..20_u8 {
            far.send(&[number; 10])?;
        }
        until(|| !stream.transport().is_reading()).await;
        assert_eq!(stream.transport().statistics().datagrams_received, 12);
        turns(5).await;
        assert_eq!(stream.transport().statistics().datagrams_received, 12);
        for number in 0..20_u8 {
            assert_eq!(stream.recv().await?.0, [number; 10][..]);
            // At most the limit is left from the seventh on.
            assert_eq!(stream.transport().is_reading(), number >= 6, "{number}");
        }
        stream.close().await
    })
    .unwrap();
}

#[test]
fn a_send_waits_while_the_flow_is_paused() {
    run(async {
        let (near, far) = UnixDatagram::pair()?;
        let limits = WriteLimits::new(Some(0), None)?;
        let stream = open_datagram().sock(near).write_buffer_limits(limits).await?;
        let mut accepted = 0_u32;
        while once(stream.send(&accepted.to_ne_bytes())).await.is_some() {
            accepted += 1;
            turns(1).await;
        }
        assert_eq!(stream.transport().statistics().waiting, 1);
        // One that is dropped while it waits has sent nothing.
        assert!(once(stream.send(b"never")).await.is_none());
        let mut data = [0; 9];
        for expected in 0..accepted {
            assert_eq!(far.recv(&mut data)?, 4);
            assert_eq!(data[..4], expected.to_ne_bytes());
            turns(1).await;
        }
        stream.send(b"last").await?;
        stream.flush().await?;
        assert_eq!(far.recv(&mut data)?, 4);
        assert_eq!(&data[..4], b"last");
        stream.close().await
    })
    .unwrap();
}

#[test]
fn a_receive_that_is_dropped_loses_nothing_and_several_may_wait() {
    run(async {
        let server = std::rc::Rc::new(open_datagram().local_addr(LOOPBACK).await?);
        assert!(once(server.recv()).await.is_none());
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let server = server.clone();
                spawn(async move { server.recv().await.map(|(data, _)| data) }).unwrap()
            })
            .collect();
        turns(2).await;
        let peer = UdpSocket::bind(LOOPBACK)?;
        for number in 0..3 {
            peer.send_to(&[number], own(&server))?;
        }
        let mut received = Vec::new();
        for task in tasks {
            received.extend(task.await??);
        }
        received.sort();
        assert_eq!(received, [0, 1, 2]);
        server.close().await
    })
    .unwrap();
}

#[test]
fn what_came_before_the_end_is_read_first() {
    run(async {
        let (near, far) = UnixDatagram::pair()?;
        let stream = open_datagram().sock(near).await?;
        far.send(b"a")?;
        until(|| stream.transport().statistics().datagrams_received == 1).await;
        let cause = io::Error::new(io::ErrorKind::TimedOut, "enough");
        tidegate_reactor::LoopHandle::current()?
            .set_exception_handler(Some(|_: &tidegate_reactor::Report| ()));
        stream.transport().fail(cause.into());
        stream.transport().closed().await;
        assert_eq!(stream.recv().await?.0, "a");
        for _ in 0..2 {
            assert_eq!(stream.recv().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(stream.send(b"b").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(stream.close().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_close_ends_a_receive_that_waits() {
    run(async {
        let stream = std::rc::Rc::new(open_datagram().local_addr(LOOPBACK).await?);
        let waiting = stream.clone();
        let task = spawn(async move { waiting.recv().await })?;
        turns(1).await;
        stream.close().await?;
        assert_eq!(task.await?.unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert_eq!(stream.send(b"x").await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn another_protocol_leaves_the_stream_behind() {
    struct Other;
    impl DatagramProtocol for Other {}
    run(async {
        let stream = open_datagram().local_addr(LOOPBACK).await?;
        stream.transport().set_protocol(Other);
        assert_eq!(stream.recv().await.unwrap_err().kind(), io::ErrorKind::NotConnected);
        stream.close().await?;

        // Also one that waits to send: the resume is told to the other.
        let (near, _far) = UnixDatagram::pair()?;
        let limits = WriteLimits::new(Some(0), None)?;
        let stream = open_datagram().sock(near).write_buffer_limits(limits).await?;
        while once(stream.send(b"full")).await.is_some() {
            turns(1).await;
        }
        let mut waits = std::pin::pin!(stream.send(b"never"));
        assert!(once(waits.as_mut()).await.is_none());
        stream.transport().set_protocol(Other);
        let answer = once(waits).await.expect("it waits for nothing any more");
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::NotConnected);
        stream.transport().abort();
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn one_that_is_dropped_sends_what_it_has_and_leaves_no_descriptor() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let peer = UdpSocket::bind(LOOPBACK).unwrap();
        let to = Address::Inet(peer.local_addr().unwrap());
        let event_loop = EventLoop::new().unwrap();
        event_loop
            .run_until_complete(async {
                let stream = open_datagram().local_addr(LOOPBACK).await?;
                stream.send_to(b"farewell", &to).await?;
                let closed = stream.transport().closed();
                drop(stream);
                assert!(closed.await.is_none());
                Ok::<(), io::Error>(())
            })
            .unwrap()
            .unwrap();
        let mut data = [0; 9];
        assert_eq!(peer.recv(&mut data).unwrap(), 8);
        drop(peer);
        event_loop.close().unwrap();
        drop(event_loop);
        assert_eq!(open_descriptors(), before);
    });
}

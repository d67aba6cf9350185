//! Datagram endpoints over real sockets: order, bursts, errors of the network, peers that go, and nothing lost.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;

use tidegate_protocols::{
    Address, DatagramProtocol, DatagramTransport, Flow, SendtoError, UnixAddress,
};
use tidegate_reactor::{EventLoop, LoopHandle};
use tidegate_testkit::{alone, open_descriptors, run, turns, until, watched};
use tidegate_transports::create_datagram_endpoint;

mod datagrams;
mod support;
use datagrams::{Diary, LOOPBACK, Recorder, Told, end, own};

/// An endpoint that is bound to a port of its own, and what it is told.
async fn receiver() -> io::Result<(DatagramTransport, Diary)> {
    let diary = Diary::default();
    let given = diary.clone();
    let endpoint = create_datagram_endpoint(move || Recorder::new(&given));
    Ok((endpoint.local_addr(LOOPBACK).await?, diary))
}

/// Sends back what comes.
struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        transport.sendto(data, from)?;
        Ok(())
    }
}

#[test]
fn what_is_sent_comes_back_whatever_its_length() {
    run(async {
        for place in ["127.0.0.1", "::1"] {
            let echo = create_datagram_endpoint(|| Echo).local_addr((place, 0)).await?;
            let diary = Diary::default();
            let given = diary.clone();
            let client = create_datagram_endpoint(move || Recorder::new(&given));
            let client = client.remote_addr(own(&echo)).await?;
            // G-07
            for length in [0, 1, 1472, 9000, 65_507, 0] {
                let before = diary.datagrams().len();
                client.sendto(&vec![7; length], None)?;
                until(|| diary.datagrams().len() > before).await;
                assert_eq!(diary.datagrams()[before], vec![7; length]);
            }
            end(&client).await;
            end(&echo).await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Sizes as a program might send them: runs of equal ones, with shorter, longer and empty ones between.
fn mixed_sizes() -> Vec<usize> {
    let mut sizes = Vec::new();
    let mut seed = 7_usize;
    while sizes.len() < 200 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let size = [1200, 1200, 100, 0, 1, 700, 1200, 999][(seed >> 33) % 8];
        let count = (seed >> 40) % 9 + 1;
        sizes.extend(std::iter::repeat_n(size, count));
        if (seed >> 50).is_multiple_of(3) {
            sizes.push(size / 2);
        }
    }
    sizes
}

#[test]
fn a_burst_of_mixed_sizes_arrives_exactly_as_plain_sends_would() {
    run(async {
        for segmentation in [true, false] {
            let (server, diary) = receiver().await?;
            let (other, other_diary) = receiver().await?;
            let client = create_datagram_endpoint(|| Recorder::new(&Diary::default()));
            let client = client.local_addr(LOOPBACK).segmentation(segmentation).await?;
            let datagrams: Vec<Vec<u8>> = mixed_sizes()
                .into_iter()
                .enumerate()
                .map(|(number, size)| vec![number as u8; size])
                .collect();
            // Not more at a time than the receiver's buffer holds.
            for burst in datagrams.chunks(40) {
                for (number, data) in burst.iter().enumerate() {
                    client.sendto(data, own(&server))?;
                    if number % 7 == 0 {
                        client.sendto(data, own(&other))?;
                    }
                }
                let sent =
                    client.statistics().datagrams_sent as usize + client.statistics().waiting;
                until(|| diary.datagrams().len() + other_diary.datagrams().len() == sent).await;
            }
            assert_eq!(diary.datagrams(), datagrams);
            let to_other = datagrams.chunks(40).flat_map(|burst| burst.iter().step_by(7));
            assert_eq!(other_diary.datagrams(), to_other.cloned().collect::<Vec<_>>());
            let from = Address::Inet(own(&client));
            assert!(diary.senders().iter().all(|sender| *sender == from));
            for transport in [client, server, other] {
                end(&transport).await;
            }
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_datagram_that_is_too_long_is_refused_or_told() {
    run(async {
        let (server, _) = receiver().await?;
        let (limit, length) = (65_507, 65_508);
        let too_long = server.sendto(&vec![0; length], own(&server));
        assert_eq!(too_long, Err(SendtoError::TooLong { length, limit }));
        let six = create_datagram_endpoint(|| Echo).local_addr(("::1", 0)).await?;
        let (limit, length) = (65_527, 65_528);
        let too_long = six.sendto(&vec![0; length], own(&six));
        assert_eq!(too_long, Err(SendtoError::TooLong { length, limit }));
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:9".parse().unwrap();
        let (limit, length) = (65_507, 65_508);
        let too_long = six.sendto(&vec![0; length], mapped);
        assert_eq!(too_long, Err(SendtoError::TooLong { length, limit }));
        assert_eq!(six.statistics().waiting, 0);

        // What only the system knows comes later, and by the callback.
        let diary = Diary::default();
        let given = diary.clone();
        let (near, far) = UnixDatagram::pair()?;
        let transport = create_datagram_endpoint(move || Recorder::new(&given)).sock(near).await?;
        transport.sendto(&vec![0; 10 << 20], None)?;
        transport.sendto(b"next", None)?;
        until(|| diary.entries().iter().any(|told| matches!(told, Told::Error(_)))).await;
        transport.flush().await?;
        // G-02
        let mut data = [0; 9];
        assert_eq!(far.recv(&mut data)?, 4);
        assert_eq!((transport.statistics().datagrams_dropped, transport.is_closing()), (1, false));
        for transport in [transport, server, six] {
            end(&transport).await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_peer_that_is_not_there_is_told_and_the_endpoint_goes_on() {
    run(async {
        let gone = UdpSocket::bind(LOOPBACK)?;
        let to = gone.local_addr()?;
        drop(gone);
        let diary = Diary::default();
        let given = diary.clone();
        let client =
            create_datagram_endpoint(move || Recorder::new(&given)).remote_addr(to).await?;
        let refused = Told::Error(io::ErrorKind::ConnectionRefused);
        client.sendto(b"is anybody there?", None)?;
        // G-02
        until(|| diary.has(&refused)).await;
        assert!(!client.is_closing());
        // The answer to one of many that left together is told as well.
        let before = diary.count(&refused);
        for _ in 0..10 {
            client.sendto(b"hello?", None)?;
        }
        until(|| diary.count(&refused) > before).await;

        let back = UdpSocket::bind(to)?;
        let reached = Cell::new(false);
        back.set_nonblocking(true)?;
        until(|| {
            client.sendto(b"again", None).expect("it has a remote address");
            reached.set(reached.get() || back.recv(&mut [0; 9]).is_ok());
            reached.get()
        })
        .await;
        end(&client).await;
        assert!(diary.has(&Told::Lost(None)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_unix_peer_that_goes_is_told_and_those_with_names_can_answer() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let echo = create_datagram_endpoint(|| Echo).local_path(path("echo")).await?;
        let diary = Diary::default();
        let given = diary.clone();
        let client = create_datagram_endpoint(move || Recorder::new(&given));
        let client = client.remote_path(path("echo")).local_path(path("client")).await?;
        for data in [&b"one"[..], b"", b"three"] {
            client.sendto(data, None)?;
        }
        until(|| diary.datagrams().len() == 3).await;
        assert_eq!(diary.datagrams(), [&b"one"[..], b"", b"three"]);
        let from = Address::Unix(UnixAddress::path(path("echo")));
        assert!(diary.senders().iter().all(|sender| *sender == from));

        end(&echo).await;
        client.sendto(b"x", None)?;
        let refused = Told::Error(io::ErrorKind::ConnectionRefused);
        until(|| diary.has(&refused)).await;
        // Without a connection too, and for a name that is not there at all.
        let free = Diary::default();
        let given = free.clone();
        let sender = create_datagram_endpoint(move || Recorder::new(&given)).unix().await?;
        sender.sendto(b"x", &from)?;
        sender.sendto(b"x", &Address::Unix(UnixAddress::path(path("nobody"))))?;
        until(|| free.has(&refused) && free.has(&Told::Error(io::ErrorKind::NotFound))).await;
        end(&client).await;
        end(&sender).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_socket_that_is_full_pauses_and_resumes() {
    run(async {
        let diary = Diary::default();
        let given = diary.clone();
        let (near, far) = UnixDatagram::pair()?;
        let transport = create_datagram_endpoint(move || Recorder::new(&given)).sock(near).await?;
        let mut sent = 0_u32;
        while transport.flow() == Flow::Open {
            transport.sendto(&sent.to_ne_bytes().repeat(250), None)?;
            sent += 1;
            turns(1).await;
        }
        until(|| diary.has(&Told::Pause)).await;
        // G-08 G-09: what the system did not take counts its bytes and 8 more
        let waiting = transport.statistics().waiting;
        assert_eq!(transport.get_write_buffer_size(), waiting * 1008);
        assert!(transport.statistics().paused_for.is_some());

        let mut data = [0; 1000];
        for expected in 0..sent {
            far.recv(&mut data)?;
            assert_eq!(data[..4], expected.to_ne_bytes());
            turns(1).await;
        }
        // G-10 G-11
        assert_eq!(transport.get_write_buffer_size(), 0);
        assert_eq!((diary.count(&Told::Pause), diary.count(&Told::Resume)), (1, 1));
        end(&transport).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_full_peer_without_a_connection_costs_no_busy_loop() {
    run(async {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("slow");
        let slow = UnixDatagram::bind(&path)?;
        let to = Address::Unix(UnixAddress::path(&path));
        let sender = create_datagram_endpoint(|| Recorder::new(&Diary::default())).unix().await?;
        let mut sent = 0_u32;
        while sender.statistics().waiting == 0 {
            sender.sendto(&sent.to_ne_bytes(), &to)?;
            sent += 1;
            turns(2).await;
        }
        // The system calls the socket writable all the time, and it is not.
        let handle = LoopHandle::current()?;
        let (before, events) = (handle.time(), handle.statistics().events);
        until(|| handle.statistics().events >= events + 5).await;
        let (took, rests) = (handle.time() - before, std::time::Duration::from_millis(4));
        assert!(took >= rests, "it was told five times within {took:?}");
        let mut data = [0; 4];
        for expected in 0..sent {
            slow.recv(&mut data)?;
            assert_eq!(data, expected.to_ne_bytes());
            if sender.statistics().waiting > 0 {
                sender.flush().await?;
            }
        }
        end(&sender).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// How many numbered datagrams are sent.
const MANY: u32 = 1_000_000;

/// Sends numbers for as long as the flow is open.
struct Numbers {
    next: u32,
}

impl Numbers {
    fn pour(&mut self, transport: &DatagramTransport) {
        while self.next < MANY {
            let flow = transport.sendto(&self.next.to_ne_bytes(), None).expect("it is connected");
            self.next += 1;
            if flow != Flow::Open {
                return;
            }
        }
        transport.close();
    }
}

impl DatagramProtocol for Numbers {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        transport.set_write_buffer_limits(Some(4096), None).expect("limits");
        self.pour(transport);
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        self.pour(transport);
    }
}

/// Expects each number in its turn.
struct Expects(Rc<Cell<u32>>);

impl DatagramProtocol for Expects {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        _from: &Address,
    ) -> io::Result<()> {
        if data != self.0.get().to_ne_bytes() {
            transport.fail(io::Error::other(format!("{data:?} after {}", self.0.get())).into());
        }
        self.0.set(self.0.get() + 1);
        if self.0.get() == MANY {
            transport.close();
        }
        Ok(())
    }
}

#[test]
fn a_million_numbered_datagrams_over_a_unix_pair_arrive_in_order_and_complete() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let event_loop = EventLoop::new().unwrap();
        let received = Rc::new(Cell::new(0));
        let count = received.clone();
        event_loop
            .run_until_complete(async {
                let (near, far) = UnixDatagram::pair()?;
                let expects = create_datagram_endpoint(move || Expects(count)).sock(far).await?;
                let numbers = create_datagram_endpoint(|| Numbers { next: 0 }).sock(near).await?;
                assert!(numbers.closed().await.is_none());
                let cause = expects.closed().await;
                assert!(cause.is_none(), "{cause:?}");
                Ok::<(), io::Error>(())
            })
            .unwrap()
            .unwrap();
        assert_eq!(received.get(), MANY);
        event_loop.close().unwrap();
        drop(event_loop);
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_loop_that_closes_sends_what_it_has_and_tells_nobody() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let peer = UdpSocket::bind(LOOPBACK).unwrap();
        let to = peer.local_addr().unwrap();
        let diary = Diary::default();
        let given = diary.clone();
        let event_loop = EventLoop::new().unwrap();
        let transport = event_loop
            .run_until_complete(async {
                let endpoint = create_datagram_endpoint(move || Recorder::new(&given));
                endpoint.remote_addr(to).await
            })
            .unwrap()
            .unwrap();
        transport.sendto(b"outside of a step it leaves at once", None).unwrap();
        assert_eq!(transport.statistics().datagrams_sent, 1);
        event_loop.close().unwrap();
        assert_eq!(diary.entries(), [Told::Made, Told::Dropped]);
        assert_eq!(transport.sendto(b"x", None), Ok(Flow::Closed));
        assert!(transport.is_closing() && transport.with_socket(|_| ()).is_none());
        drop((event_loop, peer));
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn every_method_answers_after_the_loss() {
    run(async {
        let (transport, diary) = receiver().await?;
        let name = transport.sockname();
        transport.abort();
        transport.abort();
        transport.close();
        assert!(!diary.has(&Told::Lost(None)), "not from inside of a call");
        transport.closed().await;
        transport.pause_reading();
        transport.resume_reading();
        transport.close();
        transport.abort();
        transport.fail(io::Error::other("too late").into());
        transport.flush().await?;
        // G-12; replaced: G-13
        assert_eq!(transport.sendto(b"x", own(&transport))?, Flow::Closed);
        assert_eq!((transport.flow(), transport.is_reading()), (Flow::Closed, false));
        assert_eq!((transport.get_write_buffer_size(), transport.sockname()), (0, name));
        assert_eq!(diary.entries(), [Told::Made, Told::Lost(None), Told::Dropped]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Calls everything it can from every callback, and notes when one comes inside of a call.
struct Meddler {
    inside: Rc<Cell<bool>>,
    kept: Rc<RefCell<Option<DatagramTransport>>>,
    callbacks: Rc<Cell<u32>>,
}

impl Meddler {
    fn meddle(&self, transport: &DatagramTransport) {
        assert!(!self.inside.replace(true), "a callback inside of a call");
        self.callbacks.set(self.callbacks.get() + 1);
        *self.kept.borrow_mut() = Some(transport.clone());
        transport.set_write_buffer_limits(Some(0), Some(0)).expect("limits");
        for _ in 0..3 {
            let _closed = transport.sendto(&[0; 200_000], None);
            let _closed = transport.sendto(&[0; 100], None);
        }
        transport.pause_reading();
        transport.resume_reading();
        drop(transport.flush());
        let _busy = transport.with_protocol(|_: &mut Meddler| unreachable!());
        self.inside.set(false);
    }
}

impl DatagramProtocol for Meddler {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        self.meddle(transport);
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        _data: &[u8],
        _from: &Address,
    ) -> io::Result<()> {
        self.meddle(transport);
        Ok(())
    }

    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        _error: io::Error,
    ) -> io::Result<()> {
        self.meddle(transport);
        Ok(())
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        self.meddle(transport);
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        self.meddle(transport);
    }
}

#[test]
fn no_method_calls_a_protocol() {
    run(async {
        let reports = support::keep_reports();
        let (near, far) = UnixDatagram::pair()?;
        far.set_nonblocking(true)?;
        let (inside, kept, callbacks) = (Rc::default(), Rc::default(), Rc::default());
        let meddler = Meddler {
            inside: Rc::clone(&inside),
            kept: Rc::clone(&kept),
            callbacks: Rc::clone(&callbacks),
        };
        let transport = create_datagram_endpoint(move || meddler).sock(near).await?;
        let mut data = vec![0; 300_000];
        for round in 0..50 {
            inside.set(true);
            let _full = far.send(&[0; 10]);
            transport.sendto(&[0; 100], None)?;
            drop(transport.flush());
            inside.set(false);
            turns(2).await;
            while round % 3 == 0 && far.recv(&mut data).is_ok() {}
        }
        assert!(callbacks.get() > 20, "{} callbacks", callbacks.get());
        assert!(support::messages(&reports).is_empty(), "{:?}", support::messages(&reports));
        // The protocol keeps its own handle: the loss cuts the circle.
        transport.abort();
        transport.closed().await;
        assert_eq!(Rc::strong_count(&kept), 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn sends_of_several_tasks_leave_together() {
    run(async {
        let (server, diary) = receiver().await?;
        let diary_of_none = Diary::default();
        let client = create_datagram_endpoint(move || Recorder::new(&diary_of_none));
        let client = client.remote_addr(own(&server)).await?;
        let handle = LoopHandle::current()?;
        let before = handle.statistics().offers;
        let tasks: Vec<_> = (0..10_u8)
            .map(|number| {
                let client = client.clone();
                handle.spawn(async move { client.sendto(&[number], None).map(|_| ()) }).unwrap()
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        until(|| diary.datagrams().len() == 10).await;
        // replaced: G-08
        let offers = handle.statistics().offers - before;
        assert!(offers <= 2, "{offers} offers for ten tasks");
        assert_eq!(diary.datagrams().concat(), (0..10).collect::<Vec<u8>>());
        for transport in [client, server] {
            end(&transport).await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

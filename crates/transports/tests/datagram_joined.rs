//! Datagrams that the system has joined on their way: over real sockets they arrive as they were sent, one by one.

#![cfg(not(windows))]

use std::io;

use tidegate_protocols::{Address, DatagramTransport};
use tidegate_testkit::{alone, open_descriptors, run, turns, until, watched};
use tidegate_transports::create_datagram_endpoint;

mod datagrams;
mod support;
use datagrams::{Diary, Recorder, Told, own, quiet};

/// Whether there is anything that joins them.
const JOINS: bool = cfg!(all(target_os = "linux", not(tidegate_portable)));

/// A server that does what its script says, what it is told, and a client of it.
async fn pair(
    place: &str,
    script: impl FnMut(&DatagramTransport, &Told) -> io::Result<()> + 'static,
) -> io::Result<(DatagramTransport, Diary, DatagramTransport)> {
    let diary = Diary::default();
    let given = diary.clone();
    let server = create_datagram_endpoint(move || Recorder::doing(&given, script));
    let server = server.local_addr((place, 0)).await?;
    let client = create_datagram_endpoint(|| Recorder::new(&Diary::default()));
    let client = client.remote_addr(own(&server)).await?;
    Ok((server, diary, client))
}

/// Datagrams of these sizes, of which no two are alike unless they are empty.
fn numbered(sizes: &[usize]) -> Vec<Vec<u8>> {
    let fill = |(number, size): (usize, &usize)| {
        (0..*size).map(|place| (number + 7 * place) as u8).collect()
    };
    sizes.iter().enumerate().map(fill).collect()
}

/// Sends all in one step, and sees the system take them.
fn send(client: &DatagramTransport, datagrams: &[Vec<u8>]) -> io::Result<()> {
    for data in datagrams {
        client.sendto(data, None)?;
    }
    let _offered = client.flush();
    assert_eq!(client.get_write_buffer_size(), 0);
    Ok(())
}

/// Whether the socket of an endpoint has nothing that was not received.
fn is_drained(transport: &DatagramTransport) -> bool {
    let waiting = transport.with_socket(|socket| rustix::io::ioctl_fionread(socket));
    waiting.expect("it is open").expect("it tells how much waits") == 0
}

#[test]
fn batches_of_every_shape_arrive_as_they_were_sent() {
    run(async {
        for place in ["127.0.0.1", "::1"] {
            let (server, diary, client) = pair(place, quiet).await?;
            let from = Address::Inet(own(&client));
            let shapes: [&[usize]; 9] = [
                &[1200; 54],
                &[1; 64],
                &[100; 30],
                // The last one is shorter.
                &[1200, 1200, 1200, 1],
                &[100, 100, 99],
                // Empty ones in between, and at both ends.
                &[0, 100, 100, 0, 100, 100, 40, 0, 0],
                &[0, 0, 0],
                // Each of another size; shorter ones between equal ones.
                &[1, 2, 3, 4, 5, 4, 3, 2, 1],
                &[500, 500, 20, 500, 500, 500, 20, 20, 500, 501, 501],
            ];
            for sizes in shapes {
                let before = diary.datagrams().len();
                let sent = numbered(sizes);
                send(&client, &sent)?;
                until(|| diary.datagrams().len() >= before + sent.len()).await;
                // G-01 G-07
                assert_eq!(diary.datagrams()[before..], sent, "{sizes:?}");
            }
            turns(3).await;
            let statistics = server.statistics();
            assert_eq!(statistics.datagrams_received, client.statistics().datagrams_sent);
            assert_eq!(statistics.bytes_received, client.statistics().bytes_sent);
            assert!(diary.senders().iter().all(|sender| *sender == from));
            for transport in [client, server] {
                transport.close();
                transport.closed().await;
            }
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn what_comes_together_of_several_senders_is_told_apart() {
    run(async {
        let (server, diary, first) = pair("127.0.0.1", quiet).await?;
        let second = create_datagram_endpoint(|| Recorder::new(&Diary::default()));
        let second = second.remote_addr(own(&server)).await?;
        let mut expected = Vec::new();
        server.pause_reading();
        for round in 0..20 {
            for client in [&first, &second] {
                let sent = numbered(&[100 + round, 100 + round, 30]);
                send(client, &sent)?;
                let from = Address::Inet(own(client));
                expected.extend(sent.into_iter().map(|data| (from.clone(), data)));
            }
        }
        server.resume_reading();
        until(|| diary.datagrams().len() >= expected.len()).await;
        let came: Vec<_> = diary.senders().into_iter().zip(diary.datagrams()).collect();
        assert_eq!(came, expected);
        for transport in [first, second, server] {
            transport.close();
            transport.closed().await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_pause_in_the_middle_of_a_joined_batch_keeps_the_order() {
    run(async {
        // It pauses at each fifth datagram, and the test resumes.
        let mut count = 0;
        let pause = move |transport: &DatagramTransport, told: &Told| {
            if matches!(told, Told::Datagram(_)) {
                count += 1;
                if count % 5 == 0 {
                    transport.pause_reading();
                }
            }
            Ok(())
        };
        let (server, diary, client) = pair("127.0.0.1", pause).await?;
        let mut sent = numbered(&[200; 23]);
        sent.push(vec![255; 7]);
        send(&client, &sent)?;
        until(|| diary.datagrams().len() == 5).await;
        assert_eq!(is_drained(&server), JOINS, "it was one receive");
        // What comes while the rest is held waits behind it.
        let newer = numbered(&[50, 50, 0, 50, 12]);
        send(&client, &newer)?;
        sent.extend(newer);
        for delivered in (5..sent.len()).step_by(5) {
            turns(3).await;
            assert_eq!(diary.datagrams(), sent[..delivered], "no more than before the pause");
            server.resume_reading();
            let next = sent.len().min(delivered + 5);
            until(|| diary.datagrams().len() >= next).await;
        }
        assert_eq!(diary.datagrams(), sent);
        assert_eq!(server.statistics().datagrams_received, sent.len() as u64);
        for transport in [client, server] {
            transport.close();
            transport.closed().await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn an_end_in_the_middle_of_a_joined_batch_is_the_end() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        // At once, and while the rest is held.
        for (abort, held) in [(false, false), (true, false), (false, true), (true, true)] {
            let end = move |transport: &DatagramTransport| match abort {
                true => transport.abort(),
                false => transport.close(),
            };
            let script = move |transport: &DatagramTransport, told: &Told| {
                if matches!(told, Told::Datagram(_)) {
                    transport.sendto(b"seen", &Address::Inet("127.0.0.1:9".parse().unwrap()))?;
                    if held { transport.pause_reading() } else { end(transport) }
                }
                Ok(())
            };
            let diary = tidegate_reactor::run(async move {
                let (server, diary, client) = pair("127.0.0.1", script).await?;
                let sent = numbered(&[200; 20]);
                send(&client, &sent)?;
                until(|| !diary.datagrams().is_empty()).await;
                if held {
                    assert_eq!(is_drained(&server), JOINS);
                    server.resume_reading();
                    end(&server);
                }
                assert_eq!(server.closed().await.map(|cause| cause.to_string()), None);
                turns(3).await;
                client.close();
                client.closed().await;
                io::Result::Ok(diary)
            })
            .unwrap();
            let first = Told::Datagram(numbered(&[200]).remove(0));
            assert_eq!(diary.entries(), [Told::Made, first, Told::Lost(None), Told::Dropped]);
        }
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn a_loop_that_closes_drops_what_is_held() {
    watched(|| {
        let _alone = alone();
        let before = open_descriptors();
        let event_loop = tidegate_reactor::EventLoop::new().unwrap();
        let pause = |transport: &DatagramTransport, told: &Told| {
            if matches!(told, Told::Datagram(_)) {
                transport.pause_reading();
            }
            Ok(())
        };
        let (server, diary) = event_loop
            .run_until_complete(async {
                let (server, diary, client) = pair("127.0.0.1", pause).await?;
                send(&client, &numbered(&[200; 20]))?;
                until(|| !diary.datagrams().is_empty()).await;
                io::Result::Ok((server, diary))
            })
            .unwrap()
            .unwrap();
        server.resume_reading();
        event_loop.close().unwrap();
        assert_eq!(diary.datagrams().len(), 1);
        assert_eq!(*diary.entries().last().unwrap(), Told::Dropped);
        server.resume_reading();
        drop(server);
        assert_eq!(open_descriptors(), before);
    });
}

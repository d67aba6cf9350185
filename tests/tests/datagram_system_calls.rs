//! How many system calls datagrams cost, as strace counts them.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport};
use tidegate_testkit::watched;
use tidegate_transports::create_datagram_endpoint;

mod strace;
use strace::PART;

/// The datagram with which a client ends a server.
const END: &[u8] = b".";

/// Lets `client` talk to the server that `test` is, ends that, and counts its system calls.
fn count(test: &str, client: impl FnOnce(UdpSocket, SocketAddr)) -> Option<HashMap<String, usize>> {
    strace::count(test, |address| {
        let address: SocketAddr = address.parse().unwrap();
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client(socket.try_clone().unwrap(), address);
        socket.send_to(END, address).unwrap();
    })
}

/// Sends back each datagram, so many times.
struct Echo {
    times: usize,
}

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        if data == END {
            transport.close();
        }
        for _ in 0..self.times {
            transport.sendto(data, from)?;
        }
        Ok(())
    }
}

/// Serves until a client sends [`END`].
fn serve(times: usize) {
    tidegate_reactor::run(async {
        let endpoint = create_datagram_endpoint(move || Echo { times });
        let transport = endpoint.local_addr(("127.0.0.1", 0)).await?;
        println!("serving on {}", transport.sockname().expect("it is bound"));
        transport.closed().await;
        io::Result::Ok(())
    })
    .unwrap();
}

/// How many calls with one of these beginnings were made.
fn made(calls: &HashMap<String, usize>, beginnings: &[&str]) -> usize {
    let of = |name: &str| beginnings.iter().any(|beginning| name.starts_with(beginning));
    calls.iter().filter(|(name, _)| of(name)).map(|(_, count)| count).sum()
}

#[test]
fn a_ping_pong_costs_three_system_calls() {
    const ROUND_TRIPS: usize = 500;
    let name = "a_ping_pong_costs_three_system_calls";
    if std::env::var_os(PART).is_some() {
        return serve(1);
    }
    watched(|| {
        let calls = count(name, |socket, address| {
            for number in 0..ROUND_TRIPS {
                socket.send_to(&[number as u8; 64], address).unwrap();
                let mut data = [0; 100];
                assert_eq!(socket.recv(&mut data).unwrap(), 64);
                assert_eq!(data[63], number as u8);
            }
        });
        let Some(calls) = calls else { return };
        for call in [&["send"][..], &["recv"]] {
            let made = made(&calls, call);
            assert!((ROUND_TRIPS..ROUND_TRIPS + 10).contains(&made), "{made} of {call:?}");
        }
        // Plain `polling` spends several calls a wait; the room for Linux one.
        if cfg!(all(target_os = "linux", not(tidegate_portable))) {
            let waits = made(&calls, &["epoll_"]);
            assert!(waits < ROUND_TRIPS + 50, "{waits} of epoll_*: {calls:?}");
        }
    });
}

#[test]
fn sixty_four_equal_answers_are_one_send() {
    const ROUNDS: usize = 50;
    const ANSWERS: usize = 64;
    let name = "sixty_four_equal_answers_are_one_send";
    if std::env::var_os(PART).is_some() {
        return serve(ANSWERS);
    }
    watched(|| {
        let calls = count(name, |socket, address| {
            for _ in 0..ROUNDS {
                socket.send_to(&[1; 64], address).unwrap();
                for _ in 0..ANSWERS {
                    assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 64);
                }
            }
        });
        let Some(calls) = calls else { return };
        let sends = made(&calls, &["send"]);
        let room_for_linux = cfg!(all(target_os = "linux", not(tidegate_portable)));
        let expected = if room_for_linux { ROUNDS } else { ROUNDS * ANSWERS };
        // And the answers to what ends the server.
        let most = expected + if room_for_linux { 5 } else { ANSWERS + 5 };
        assert!((expected..=most).contains(&sends), "{sends} sends: {calls:?}");
    });
}

//! How many system calls the main jobs cost, as strace counts them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::Rc;

use tidegate::prelude::*;
use tidegate_testkit::watched;

mod strace;
use strace::PART;

/// The byte with which a client ends a server.
const END: u8 = b'.';

/// Lets `clients` talk to the server that `test` is, ends that, and counts its system calls.
fn count(test: &str, clients: impl FnOnce(&str)) -> Option<HashMap<String, usize>> {
    let mut place = String::new();
    let calls = strace::count(test, |address| {
        clients(address);
        connect(address).write_all(&[END]).unwrap();
        place = address.to_owned();
    });
    if place.starts_with('/') {
        // The server has ended without closing.
        std::fs::remove_file(&place).unwrap();
    }
    calls
}

/// A client's end of a connection.
trait Client: Read + Write {}

impl<C: Read + Write> Client for C {}

/// Connects to a path or to an address.
fn connect(place: &str) -> Box<dyn Client> {
    if place.starts_with('/') {
        return Box::new(UnixStream::connect(place).unwrap());
    }
    let client = TcpStream::connect(place).unwrap();
    client.set_nodelay(true).unwrap();
    Box::new(client)
}

/// Serves until a client sends [`END`].
fn serve(server: impl IntoFuture<Output = io::Result<Server>>) {
    tidegate::run(async {
        let server = server.await?;
        println!("serving on {}", server.sockets()[0].sockname());
        server.wait_closed().await;
        io::Result::Ok(())
    })
    .unwrap();
}

/// Ends the process in order; what it was asked for has been served by then.
fn end_if_asked(data: &[u8]) {
    if data == [END] {
        std::process::exit(0);
    }
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        end_if_asked(data);
        transport.write(data);
        Ok(())
    }
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let data = reader.read(65536).await?;
        end_if_asked(&data);
        if data.is_empty() {
            return Ok(());
        }
        writer.write(&data);
        writer.drain().await?;
    }
}

const LOOPBACK: (&str, u16) = ("127.0.0.1", 0);

#[test]
fn an_echo_costs_three_system_calls() {
    let name = "an_echo_costs_three_system_calls";
    if std::env::var_os(PART).is_some() {
        return serve(create_server(|| Echo, LOOPBACK));
    }
    check_round_trips(name);
}

#[test]
fn an_echo_over_streams_costs_three_system_calls_too() {
    let name = "an_echo_over_streams_costs_three_system_calls_too";
    if std::env::var_os(PART).is_some() {
        return serve(start_server(echo, LOOPBACK));
    }
    check_round_trips(name);
}

/// The path of a socket for the server of `test`, another in each run of it.
fn socket_of(test: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tidegate-{}-{test}", std::process::id()))
}

#[test]
fn an_echo_over_a_unix_socket_costs_three() {
    let name = "an_echo_over_a_unix_socket_costs_three";
    if std::env::var_os(PART).is_some() {
        return serve(create_unix_server(|| Echo, socket_of(name)));
    }
    check_round_trips(name);
}

#[test]
fn an_echo_that_may_receive_descriptors_costs_three() {
    let name = "an_echo_that_may_receive_descriptors_costs_three";
    if std::env::var_os(PART).is_some() {
        return serve(create_unix_server(|| Echo, socket_of(name)).receive_fds(8));
    }
    check_round_trips(name);
}

#[test]
fn an_echo_over_streams_of_a_unix_socket_costs_three() {
    let name = "an_echo_over_streams_of_a_unix_socket_costs_three";
    if std::env::var_os(PART).is_some() {
        return serve(start_unix_server(echo, socket_of(name)));
    }
    check_round_trips(name);
}

/// Counts one receive, one send and one wait for each round trip, and next to nothing else.
fn check_round_trips(name: &str) {
    const ROUND_TRIPS: usize = 500;
    watched(|| {
        let calls = count(name, |address| {
            let mut client = connect(address);
            for _ in 0..ROUND_TRIPS {
                client.write_all(&[1; 1024]).unwrap();
                client.read_exact(&mut [0; 1024]).unwrap();
            }
        });
        let Some(calls) = calls else { return };
        for names in [["sendto", "sendmsg"], ["recvfrom", "recvmsg"]] {
            let made: usize = names.iter().filter_map(|name| calls.get(*name)).sum();
            assert!((ROUND_TRIPS..ROUND_TRIPS + 10).contains(&made), "{made} of {names:?}");
        }
        // Plain `polling` spends several calls a wait; the room for Linux one.
        if cfg!(all(target_os = "linux", not(tidegate_portable))) {
            let is_wait = |(name, _): &(&String, &usize)| name.starts_with("epoll_");
            let waits: usize = calls.iter().filter(is_wait).map(|(_, count)| count).sum();
            assert!(waits < ROUND_TRIPS + 50, "{waits} of epoll_*: {calls:?}");
        }
    });
}

type Members = Rc<RefCell<Vec<Transport>>>;

/// A member; what one says is said to all.
struct Member(Members);

impl Protocol for Member {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.borrow_mut().push(transport.clone());
        transport.write(b"welcome");
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
        end_if_asked(data);
        for member in &*self.0.borrow() {
            // Two writes a member, which leave as one.
            member.write(b"all: ");
            member.write(data);
        }
        Ok(())
    }
}

#[test]
fn a_broadcast_to_a_hundred_is_a_hundred_sends() {
    let name = "a_broadcast_to_a_hundred_is_a_hundred_sends";
    if std::env::var_os(PART).is_some() {
        let members = Members::default();
        return serve(create_server(move || Member(members.clone()), LOOPBACK));
    }
    watched(|| {
        let calls = count(name, |address| {
            let mut clients: Vec<Box<dyn Client>> = (0..100).map(|_| connect(address)).collect();
            for client in &mut clients {
                client.read_exact(&mut [0; 7]).unwrap();
            }
            clients[0].write_all(b"hello").unwrap();
            for client in &mut clients {
                let mut said = [0; 10];
                client.read_exact(&mut said).unwrap();
                assert_eq!(&said, b"all: hello");
            }
        });
        let Some(calls) = calls else { return };
        let sends: usize =
            ["sendto", "sendmsg"].iter().map(|name| calls.get(*name).copied().unwrap_or(0)).sum();
        // A hundred welcomes, and one more for the connection that ends the server, which may be cut short.
        assert!((200..=201).contains(&sends), "{sends} sends for 100 welcomes and 100 members");
    });
}

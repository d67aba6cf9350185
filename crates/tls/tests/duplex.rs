//! Much in both directions at once, with a pause on each side: nothing gets stuck, and every byte arrives.
//!
//! 8 MB each way unless `TIDEGATE_TLS_BYTES` says otherwise. The whole 100 MB:
//! `TIDEGATE_TLS_BYTES=100000000 cargo test --release -p tidegate-tls --test duplex`.

#![cfg(not(windows))]

use std::cell::Cell;
use std::env;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocols::{AtEof, Cause, Flow, Protocol, Transport};
use tidegate_testkit::{run, until};
use tidegate_tls::{ClientTls, ServerTls, Version};
use tidegate_transports::{create_connection, create_server};

mod authority;
mod support;

use support::{Both, handle, pattern};

/// A prime, so that no piece that goes missing or comes twice leaves the rest in step.
const PERIOD: usize = 1_048_583;

/// How long either side does not read, once.
const PAUSE: Duration = Duration::from_millis(50);

fn total() -> u64 {
    let asked = env::var("TIDEGATE_TLS_BYTES");
    asked.map_or(8_000_000, |asked| asked.parse().expect("TIDEGATE_TLS_BYTES is a number of bytes"))
}

/// Writes as the flow allows, compares what it reads, and pauses in the middle.
struct Side {
    pattern: Bytes,
    total: u64,
    written: u64,
    received: u64,
    ended: bool,
    paused: bool,
    done: Rc<Cell<usize>>,
}

impl Side {
    fn new(done: &Rc<Cell<usize>>) -> Side {
        let pattern = pattern(PERIOD).repeat(2).into();
        Side {
            pattern,
            total: total(),
            written: 0,
            received: 0,
            ended: false,
            paused: false,
            done: done.clone(),
        }
    }

    fn write_on(&mut self, transport: &Transport) {
        while self.written < self.total {
            let from = (self.written % PERIOD as u64) as usize;
            let length = (1 + self.written as usize * 7919 % 300_000)
                .min((self.total - self.written).try_into().unwrap_or(usize::MAX));
            self.written += length as u64;
            let flow = match length % 3 {
                0 => transport.write(&self.pattern[from..from + length]),
                _ => transport.write_bytes(self.pattern.slice(from..from + length)),
            };
            if flow != Flow::Open {
                return;
            }
        }
        match self.ended {
            true => transport.close(),
            false => transport.write_eof().expect("half a close"),
        }
    }
}

impl Protocol for Side {
    fn connection_made(&mut self, transport: &Transport) {
        self.write_on(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        let from = (self.received % PERIOD as u64) as usize;
        if data != &self.pattern[from..from + data.len()] {
            return Err(io::Error::other(format!("other bytes behind {}", self.received)));
        }
        self.received += data.len() as u64;
        if self.received > self.total / 2 && !self.paused {
            self.paused = true;
            transport.pause_reading();
            let later = transport.clone();
            handle().call_later(PAUSE, move || later.resume_reading()).expect("an open loop");
        }
        Ok(())
    }

    fn eof_received(&mut self, _: &Transport) -> io::Result<AtEof> {
        assert_eq!(self.received, self.total);
        self.ended = true;
        // Else it closes when it has sent everything too.
        Ok(if self.written == self.total { AtEof::Close } else { AtEof::KeepWriting })
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.write_on(transport);
    }

    fn connection_lost(&mut self, _: &Transport, cause: Option<Cause>) {
        assert!(cause.is_none(), "{cause:?}");
        assert_eq!(self.received, self.total);
        self.done.set(self.done.get() + 1);
    }
}

#[test]
fn both_directions_at_once_and_a_pause_on_each_side() {
    for version in [Version::Tls13, Version::Tls12] {
        run(async {
            let tls = Both::of_version(version);
            let done = Rc::new(Cell::new(0));
            let servers = done.clone();
            let server = create_server(move || Side::new(&servers), ("127.0.0.1", 0));
            let server = server.tls(tls.server.clone()).await.expect("a server");
            let address = server.sockets()[0].sockname().as_inet().expect("an address");
            let clients = done.clone();
            let client = create_connection(move || Side::new(&clients), address);
            let client = client.tls(tls.client.clone(), "localhost").await.expect("a client");
            assert!(client.closed().await.is_none());
            until(|| done.get() == 2).await;
        });
    }
}

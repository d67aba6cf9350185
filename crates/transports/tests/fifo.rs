//! Much through a FIFO, to a reader that stops and goes: everything arrives, in order.
//!
//! 64 MiB unless `TIDEGATE_FIFO_BYTES` says otherwise. The whole 4 GiB:
//! `TIDEGATE_FIFO_BYTES=4294967296 cargo test --release -p tidegate-transports --test fifo`.

#![cfg(not(windows))]

use std::cell::Cell;
use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use bytes::Bytes;
use tidegate_protocols::{Flow, Protocol, Transport};
use tidegate_testkit::watched;
use tidegate_transports::{connect_read_pipe, connect_write_pipe};

mod support;
use support::pipes::{fifo_path, pipe};
use support::{turns, until};

/// A prime, so that no piece that goes missing or comes twice leaves the rest in step.
const PERIOD: usize = 1_048_583;

/// What flows through: the bytes from any place within the first period, for as long as a piece is.
fn pattern() -> Bytes {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let period: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
    period.repeat(2).into()
}

fn total() -> u64 {
    let asked = env::var("TIDEGATE_FIFO_BYTES");
    asked.map_or(64 << 20, |asked| asked.parse().expect("TIDEGATE_FIFO_BYTES is a number of bytes"))
}

/// Writes as long as the flow is open, pieces of every length.
struct Source {
    pattern: Bytes,
    total: u64,
    written: u64,
    /// For the reader to know that nothing more comes by itself.
    stalled: Arc<AtomicBool>,
}

impl Source {
    fn write_on(&mut self, transport: &Transport) {
        self.stalled.store(false, Ordering::SeqCst);
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
        transport.close();
        self.stalled.store(true, Ordering::SeqCst);
    }
}

impl Protocol for Source {
    fn connection_made(&mut self, transport: &Transport) {
        self.write_on(transport);
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.stalled.store(true, Ordering::SeqCst);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.write_on(transport);
    }
}

/// Compares, and stops reading ever so often until the other side has nowhere to put anything.
struct Sink {
    pattern: Bytes,
    received: Rc<Cell<u64>>,
    next_stop: u64,
    stopped: Rc<Cell<bool>>,
}

impl Protocol for Sink {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        let received = self.received.get();
        let from = (received % PERIOD as u64) as usize;
        if data != &self.pattern[from..from + data.len()] {
            return Err(io::Error::other(format!("other bytes behind {received}")));
        }
        self.received.set(received + data.len() as u64);
        if self.received.get() >= self.next_stop {
            self.next_stop += 1 + self.next_stop * 31 % (8 << 20);
            transport.pause_reading();
            self.stopped.set(true);
        }
        Ok(())
    }
}

// replaced: P-15
// P-05 P-17
#[test]
fn nothing_is_lost_on_the_way_to_a_stuttering_reader() {
    let (_folder, path) = fifo_path();
    // One that is open for both waits for nobody.
    let both = OpenOptions::new().read(true).write(true).open(&path).expect("a FIFO");
    let read: OwnedFd = File::open(&path).expect("its read end").into();
    let write: OwnedFd = OpenOptions::new().write(true).open(&path).expect("its end").into();
    drop(both);
    check(read, write);
}

// replaced: P-15
// P-05 P-17
#[test]
fn nor_through_a_pipe() {
    let (read, write) = pipe();
    check(read, write);
}

fn check(read: OwnedFd, write: OwnedFd) {
    let test = || {
        let (total, pattern) = (total(), pattern());
        let stalled = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stalled);
        let theirs = pattern.clone();
        let writer = thread::spawn(move || {
            let source = Source { pattern: theirs, total, written: 0, stalled };
            tidegate_reactor::run(async {
                let transport = connect_write_pipe(|| source, write).await?;
                let cause = transport.closed().await;
                assert!(cause.is_none(), "{cause:?}");
                assert_eq!(transport.statistics().bytes_sent, total);
                Ok::<(), io::Error>(())
            })
        });
        tidegate_reactor::run(async {
            let (received, stopped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
            let sink = Sink {
                pattern,
                received: received.clone(),
                next_stop: 1,
                stopped: stopped.clone(),
            };
            let transport = connect_read_pipe(|| sink, read).await?;
            while !transport.is_closing() {
                if stopped.take() {
                    until(|| seen.load(Ordering::SeqCst)).await;
                    transport.resume_reading();
                }
                turns(1).await;
            }
            let cause = transport.closed().await;
            assert!(cause.is_none(), "{cause:?}");
            assert_eq!(received.get(), total);
            Ok::<(), io::Error>(())
        })
        .expect("a run");
        writer.join().expect("the writer").expect("a run");
    };
    // The whole of it takes longer than a test may.
    if total() > 1 << 30 { test() } else { watched(test) }
}

//! Memory comes back: of a connection that is given up with megabytes waiting, and of one that is idle.

#![cfg(not(windows))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tidegate_protocols::Transport;
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Recorder, turns};

mod authority;
mod support;

use support::{Both, Pair, connect_over, jumping};

/// The allocator of the system, which counts for each thread.
struct Counting;

thread_local! {
    /// How many bytes this thread has allocated and not freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    // A thread that is ending counts no more.
    let _counted = HELD.try_with(|held| held.set(held.get() + size));
}

// SAFETY: every call is handed to the system's allocator as it came; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `place` came from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: `place` came from the system's allocator, with this layout.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the thread may keep for the next connection: scratch memory, a write buffer's, and odds and ends.
const SPARE: isize = 1 << 20;

async fn stuck(tls: &Both) -> Pair {
    let options = PairOptions { capacity: 10_000, ..PairOptions::default() };
    let pair = connect_over(options, tls, Recorder::new(), Recorder::new()).await;
    pair.server.pause_reading();
    turns(20).await;
    pair
}

// TLS-32 TLS-38: given up, by the limit or at once, with 8 MiB waiting
#[test]
fn a_connection_that_is_given_up_returns_its_memory() {
    jumping(async {
        let tls = Both::new();
        let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
        for end in ends {
            let pair = stuck(&tls).await;
            let before = HELD.get();
            for _ in 0..128 {
                pair.client.write(&[7; 65_536]);
                turns(1).await;
            }
            assert!(HELD.get() - before > 7 << 20);
            end(&pair.client);
            pair.client.log.lost().await;
            let kept = HELD.get() - before;
            assert!(kept < SPARE, "{kept} bytes are kept");
            pair.server.resume_reading();
            pair.lost().await;
        }
    });
}

// What waits is plaintext, but for a batch of records: it is encrypted when it can be sent
#[test]
fn what_waits_is_held_once() {
    jumping(async {
        let pair = stuck(&Both::new()).await;
        let before = HELD.get();
        let content = bytes::Bytes::from(vec![7; 8 << 20]);
        let given = HELD.get() - before;
        pair.client.write_bytes(content);
        turns(20).await;
        let more = HELD.get() - before - given;
        assert!(more < SPARE, "{more} bytes more than were given");
        pair.client.abort();
        pair.server.resume_reading();
        pair.lost().await;
        drop(pair);
        let kept = HELD.get() - before;
        assert!(kept < SPARE, "{kept} bytes are kept");
    });
}

#[test]
fn an_idle_connection_holds_little_after_much_was_sent() {
    jumping(async {
        let tls = Both::new();
        let pair = connect_over(PairOptions::default(), &tls, Recorder::new(), Recorder::new());
        let pair = pair.await;
        turns(20).await;
        pair.server.set_protocol(Silent);
        pair.client.write(b"warm");
        turns(20).await;
        let before = HELD.get();
        for _ in 0..100 {
            pair.client.write(&[7; 100_000]);
            turns(20).await;
        }
        let kept = HELD.get() - before;
        assert!(kept < 300_000, "{kept} bytes are kept");
        pair.client.close();
        pair.client.log.lost().await;
    });
}

/// Keeps nothing of what it is told.
struct Silent;

impl tidegate_protocols::Protocol for Silent {}

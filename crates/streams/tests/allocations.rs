//! How often a reader allocates: for what comes, and not for the lines that are split off it.

#![cfg(not(windows))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tidegate_streams::StreamReader;
use tidegate_testkit::watched;

/// The allocator of the system, which counts for each thread.
struct Counting;

thread_local! {
    /// How many allocations this thread has made, those that were moved included, and of how many bytes.
    static MADE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(size: usize) {
    // A thread that is ending counts no more.
    let _counted = MADE.try_with(|made| made.set((made.get().0 + 1, made.get().1 + size)));
}

// SAFETY: every call is handed to the system's allocator as it came; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps to what `alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from the system's allocator, with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: `place` came from the system's allocator, with this layout.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations it takes, and of how many bytes.
fn cost<T>(work: impl FnOnce() -> T) -> (T, (usize, usize)) {
    let before = MADE.get();
    let done = work();
    let after = MADE.get();
    (done, (after.0 - before.0, after.1 - before.1))
}

/// What a read answers that does not have to wait.
fn at_once<T>(read: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(read).poll(&mut context) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it is there already"),
    }
}

/// Less than this is a counter of shares, not a copy of the data.
const SMALL: usize = 64;

#[test]
fn lines_that_came_together_cost_no_allocation_of_their_own() {
    const LINE: &[u8] = b"a line of no great length, as there are many\n";
    watched(|| {
        let text = LINE.repeat(16);
        let mut reader = StreamReader::new(64 * 1024).expect("a limit");
        let feeder = reader.feeder();
        let mut kept: Vec<Bytes> = Vec::with_capacity(64);
        // Nothing is different the second time.
        for _ in 0..2 {
            let ((), fill) = cost(|| feeder.feed_data(&text));
            assert_eq!(fill, (1, text.len()), "as much memory as there is data");
            let (line, first) = cost(|| at_once(reader.readuntil(b"\n")).expect("a line"));
            assert_eq!(line, LINE);
            assert!(first.0 <= 1 && first.1 < SMALL, "the first line costs {first:?}");
            kept.push(line);
            for number in 1..16 {
                let (line, further) = cost(|| match number % 3 {
                    0 => at_once(reader.readuntil(b"\n")),
                    1 => at_once(reader.readline()),
                    _ => at_once(reader.readuntil_any(&[b"\r", b"\n"])),
                });
                let line = line.expect("a line");
                assert_eq!(line, LINE);
                kept.push(line);
                assert_eq!(further, (0, 0), "line {number}");
            }
        }
        assert_eq!(kept.concat(), text.repeat(2));
        // A chunk is what came, as it is.
        let ((), fill) = cost(|| feeder.feed_data(&text));
        assert_eq!(fill, (1, text.len()));
        let (chunk, whole) = cost(|| at_once(reader.read_chunk()).expect("data"));
        assert_eq!((chunk.as_deref(), whole), (Some(&text[..]), (0, 0)));
    });
}

//! The tests: each does one operation very often and answers how often.

use std::cell::Cell;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_lite::future::yield_now;
use tidegate::prelude::*;
use tidegate::{LoopError, create_future};

use crate::children;

const TASKS: usize = 1_000_000;
const BATCH: usize = 1_000;
const FIRING_TIMERS: u32 = 200_000;
const WAKES: usize = 100_000;
const WRITERS: usize = 16;
const LINES_EACH: usize = 20_000;

/// What a task of `shared_writer` writes at a time.
const LINE: [u8; 64] = [b'.'; 64];

/// A time too far off to come.
const FAR: Duration = Duration::from_secs(3600);

/// Runs the test of that name; `None` if there is none.
pub(crate) fn run(test: &str) -> Option<io::Result<usize>> {
    Some(match test {
        "spawn_await" => tidegate::run(spawn_await()),
        "spawn_batch" => tidegate::run(spawn_batch()),
        "yield" => tidegate::run(yield_()),
        "call_soon" => tidegate::run(call_soon()),
        "timer_cancel" => tidegate::run(timer_cancel()),
        "timer_fire" => tidegate::run(timer_fire()),
        "cross_wake" => tidegate::run(cross_wake()),
        "shared_writer" => tidegate::run(shared_writer(false)),
        "shared_writer_flushed" => tidegate::run(shared_writer(true)),
        "subprocess" => tidegate::run(children::spawned(1)),
        "subprocess_8" => tidegate::run(children::spawned(8)),
        "pipe" => tidegate::run(children::read()),
        "pipe_both" => tidegate::run(children::through()),
        _ => return None,
    })
}

/// Spawns a task and waits for it.
async fn spawn_await() -> io::Result<usize> {
    for _ in 0..TASKS {
        spawn(async {})?.await?;
    }
    Ok(TASKS)
}

/// Spawns a batch of tasks, then waits for each.
async fn spawn_batch() -> io::Result<usize> {
    for _ in 0..TASKS / BATCH {
        let tasks: Vec<_> = (0..BATCH).map(|_| spawn(async {})).collect::<Result<_, _>>()?;
        for task in tasks {
            task.await?;
        }
    }
    Ok(TASKS)
}

/// Lets the loop make a turn.
async fn yield_() -> io::Result<usize> {
    for _ in 0..TASKS {
        yield_now().await;
    }
    Ok(TASKS)
}

/// Schedules a batch of callbacks, then lets them run.
async fn call_soon() -> io::Result<usize> {
    let handle = LoopHandle::current()?;
    for _ in 0..TASKS / BATCH {
        for _ in 0..BATCH {
            handle.call_soon(|| {})?;
        }
        yield_now().await;
    }
    Ok(TASKS)
}

/// Sets a batch of timers, then cancels them.
async fn timer_cancel() -> io::Result<usize> {
    let handle = LoopHandle::current()?;
    for _ in 0..TASKS / BATCH {
        let timers: Vec<_> =
            (0..BATCH).map(|_| handle.call_later(FAR, || {})).collect::<Result<_, _>>()?;
        for timer in timers {
            timer.cancel();
        }
        yield_now().await;
    }
    Ok(TASKS)
}

/// Sets timers that are all due within one second, one second from now, and waits for the last of them.
async fn timer_fire() -> io::Result<usize> {
    let handle = LoopHandle::current()?;
    let (promise, done) = create_future();
    let promise = Rc::new(promise);
    let left = Rc::new(Cell::new(FIRING_TIMERS));
    let base = handle.time() + Duration::from_secs(1);
    for number in 0..FIRING_TIMERS {
        let (left, promise) = (Rc::clone(&left), Rc::clone(&promise));
        handle.call_at(base + Duration::from_secs(1) * number / FIRING_TIMERS, move || {
            left.set(left.get() - 1);
            if left.get() == 0 {
                // The test waits for this.
                let _ = promise.set_result(());
            }
        })?;
    }
    done.await?;
    Ok(FIRING_TIMERS as usize)
}

/// Wakes the loop from another thread, which waits for the answer, again and again.
async fn cross_wake() -> io::Result<usize> {
    let handle = LoopHandle::current()?;
    let remote = handle.remote();
    let asking = handle.run_in_executor(move || -> Result<(), LoopError> {
        let (answer, answered) = mpsc::channel();
        for _ in 0..WAKES {
            let answer = answer.clone();
            remote
                .call_soon_threadsafe(move || answer.send(()).expect("the other thread waits"))?;
            answered.recv().expect("the loop answers");
        }
        Ok(())
    });
    asking.await??;
    Ok(WAKES)
}

/// Tasks write lines to one connection, in turn; with `flushed` each line is sent by a system call of its own, as it
/// is where nothing gathers them. A thread reads them all, at the cost of a system call for many lines either way.
async fn shared_writer(flushed: bool) -> io::Result<usize> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (_reader, writer) = open_connection(listener.local_addr()?).await?;
    let (mut peer, _) = listener.accept()?;
    let reading = thread::spawn(move || {
        let (mut read, mut buffer) = (0, vec![0; 1 << 20]);
        while read < WRITERS * LINES_EACH * LINE.len() {
            // Much at a time, so that reading does not count.
            thread::sleep(Duration::from_millis(1));
            read += peer.read(&mut buffer)?;
        }
        io::Result::Ok(())
    });
    let tasks = (0..WRITERS).map(|_| {
        let writer = writer.clone();
        spawn(async move {
            for _ in 0..LINES_EACH {
                writer.write(&LINE);
                if flushed {
                    writer.flush().await?;
                }
                writer.drain().await?;
                yield_now().await;
            }
            io::Result::Ok(())
        })
    });
    for task in tasks.collect::<Result<Vec<_>, _>>()? {
        task.await??;
    }
    writer.close().await?;
    reading.join().expect("the thread does not panic")?;
    Ok(WRITERS * LINES_EACH)
}

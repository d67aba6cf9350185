//! Callbacks at their time, tasks that sleep, a time limit, and signals that end a program in good order:
//! `cargo run --example timers_and_signals`.
//!
//! After half a second it sends itself the signal to end. Press Ctrl-C before that, and it ends earlier.

use std::io;
use std::time::Duration;

use futures_lite::future;
use tidegate::prelude::*;
use tidegate::{LoopError, Signal, TimeoutError};
use tidegate_examples::no_arguments;

fn main() -> io::Result<()> {
    no_arguments("Shows timers, tasks that sleep, and signals");
    tidegate::run(async {
        let asked_to_end = future::or(received(Signal::SIGINT), received(Signal::SIGTERM));
        // Two futures run side by side until one of them ends. The other is dropped, timers and all.
        let signal = future::or(asked_to_end, timers()).await?;
        println!("ending in good order because of {signal}");
        Ok(())
    })
}

/// Waits for a signal. It comes as a callback of the loop, where everything may be done.
async fn received(signal: Signal) -> io::Result<Signal> {
    // The callback keeps the promise, and this task waits for the future.
    let (promise, came) = create_future();
    LoopHandle::current()?.add_signal_handler(signal, move || {
        // It is refused if the task was told before, or has been dropped meanwhile.
        let _ = promise.set_result(signal);
    })?;
    Ok(came.await?)
}

async fn timers() -> io::Result<Signal> {
    let handle = LoopHandle::current()?;

    // A callback, once, after some time. It can be cancelled as long as it has not run.
    handle.call_later(Duration::from_millis(150), || println!("150 ms: called later"))?;
    let unwanted = handle.call_later(Duration::from_millis(150), || println!("never seen"))?;
    unwanted.cancel();

    // A callback again and again: each call sets the timer for the next one.
    tick(&handle, handle.time(), 1)?;

    // A task can simply sleep.
    let sleeper = spawn(async {
        sleep(Duration::from_millis(250)).await?;
        println!("250 ms: a task has slept");
        Ok::<_, LoopError>("well rested")
    })?;

    // What takes too long can be given up: it is dropped.
    match timeout(Duration::from_millis(350), future::pending::<()>()).await {
        Err(TimeoutError::Elapsed) => println!("350 ms: gave up what never ends"),
        ended => ended?,
    }
    println!("350 ms: the task is {}", sleeper.await??);

    handle.call_later(Duration::from_millis(150), || {
        println!("500 ms: a signal to ourselves");
        nix::sys::signal::raise(Signal::SIGTERM).expect("a program may send itself a signal");
    })?;
    future::pending().await
}

/// Prints a tick every 100 ms after `start`, three times.
fn tick(handle: &LoopHandle, start: Duration, number: u32) -> Result<(), LoopError> {
    let again = handle.clone();
    // By the clock of the loop, so that a tick that comes late does not put off the others.
    handle.call_at(start + Duration::from_millis(100) * number, move || {
        println!("{} ms: tick {number}", 100 * number);
        if number < 3 {
            tick(&again, start, number + 1).expect("the loop that calls us is not closed");
        }
    })?;
    Ok(())
}

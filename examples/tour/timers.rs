//! Timers: callbacks at their time, in order, and futures that wait for time to pass.

use std::cell::RefCell;
use std::future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidegate::prelude::*;
use tidegate::reactor::TimeoutError;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene("Timers", "Callbacks come at their time, whatever order they were set in.");

    let handle = LoopHandle::current()?;
    let order = Rc::new(RefCell::new(Vec::new()));
    let ring = |name: &'static str| {
        let (transcript, order) = (transcript.clone(), Rc::clone(&order));
        move || {
            transcript.note("timer", name);
            order.borrow_mut().push(name);
        }
    };
    let now = handle.time();
    handle.call_later(Duration::from_millis(30), ring("call_later, after 30 ms"))?;
    handle.call_at(now + Duration::from_millis(20), ring("call_at, in 20 ms"))?;
    handle.call_at(now + Duration::from_millis(10), ring("call_at, in 10 ms"))?;
    let unwanted = handle.call_later(Duration::from_millis(5), ring("cancelled"))?;
    unwanted.cancel();
    handle.call_soon(ring("call_soon"))?;

    let before = handle.time();
    sleep(Duration::from_millis(40)).await?;
    transcript.note("task", "sleep of 40 ms is over");
    let slept = handle.time() - before;

    let waited = timeout(Duration::from_millis(10), future::pending::<()>()).await;
    transcript.note("task", "timeout of 10 ms has given up");

    let expected =
        ["call_soon", "call_at, in 10 ms", "call_at, in 20 ms", "call_later, after 30 ms"];
    transcript.check("each came once, in the order of its time", *order.borrow() == expected);
    transcript.check("the task slept as long as it asked for", slept >= Duration::from_millis(40));
    let gave_up = matches!(waited, Err(TimeoutError::Elapsed));
    transcript.check("what never ends was given up", gave_up);
    Ok(())
}

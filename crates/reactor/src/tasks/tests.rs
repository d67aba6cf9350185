//! Wake-ups that are on their way while the loop closes, which from outside are met only by chance.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::EventLoop;
use crate::mailbox::Door;

/// A task that was woken, by a thread that has not yet come to write its letter.
fn on_its_way(event_loop: &EventLoop) -> Runnable<Home> {
    let handle = event_loop.handle();
    drop(handle.create_task(pending::<()>()).unwrap());
    handle.core().ready.take_tasks().pop().unwrap()
}

#[test]
fn closing_waits_for_a_wake_up_that_is_on_its_way() {
    // L-50
    let event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let task = on_its_way(&event_loop);
    let mail = Arc::clone(&handle.core().mail);
    let closed = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let closed = Arc::clone(&closed);
        move || {
            while !mail.is_awaited() && !closed.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            post_wake(&mail, Letter::Task(task));
        }
    });
    event_loop.close().unwrap();
    closed.store(true, Ordering::SeqCst);
    assert_eq!(handle.statistics().tasks, 0);
    writer.join().unwrap();
}

#[test]
fn a_wake_up_that_finds_the_door_shut_is_forgotten_and_not_dropped() {
    // L-29
    let event_loop = EventLoop::new().unwrap();
    let task = on_its_way(&event_loop);
    let mail = Arc::clone(&event_loop.handle().core().mail);
    drop(mail.close(Door::Shut));

    // Dropping a local task in another thread would end the process.
    thread::spawn(move || post_wake(&mail, Letter::Task(task))).join().unwrap();

    // Such a task is never dropped, and a loop waits for its tasks; this one must not.
    std::mem::forget(event_loop);
}

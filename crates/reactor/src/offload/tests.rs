//! The pool by itself: how many threads there are, and when they end.

use std::sync::mpsc::{self, Sender};
use std::task::Wake;

use super::*;

/// Tells when it is woken.
struct Told(Mutex<Sender<()>>);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

/// Waits until no thread of the pool is left.
fn wait_for_end(pool: &Pool) {
    let (send, receive) = mpsc::channel();
    let waker = Waker::from(Arc::new(Told(Mutex::new(send))));
    while pool.poll_ended(&mut Context::from_waker(&waker)).is_pending() {
        receive.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}

fn named(pool: &Arc<Pool>) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    let job = move || send.send(thread::current().name().unwrap().to_owned()).unwrap();
    pool.submit(Box::new(job)).unwrap();
    receive
}

// L-32
#[test]
fn threads_without_work_end_and_others_start_when_there_is_some() {
    let pool = Pool::new(4, Duration::from_millis(1));
    assert_eq!(pool.lock().threads, 0, "no thread before there is work");
    for number in 0..3 {
        let name = named(&pool).recv().unwrap();
        assert_eq!(name, format!("tidegate-{number}"));
        wait_for_end(&pool);
    }
    assert_eq!(pool.lock().phase, Phase::Open);
}

#[test]
fn a_thread_that_waits_is_used_before_another_is_started() {
    let pool = Pool::new(4, Duration::from_secs(600));
    for _ in 0..20 {
        assert_eq!(named(&pool).recv().unwrap(), "tidegate-0");
        // It is about to wait: let it.
        while pool.lock().waiting == 0 {
            thread::yield_now();
        }
    }
    pool.refuse(Phase::ShutDown);
    wait_for_end(&pool);
    assert_eq!(pool.lock().started, 1);
}

#[test]
fn there_are_no_more_threads_than_the_limit_and_no_job_is_lost() {
    let pool = Pool::new(2, Duration::from_secs(600));
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let (done, results) = mpsc::channel();
    for number in 0..50 {
        let (wait, done) = (Arc::clone(&wait), done.clone());
        let job = move || {
            wait.lock().unwrap().recv().unwrap();
            done.send(number).unwrap();
        };
        pool.submit(Box::new(job)).unwrap();
    }
    assert_eq!(pool.lock().threads, 2);

    // What was given before the end runs still; nothing is accepted after it.
    pool.refuse(Phase::Closed);
    let dropped = Arc::new(());
    let held = Arc::clone(&dropped);
    let refused = pool.submit(Box::new(move || drop(held)));
    assert!(matches!(refused, Err(OffloadError::Closed)));
    assert_eq!(Arc::strong_count(&dropped), 1);
    pool.refuse(Phase::ShutDown);
    assert_eq!(pool.lock().phase, Phase::Closed, "closed is closed");

    for _ in 0..50 {
        go.send(()).unwrap();
    }
    wait_for_end(&pool);
    let mut results: Vec<i32> = results.try_iter().collect();
    results.sort_unstable();
    assert!(results.into_iter().eq(0..50));
}

#[test]
fn a_job_that_panics_costs_no_thread() {
    let pool = Pool::new(1, Duration::from_secs(600));
    pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
    assert_eq!(named(&pool).recv().unwrap(), "tidegate-0");
    pool.refuse(Phase::Closed);
    wait_for_end(&pool);
}

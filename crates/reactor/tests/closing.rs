//! Closing, and what is dropped then.

mod support;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use support::{Log, PanicsAtDrop, messages, reports, stderr_of, turns, watched, with_loop};
use tidegate_reactor::{
    Deferred, EventLoop, Handle, Interest, LoopError, LoopHandle, OfferReason, Readiness, Source,
    TimerHandle, Watcher,
};

#[test]
fn a_running_loop_cannot_be_closed() {
    // L-50
    with_loop(|event_loop| {
        event_loop
            .run_until_complete(async {
                assert_eq!(event_loop.close(), Err(LoopError::CloseRunning));
                assert!(event_loop.is_running() && !event_loop.is_closed());
            })
            .unwrap();
        assert_eq!(event_loop.close(), Ok(()));
        assert_eq!(event_loop.close(), Ok(()), "closing twice is closing once");
        assert!(event_loop.is_closed());
    });
}

fn runs<T>(_held: T) {
    unreachable!("nothing is run by closing");
}

#[test]
fn closing_drops_callbacks_timers_and_mail_unrun() {
    // L-50
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let [queued, timer] = ["queued", "timer"].map(|name| log.at_drop(name));
        let call = handle.call_soon(move || runs(queued)).unwrap();
        let timer = handle.call_later(Duration::ZERO, move || runs(timer)).unwrap();
        let mail = std::sync::Arc::new(());
        let sent = std::sync::Arc::clone(&mail);
        let sent = handle.remote().call_soon_threadsafe(move || runs(sent)).unwrap();
        event_loop.close().unwrap();
        assert_eq!(log.take(), ["queued", "timer"]);
        assert_eq!(std::sync::Arc::strong_count(&mail), 1);
        assert!(!call.cancelled() && !timer.cancelled() && !sent.cancelled());
        timer.cancel();
        call.cancel();
    });
}

#[test]
fn callbacks_that_own_their_handles_are_dropped_with_the_loop() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());

        let slot: Rc<RefCell<Option<Handle>>> = Rc::default();
        let (own, guard) = (Rc::clone(&slot), log.at_drop("callback"));
        *slot.borrow_mut() = Some(handle.call_soon(move || drop((own, guard))).unwrap());

        let slot: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
        let (own, guard) = (Rc::clone(&slot), log.at_drop("timer"));
        let timer = handle.call_later(Duration::ZERO, move || drop((own, guard))).unwrap();
        *slot.borrow_mut() = Some(timer);

        let (own, guard) = (handle.clone(), log.at_drop("exception handler"));
        handle.set_exception_handler(Some(move |_: &_| {
            let _ = (&own, &guard);
        }));
        event_loop.close().unwrap();
        assert_eq!(log.take(), ["callback", "timer", "exception handler"]);
    });
}

#[test]
fn a_closed_loop_refuses_everything() {
    // L-51
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        event_loop.close().unwrap();
        let closed = LoopError::Closed;
        assert_eq!(event_loop.run_forever(), Err(closed));
        assert_eq!(event_loop.run_until_complete(async {}), Err(closed));
        assert_eq!(handle.call_soon(|| {}).unwrap_err(), closed);
        assert_eq!(handle.remote().call_soon_threadsafe(|| {}).unwrap_err(), closed);
        assert_eq!(handle.call_later(Duration::ZERO, || {}).unwrap_err(), closed);
        assert_eq!(handle.call_at(Duration::ZERO, || {}).unwrap_err(), closed);
        assert_eq!(handle.create_task(async {}).unwrap_err(), closed);
        assert_eq!(handle.spawn(async {}).unwrap_err(), closed);
        assert_eq!(handle.enrol(Rc::new(Quiet)).unwrap_err(), closed);
        let (_near, far) = UnixStream::pair().unwrap();
        let refused = Source::new(&handle, far, Interest::READ, Rc::new(Quiet)).unwrap_err();
        assert_eq!(refused.to_string(), "Event loop is closed");
        assert_eq!(closed.to_string(), "Event loop is closed");
        handle.stop();
        handle.offer_all();
        handle.shut_down_watchers();
        assert_eq!(handle.statistics().tasks, 0);
        assert!(handle.time() > Duration::ZERO);
    });
}

struct Quiet;

impl Watcher for Quiet {
    fn ready(self: Rc<Self>, _: Readiness) {}

    fn name(&self) -> String {
        "quiet".to_owned()
    }
}

#[test]
fn dropping_an_unclosed_loop_closes_it_and_says_so() {
    // L-52
    watched(|| {
        let event_loop = EventLoop::new().unwrap();
        let handle = event_loop.handle();
        let reports = reports(&handle);
        drop(event_loop);
        assert!(handle.is_closed());
        assert_eq!(messages(&reports), ["unclosed event loop"]);

        let event_loop = EventLoop::new().unwrap();
        let reports = self::reports(&event_loop.handle());
        event_loop.close().unwrap();
        drop(event_loop);
        assert!(reports.take().is_empty());
    });
}

#[test]
fn the_warning_of_an_unclosed_loop_goes_to_stderr() {
    // L-52
    let name = "the_warning_of_an_unclosed_loop_goes_to_stderr";
    if let Some(text) = stderr_of(name, || drop(EventLoop::new().unwrap())) {
        assert!(text.contains("unclosed event loop\n"), "{text}");
    }
}

/// Tries everything that a loop does when it is dropped.
struct Meddles {
    handle: LoopHandle,
    log: Log<&'static str>,
    name: &'static str,
}

impl Drop for Meddles {
    fn drop(&mut self) {
        self.log.push(self.name);
        assert!(self.handle.is_closed());
        let closed = LoopError::Closed;
        assert_eq!(self.handle.call_soon(|| {}).unwrap_err(), closed);
        assert_eq!(self.handle.call_later(Duration::ZERO, || {}).unwrap_err(), closed);
        assert_eq!(self.handle.create_task(async {}).unwrap_err(), closed);
        assert_eq!(self.handle.remote().call_soon_threadsafe(|| {}).unwrap_err(), closed);
        self.handle.offer_all();
        let _ = self.handle.statistics();
        let (_near, far) = UnixStream::pair().unwrap();
        assert!(Source::new(&self.handle, far, Interest::READ, Rc::new(Quiet)).is_err());
    }
}

/// A watcher that owns its source, as transports do.
struct Owner {
    source: RefCell<Option<Source<UnixStream>>>,
    guard: Cell<Option<Meddles>>,
    log: Log<&'static str>,
}

impl Watcher for Owner {
    fn ready(self: Rc<Self>, _: Readiness) {}

    fn name(&self) -> String {
        "owner".to_owned()
    }

    fn stop_listening(self: Rc<Self>) {
        self.log.push("stop listening");
    }

    fn loop_closed(self: Rc<Self>) {
        self.log.push("loop closed");
        drop(self.source.take());
        drop(self.guard.take());
    }
}

struct Unsent(Log<&'static str>);

impl Deferred for Unsent {
    fn touched(&self) -> u64 {
        0
    }

    fn offer(self: Rc<Self>, reason: OfferReason) {
        assert_eq!(reason, OfferReason::Closing);
        self.0.push("offered");
    }
}

#[test]
fn closing_goes_in_its_order_and_lets_destructors_meddle() {
    // L-50
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let meddles = |name| Meddles { handle: handle.clone(), log: log.clone(), name };

        let (timer, queued) = (meddles("timer"), meddles("queued"));
        handle.call_later(Duration::ZERO, move || drop(timer)).unwrap();
        handle.call_soon(move || drop(queued)).unwrap();
        let task = meddles("task");
        drop(handle.create_task(async move {
            let _task = task;
            pending::<()>().await;
        }));
        let (_near, far) = UnixStream::pair().unwrap();
        let owner = Rc::new(Owner {
            source: RefCell::new(None),
            guard: Cell::new(Some(meddles("protocol"))),
            log: log.clone(),
        });
        let source = Source::new(&handle, far, Interest::READ, owner.clone()).unwrap();
        *owner.source.borrow_mut() = Some(source);
        let lost = Rc::downgrade(&owner);
        drop(owner);
        handle.at_step_end(Rc::new(Unsent(log.clone()))).unwrap();

        event_loop.close().unwrap();
        assert_eq!(
            log.take(),
            ["offered", "stop listening", "task", "loop closed", "protocol", "queued", "timer"]
        );
        assert!(lost.upgrade().is_none());
        assert_eq!(handle.statistics().sources, 0);
    });
}

#[test]
fn destructors_that_panic_do_not_keep_a_loop_from_closing() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        let value = PanicsAtDrop;
        handle.call_soon(move || drop(value)).unwrap();
        let value = PanicsAtDrop;
        handle.call_later(Duration::ZERO, move || drop(value)).unwrap();
        handle
            .remote()
            .call_soon_threadsafe({
                let value = PanicsAtDrop;
                move || drop(value)
            })
            .unwrap();
        for _ in 0..2 {
            let value = PanicsAtDrop;
            drop(handle.create_task(async move {
                let _value = value;
                pending::<()>().await;
            }));
        }
        turns(event_loop, 0);
        event_loop.close().unwrap();
        let messages = messages(&reports);
        assert_eq!(messages.len(), 5, "{messages:?}");
        assert!(messages.iter().all(|message| message.starts_with("Exception in destructor")));
    });
}

#[test]
fn tasks_that_wake_each_other_when_they_are_dropped_are_all_dropped() {
    struct Wakes(Rc<RefCell<Vec<std::task::Waker>>>);
    impl Drop for Wakes {
        fn drop(&mut self) {
            self.0.borrow().iter().for_each(std::task::Waker::wake_by_ref);
        }
    }
    with_loop(|event_loop| {
        let log = Log::new();
        let wakers = Rc::new(RefCell::new(Vec::new()));
        for number in 0..5 {
            let (known, wakes) = (Rc::clone(&wakers), Wakes(Rc::clone(&wakers)));
            let guard = log.at_drop(number);
            drop(event_loop.handle().create_task(poll_fn(move |context| {
                let _ = (&wakes, &guard);
                known.borrow_mut().push(context.waker().clone());
                Poll::<()>::Pending
            })));
        }
        turns(event_loop, 1);
        event_loop.close().unwrap();
        let mut dropped = log.take();
        dropped.sort_unstable();
        assert_eq!(dropped, [0, 1, 2, 3, 4]);
        wakers.borrow().iter().for_each(std::task::Waker::wake_by_ref);
    });
}

#[test]
fn handles_may_outlive_their_loop() {
    watched(|| {
        let event_loop = EventLoop::new().unwrap();
        let handle = event_loop.handle();
        let call = handle.call_soon(|| {}).unwrap();
        let timer = handle.call_later(Duration::ZERO, || {}).unwrap();
        let task = handle.create_task(pending::<()>()).unwrap();
        let (_near, far) = UnixStream::pair().unwrap();
        let source = Source::new(&handle, far, Interest::READ, Rc::new(Quiet)).unwrap();
        let enrolled = handle.enrol(Rc::new(Quiet)).unwrap();
        let buffer = handle.shared_buffer();
        event_loop.close().unwrap();
        drop(event_loop);
        call.cancel();
        timer.cancel();
        assert!(task.is_finished() && !task.cancel());
        source.set_interest(Interest::BOTH);
        drop(buffer);
        drop((source, enrolled, handle));
    });
}

#[test]
fn closing_gives_every_descriptor_back() {
    // L-50
    let open = || std::fs::read_dir("/dev/fd").unwrap().count();
    let name = "closing_gives_every_descriptor_back";
    // In a process of its own, where nobody else opens any.
    stderr_of(name, || {
        let before = open();
        let event_loop = EventLoop::new().unwrap();
        let (handle, remote) = (event_loop.handle(), event_loop.handle().remote());
        assert!(open() > before);
        event_loop.close().unwrap();
        assert_eq!(open(), before);
        drop((handle, remote));
    });
}

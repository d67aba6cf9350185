//! Reports, exception handlers and debug mode.

mod support;

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use support::{Log, messages, reports, stderr_of, turns, watched, with_jumping_loop, with_loop};
use tidegate_reactor::{EventLoop, Report};

#[test]
fn debug_mode_names_slow_callbacks_and_their_seconds() {
    // L-58
    with_jumping_loop(|event_loop, clock| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        assert!(!handle.get_debug());
        assert_eq!(handle.slow_callback_duration(), Duration::from_millis(100));
        let takes = |duration: Duration| {
            let clock = clock.clone();
            move || clock.advance(duration)
        };
        handle.call_soon(takes(Duration::from_secs(1))).unwrap();
        turns(event_loop, 1);
        assert!(reports.take().is_empty(), "debug mode is off");

        handle.set_debug(true);
        assert!(handle.get_debug());
        handle.call_soon(takes(Duration::from_micros(99_999))).unwrap();
        handle.call_soon(takes(Duration::from_millis(100))).unwrap();
        handle.set_slow_callback_duration(Duration::from_millis(100));
        turns(event_loop, 1);
        let slow = reports.take();
        assert_eq!(slow.len(), 1);
        let message = slow[0].message();
        assert!(message.starts_with("Executing reports::debug_mode"), "{message}");
        assert!(message.ends_with(" took 0.100 seconds"), "{message}");

        let clock = clock.clone();
        event_loop
            .run_until_complete(async move { clock.advance(Duration::from_micros(1_234_567)) })
            .unwrap();
        let slow = reports.take();
        assert!(slow[0].message().ends_with(" took 1.235 seconds"));
        assert!(slow[0].keys().eq(["message", "task"]));
    });
}

#[test]
fn a_failed_callback_is_reported_with_what_applies() {
    // L-59
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        handle.call_soon(|| panic!("no debug mode")).unwrap();
        turns(event_loop, 1);
        let report = &reports.take()[0];
        assert!(report.keys().eq(["exception", "handle", "message"]));
        assert!(report.message().starts_with("Exception in callback "));

        handle.set_debug(true);
        handle.call_later(Duration::ZERO, || panic!("debug mode")).unwrap();
        turns(event_loop, 1);
        let report = &reports.take()[0];
        assert!(report.keys().eq(["exception", "handle", "message", "source_traceback"]));
        let place = report.get("source_traceback").unwrap();
        assert!(place.contains("tests/reports.rs:"), "{place}");
    });
}

#[test]
fn a_report_displays_its_message_and_its_details_sorted() {
    // L-60
    let report = Report::new("It failed")
        .transport("<transport>")
        .error(io::Error::other("an error"))
        .socket("<socket>")
        .protocol("Echo")
        .peer("127.0.0.1:1")
        .handle("a callback")
        .task("a task")
        .source_traceback("a place");
    let lines: Vec<_> = report.to_string().lines().map(str::to_owned).collect();
    assert_eq!(
        lines,
        [
            "It failed",
            "exception: an error",
            "handle: a callback",
            "peer: 127.0.0.1:1",
            "protocol: Echo",
            "socket: <socket>",
            "source_traceback: a place",
            "task: a task",
            "transport: <transport>",
        ]
    );
    assert_eq!(Report::new("").to_string(), "Unhandled exception in event loop");
    assert_eq!(report.cause().unwrap().to_string(), "an error");
}

#[test]
fn the_default_handler_writes_one_record_to_stderr() {
    // L-60
    let name = "the_default_handler_writes_one_record_to_stderr";
    let text = stderr_of(name, || {
        with_loop(|event_loop| {
            let handle = event_loop.handle();
            handle.set_exception_handler(None::<fn(&Report)>);
            handle.call_exception_handler(Report::new("first").task("t").handle("h"));
            handle.default_exception_handler(&Report::new(""));
        });
    });
    if let Some(text) = text {
        assert!(text.contains("first\nhandle: h\ntask: t\n"), "{text}");
        assert!(text.contains("Unhandled exception in event loop\n"), "{text}");
    }
}

#[test]
fn a_handler_that_fails_is_told_to_the_default_one() {
    // L-61
    let name = "a_handler_that_fails_is_told_to_the_default_one";
    let text = stderr_of(name, || {
        with_loop(|event_loop| {
            let handle = event_loop.handle();
            let log = Log::new();
            handle.set_exception_handler(Some(|_: &Report| panic!("a broken handler")));
            handle.call_soon(|| panic!("a broken callback")).unwrap();
            handle.call_soon(log.writes("the loop goes on")).unwrap();
            turns(event_loop, 1);
            assert_eq!(log.take(), ["the loop goes on"]);
        });
    });
    if let Some(text) = text {
        let record = text.split("Unhandled error in exception handler\n").nth(1).unwrap();
        let (context, rest) = record.split_once('\n').unwrap();
        assert!(context.starts_with("context: Exception in callback "), "{context}");
        assert!(context.contains("exception: panicked: a broken callback"), "{context}");
        assert!(rest.starts_with("exception: panicked: a broken handler\n"), "{rest}");
    }
}

#[test]
fn an_error_that_cannot_be_displayed_takes_nothing_down() {
    // L-61
    #[derive(Debug)]
    struct Unspeakable;
    impl std::fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("an error that panics when it is displayed")
        }
    }
    impl std::error::Error for Unspeakable {}

    let name = "an_error_that_cannot_be_displayed_takes_nothing_down";
    let text = stderr_of(name, || {
        with_loop(|event_loop| {
            let handle = event_loop.handle();
            handle.set_exception_handler(None::<fn(&Report)>);
            handle.call_exception_handler(Report::new("the message").error(Unspeakable));
        });
    });
    if let Some(text) = text {
        assert!(text.ends_with("the message\n") || text.contains("\nthe message\n"), "{text}");
    }
}

#[test]
fn setting_no_handler_restores_the_default() {
    // L-62
    watched(|| {
        let event_loop = EventLoop::new().unwrap();
        let handle = event_loop.handle();
        assert!(handle.get_exception_handler().is_none());
        let reports = reports(&handle);
        let set = handle.get_exception_handler().unwrap();
        set(&Report::new("called by hand"));
        assert_eq!(messages(&reports), ["called by hand"]);
        handle.set_exception_handler(None::<fn(&Report)>);
        assert!(handle.get_exception_handler().is_none());
        event_loop.close().unwrap();
    });
}

#[test]
fn a_handler_may_replace_itself_and_use_the_loop() {
    with_loop(|event_loop| {
        let (log, handle) = (Log::new(), event_loop.handle());
        let (inner, seen, guard) = (handle.clone(), log.clone(), log.at_drop("dropped"));
        handle.set_exception_handler(Some(move |_: &Report| {
            let _guard = &guard;
            seen.push("told");
            inner.set_exception_handler(None::<fn(&Report)>);
            inner.call_soon(seen.writes("scheduled")).unwrap();
        }));
        handle.call_exception_handler(Report::new("something"));
        turns(event_loop, 1);
        assert_eq!(log.take(), ["told", "dropped", "scheduled"]);
    });
}

#[test]
fn reports_made_by_a_handler_are_told_to_it() {
    with_loop(|event_loop| {
        let handle = event_loop.handle();
        let depth = Rc::new(Cell::new(0));
        let (inner, count) = (handle.clone(), Rc::clone(&depth));
        handle.set_exception_handler(Some(move |_: &Report| {
            count.set(count.get() + 1);
            if count.get() < 3 {
                inner.call_exception_handler(Report::new("once more"));
            }
        }));
        handle.call_exception_handler(Report::new("once"));
        assert_eq!(depth.get(), 3);
    });
}

#[test]
fn nothing_is_told_by_a_loop_without_failures() {
    with_loop(|event_loop: &EventLoop| {
        let handle = event_loop.handle();
        let reports = reports(&handle);
        event_loop.run_until_complete(async {}).unwrap();
        assert!(reports.take().is_empty());
    });
}

//! What a memory connection does that its two transports do not show: breaking, filling, and hanging up.

use std::io::ErrorKind;
use std::time::Duration;

use tidegate_protocols::{AtEof, Flow, Transport};
use tidegate_reactor::{EventLoop, LoopHandle, sleep};
use tidegate_testkit::memory::{Line, PairOptions, pair};
use tidegate_testkit::{Callback, Event, JumpingClock, Log, Recorder, run, watched};

/// A connection with the logs of its two protocols.
fn line(options: PairOptions, left: Recorder, right: Recorder) -> (Line, Log, Log) {
    let handle = LoopHandle::current().expect("a running loop");
    let logs = (left.log(), right.log());
    let line = Line::open(&handle, Box::new(left), Box::new(right), options);
    (line.expect("an open loop"), logs.0, logs.1)
}

fn lasting() -> Recorder {
    Recorder::new().at_eof(AtEof::KeepWriting)
}

async fn turns(count: usize) {
    for _ in 0..count {
        sleep(Duration::ZERO).await.expect("an open loop");
    }
}

// T-13: as a RST over TCP.
#[test]
fn a_reset_is_the_cause_of_the_loss_on_both_sides() {
    run(async {
        let (line, said, heard) = line(PairOptions::default(), lasting(), lasting());
        said.made().await;
        line.left.pause_reading();
        line.right.write(b"lost on the way");
        turns(5).await;
        line.reset();
        line.left.resume_reading();
        for log in [said, heard] {
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::ConnectionReset))]);
            assert!(log.cause().expect("a cause").is_os_error());
        }
    });
}

// T-39
#[test]
fn a_reset_ends_a_close_that_still_flushes() {
    run(async {
        let options = PairOptions { capacity: 10, ..PairOptions::default() };
        let (line, said, _) = line(options, lasting(), lasting());
        said.made().await;
        line.right.pause_reading();
        line.left.write(&[0; 100]);
        line.left.close();
        line.reset();
        said.lost().await;
        said.assert(&[Event::Made, Event::Lost(Some(ErrorKind::ConnectionReset))]);
    });
}

// T-13: a paused side is told that the peer hung up, once, and of nothing else.
#[test]
fn a_paused_side_can_ask_whether_the_peer_hung_up() {
    run(async {
        let ends: [fn(&Line); 2] = [|line| line.reset(), |line| line.right.abort()];
        for end in ends {
            let (line, said, _) = line(PairOptions::default(), lasting(), lasting());
            said.made().await;
            line.left.pause_reading();
            turns(1).await;
            assert!(!line.left.peer_hung_up());
            end(&line);
            turns(5).await;
            assert!(line.left.peer_hung_up());
            said.assert(&[Event::Made]);
            line.left.abort();
            said.lost().await;
        }
    });
}

// T-35
#[test]
fn only_the_capacity_is_on_the_way() {
    run(async {
        let options = PairOptions { capacity: 1000, ..PairOptions::default() };
        let (line, said, heard) = line(options, lasting(), lasting());
        said.made().await;
        line.right.pause_reading();
        assert_eq!(line.left.write(&[0; 100_000]), Flow::Paused);
        turns(5).await;
        assert_eq!(line.on_the_way(), 1000);
        assert_eq!(line.left.get_write_buffer_size(), 99_000);
        line.right.resume_reading();
        heard.received_at_least(100_000).await;
        assert_eq!(line.on_the_way(), 0);
    });
}

// T-56: a clean end, whatever was not read: memory does not destroy what was sent last.
#[test]
fn an_end_with_unread_input_is_clean() {
    run(async {
        let (line, _, heard) = line(PairOptions::default(), lasting(), Recorder::new());
        heard.made().await;
        line.left.pause_reading();
        line.right.write(b"never read");
        line.left.write(b"last words");
        line.left.close();
        heard.lost().await;
        let whole = [Event::Made, Event::data("last words"), Event::Eof, Event::Lost(None)];
        heard.assert(&whole);
    });
}

#[test]
fn everything_happens_while_no_time_passes() {
    watched(|| {
        let clock = JumpingClock::new();
        let event_loop = EventLoop::with_clock(clock.clone()).expect("a loop");
        let (left, right) = (Recorder::new(), Recorder::new());
        let (said, heard) = (left.log(), right.log());
        let exchange = async {
            let handle = LoopHandle::current().expect("a running loop");
            let options = PairOptions { bytes_at_a_time: Some(1), ..PairOptions::default() };
            let (left, _right) = pair(&handle, left, right, options);
            left.write(&[1; 5000]);
            left.close();
            heard.lost().await;
            assert_eq!(clock.time(), Duration::ZERO);
            sleep(Duration::from_secs(86_400)).await.expect("an open loop");
        };
        event_loop.run_until_complete(exchange).expect("a loop that is not stopped");
        assert_eq!(clock.time(), Duration::from_secs(86_400));
        assert_eq!(heard.count(Callback::DataReceived), 5000);
        said.assert_complete();
    });
}

#[test]
fn a_closed_loop_drops_both_protocols() {
    watched(|| {
        let event_loop = EventLoop::new().expect("a loop");
        let (left, right) = (Recorder::new(), Recorder::new());
        let (said, heard) = (left.log(), right.log());
        let kept: Vec<Transport> = event_loop
            .run_until_complete(async {
                let handle = LoopHandle::current().expect("a running loop");
                let (left, right) = pair(&handle, left, right, PairOptions::default());
                said.made().await;
                vec![left, right]
            })
            .expect("a loop that is not stopped");
        event_loop.close().expect("a loop that does not run");
        assert!(said.is_abandoned() && heard.is_abandoned());
        assert!(kept.iter().all(Transport::is_closing));
        said.assert(&[Event::Made]);
        let refused = event_loop.handle();
        let refused = Line::open(
            &refused,
            Box::new(Recorder::new()),
            Box::new(Recorder::new()),
            PairOptions::default(),
        );
        assert!(refused.is_err());
    });
}

//! One watermark over all layers, and reading that pauses in the middle of what has come.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidegate_protocols::{Flow, Transport, WriteLimits};
use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Callback, Event, Recorder, Tripwire, run, turns, until};
use tidegate_tls::{ClientTls, ServerTls};
use tidegate_transports::{create_connection, create_server};

mod authority;
mod support;

use support::{
    Both, End, Pair, client_of_peer, connect, connect_over, handle, jumping, keep_reports, narrow,
    pass, pattern,
};

/// A pair whose client cannot send any more: the server does not read, and something waits below.
async fn stuck(client: Recorder) -> Pair {
    let pair = connect_over(narrow(4000), &Both::new(), client, Recorder::new()).await;
    pair.server.pause_reading();
    pair.client.write(&pattern(100_000));
    turns(20).await;
    assert!(pair.client.get_write_buffer_size() > 90_000);
    pair
}

fn set_limits(end: &End, high: usize, low: usize) {
    end.set_write_buffer_limits(Some(high), Some(low)).expect("high is not below low");
}

// replaced: TLS-40 TLS-41
#[test]
fn writing_pauses_strictly_above_the_high_mark() {
    jumping(async {
        let pair = stuck(Recorder::new()).await;
        let client = &pair.client;
        // TLS-40 turned over: what waits below counts, and what waits here
        let high = client.get_write_buffer_size() + 10;
        set_limits(client, high, 5000);
        assert_eq!(client.write(&[1; 10]), Flow::Open);
        assert_eq!(client.get_write_buffer_size(), high);
        turns(20).await;
        client.log.assert(&[Event::Made]);
        assert_eq!(client.write(&[1]), Flow::Paused);
        assert_eq!(client.flow(), Flow::Paused);
        turns(2).await;
        client.log.assert(&[Event::Made, Event::Paused]);
        pair.client.abort();
        pair.server.resume_reading();
        pair.lost().await;
    });
}

// replaced: TLS-40 TLS-41
#[test]
fn writing_resumes_at_the_low_mark_and_not_above() {
    jumping(async {
        let resumed = Rc::new(Cell::new(usize::MAX));
        let note = resumed.clone();
        let client = Recorder::new().on(Callback::ResumeWriting, move |transport| {
            note.set(transport.get_write_buffer_size());
        });
        let pair = stuck(client).await;
        set_limits(&pair.client, 50_000, 20_000);
        assert_eq!(pair.client.write(b"x"), Flow::Paused);
        turns(2).await;
        // Not while more than that waits, here and below.
        while pair.client.get_write_buffer_size() > 20_000 {
            pair.client.log.assert(&[Event::Made, Event::Paused]);
            pair.server.resume_reading();
            turns(1).await;
            pair.server.pause_reading();
        }
        pair.server.resume_reading();
        pair.client.log.until(|log| log.has(Callback::ResumeWriting)).await;
        assert!(resumed.get() <= 20_000, "resumed at {}", resumed.get());
        pair.server.log.received_at_least(100_001).await;
        pair.client.log.assert(&[Event::Made, Event::Paused, Event::Resumed]);
        pair.client.close();
        pair.lost().await;
    });
}

// replaced: TLS-41
#[test]
fn limits_of_zero_pause_only_what_cannot_be_sent() {
    jumping(async {
        let pair = connect_over(narrow(4000), &Both::new(), Recorder::new(), Recorder::new()).await;
        set_limits(&pair.client, 0, 0);
        turns(20).await;
        assert_eq!(pair.client.write(b"it is taken at once"), Flow::Open);
        turns(20).await;
        pair.client.log.assert(&[Event::Made]);
        pair.server.pause_reading();
        for round in 1..4 {
            while pair.client.write(&[7; 1000]) == Flow::Open {
                turns(1).await;
            }
            turns(20).await;
            assert_eq!(pair.client.log.count(Callback::PauseWriting), round);
            assert_eq!(pair.client.log.count(Callback::ResumeWriting), round - 1);
            pair.server.resume_reading();
            pair.client.log.until(|log| log.count(Callback::ResumeWriting) == round).await;
            assert_eq!(pair.client.get_write_buffer_size(), 0);
            pair.server.pause_reading();
        }
        pair.server.resume_reading();
        pair.client.close();
        pair.lost().await;
    });
}

// replaced: TLS-41: lower limits pause at once, higher ones wait for the next sending
#[test]
fn limits_that_are_set_later_count() {
    jumping(async {
        let pair = stuck(Recorder::new()).await;
        assert_eq!(pair.client.flow(), Flow::Open);
        set_limits(&pair.client, 1000, 10);
        assert_eq!(pair.client.flow(), Flow::Paused);
        turns(2).await;
        pair.client.log.assert(&[Event::Made, Event::Paused]);
        set_limits(&pair.client, 1 << 20, 1 << 19);
        turns(20).await;
        pair.client.log.assert(&[Event::Made, Event::Paused]);
        pair.server.resume_reading();
        pair.client.log.until(|log| log.has(Callback::ResumeWriting)).await;
        pair.client.close();
        pair.lost().await;
    });
}

// TLS-24: nothing is said of the flow before the handshake is done
#[test]
fn the_defaults_are_those_of_tls() {
    jumping(async {
        let pair = connect(&Both::new(), Recorder::new(), Recorder::new()).await;
        for end in [&pair.client, &pair.server] {
            // TLS-04: the limits
            assert_eq!(end.get_write_buffer_limits(), WriteLimits::TLS);
            end.set_write_buffer_limits(Some(10), Some(5)).expect("limits");
            end.set_write_buffer_limits(None, None).expect("the defaults");
            assert_eq!(end.get_write_buffer_limits(), WriteLimits::TLS);
            assert!(end.set_write_buffer_limits(Some(5), Some(10)).is_err());
        }
        pair.client.close();
        pair.lost().await;
    });
}

// replaced: TLS-40
#[test]
fn limits_of_the_builder_are_those_of_the_top() {
    run(async {
        let tls = Both::new();
        let limits = WriteLimits::new(Some(3000), Some(700)).expect("limits");
        let server = create_server(Recorder::new, ("127.0.0.1", 0)).tls(tls.server.clone());
        let server = server.await.expect("a server");
        let address = server.sockets()[0].sockname().as_inet().expect("an address");
        for before in [true, false] {
            let client = create_connection(Recorder::new, address);
            let client = match before {
                true => client.write_buffer_limits(limits).tls(tls.client.clone(), "localhost"),
                false => client.tls(tls.client.clone(), "localhost").write_buffer_limits(limits),
            };
            let client = client.await.expect("a client");
            assert_eq!(client.get_write_buffer_limits(), limits);
            client.abort();
        }
        server.close();
    });
}

// TLS-42: pauses and resumes alternate, whatever the peer does
#[test]
fn pauses_and_resumes_alternate() {
    jumping(async {
        let client = Recorder::new().on(Callback::ResumeWriting, |transport| {
            while transport.write(&[7; 3001]) == Flow::Open {}
        });
        let pair = connect_over(narrow(7000), &Both::new(), client, Recorder::new()).await;
        set_limits(&pair.client, 9000, 100);
        while pair.client.write(&[7; 3001]) == Flow::Open {}
        while pair.server.log.received_len() < 2_000_000 {
            pair.server.pause_reading();
            turns(3).await;
            pair.server.resume_reading();
            turns(5).await;
        }
        assert!(pair.client.log.count(Callback::PauseWriting) > 50);
        pair.client.close();
        pair.lost().await;
    });
}

/// A recorder that pauses at every piece, and goes on a second later.
fn stuttering(buffer: usize) -> Recorder {
    Recorder::new().buffered(buffer).on(Callback::BufferUpdated, |transport| {
        transport.pause_reading();
        let later = transport.clone();
        handle()
            .call_later(Duration::from_secs(1), move || later.resume_reading())
            .expect("an open loop");
    })
}

// replaced: TLS-21, TLS-43
#[test]
fn small_buffers_get_large_records_in_order() {
    jumping(async {
        for client in [Recorder::new().buffered(1000), Recorder::new().buffered(7), stuttering(999)]
        {
            let pair = connect(&Both::new(), client, Recorder::new()).await;
            let sent = pattern(50_000);
            pair.server.write(&sent[..40_000]);
            turns(3).await;
            // It comes behind what waits.
            pair.server.write(&sent[40_000..]);
            pair.client.log.received_at_least(sent.len()).await;
            assert!(pair.client.log.received() == sent);
            pair.server.close();
            pair.client.log.lost().await;
            assert!(pair.client.log.has(Callback::EofReceived));
            pair.lost().await;
        }
    });
}

// replaced: TLS-21: an empty buffer is the error of T-23
#[test]
fn an_empty_buffer_is_an_error() {
    jumping(async {
        let reports = keep_reports();
        let pair = connect(&Both::new(), Recorder::new().buffered(0), Recorder::new()).await;
        pair.server.write(b"data");
        pair.lost().await;
        let cause = pair.client.log.cause().expect("a cause");
        assert_eq!(cause.to_string(), "get_buffer() returned an empty buffer");
        assert_eq!(reports.borrow().len(), 1, "{:?}", reports.borrow());
    });
}

// replaced: TLS-43
#[test]
fn resume_reading_delivers_in_a_later_callback() {
    jumping(async {
        let client = Recorder::new().buffered(10).once(Callback::BufferUpdated, |transport| {
            transport.pause_reading();
            transport.pause_reading();
        });
        let tripwire = Tripwire::new();
        let pair = connect(&Both::new(), client, Recorder::new()).await;
        tripwire.watch(&pair.client);
        pair.server.write(&pattern(35));
        turns(20).await;
        assert_eq!(pair.client.log.received(), pattern(10));
        assert!(!pair.client.is_reading());
        pair.client.resume_reading();
        pair.client.resume_reading();
        assert!(pair.client.is_reading());
        assert_eq!(pair.client.log.received_len(), 10, "delivered inside of the call");
        turns(2).await;
        assert_eq!(pair.client.log.received(), pattern(35));
        pair.client.close();
        pair.lost().await;
    });
}

// replaced: TLS-43: while paused the transport below is, so that no more waits than one read brings
#[test]
fn a_paused_connection_holds_no_more_than_one_read() {
    jumping(async {
        let client = Recorder::new().once(Callback::DataReceived, |transport| {
            transport.pause_reading();
        });
        let pair = connect_over(narrow(70_000), &Both::new(), client, Recorder::new()).await;
        pair.server.write(&pattern(1 << 20));
        turns(100).await;
        assert_eq!(pair.client.log.count(Callback::DataReceived), 1);
        assert!(pair.server.get_write_buffer_size() > 800_000);
        pair.client.resume_reading();
        pair.client.log.received_at_least(1 << 20).await;
        assert!(pair.client.log.received() == pattern(1 << 20));
        pair.client.close();
        pair.lost().await;
    });
}

// TLS-55: the rest of a batch is the next protocol's
#[test]
fn the_next_protocol_gets_the_rest_of_a_batch() {
    jumping(async {
        for paused in [false, true] {
            let next = Recorder::taking_over();
            let log = next.log();
            let client =
                Recorder::new().buffered(10).once(Callback::BufferUpdated, move |transport| {
                    transport.set_protocol(next);
                    if paused {
                        transport.pause_reading();
                    }
                });
            let pair = connect(&Both::new(), client, Recorder::new()).await;
            pair.server.write(&pattern(300));
            pair.client.log.received_at_least(10).await;
            if paused {
                turns(20).await;
                assert!(log.events().is_empty());
                pair.client.resume_reading();
            }
            log.received_at_least(290).await;
            assert_eq!(pair.client.log.received(), &pattern(300)[..10]);
            log.assert(&[Event::data(&pattern(300)[10..])]);
            pair.server.close();
            log.lost().await;
            log.assert_complete();
            pair.server.log.lost().await;
        }
    });
}

// TLS-30: close and abort drop the rest of a batch
#[test]
fn the_rest_of_a_batch_goes_with_the_connection() {
    jumping(async {
        let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
        for end in ends {
            for pauses in [true, false] {
                let client =
                    Recorder::new().buffered(10).once(Callback::BufferUpdated, move |transport| {
                        if pauses {
                            transport.pause_reading();
                        }
                        end(transport);
                    });
                let pair = connect(&Both::new(), client, Recorder::new()).await;
                pair.server.write(&pattern(300));
                pair.lost().await;
                pair.client.log.assert(&[
                    Event::Made,
                    Event::updated(pattern(10)),
                    Event::Lost(None),
                ]);
            }
        }
    });
}

// TLS-30: the same from outside, while the rest waits
#[test]
fn a_paused_connection_can_close() {
    jumping(async {
        let ends: [fn(&Transport); 2] = [Transport::close, Transport::abort];
        for end in ends {
            let client = Recorder::new().buffered(10).once(Callback::BufferUpdated, |transport| {
                transport.pause_reading();
            });
            let pair = connect(&Both::new(), client, Recorder::new()).await;
            pair.server.write(&pattern(300));
            pair.client.log.received_at_least(10).await;
            turns(10).await;
            end(&pair.client);
            pair.client.resume_reading();
            pair.lost().await;
            let events = [Event::Made, Event::updated(pattern(10)), Event::Lost(None)];
            pair.client.log.assert(&events);
        }
    });
}

// TLS-44
#[test]
fn the_end_waits_behind_the_data_while_reading_is_paused() {
    jumping(async {
        // The end comes in the same read as the data, or in a later one.
        for together in [true, false] {
            let client = Recorder::new().buffered(10).once(Callback::BufferUpdated, |transport| {
                transport.pause_reading();
            });
            let (client, peer, _line) =
                client_of_peer(&Both::new(), PairOptions::default(), client).await;
            peer.write(&pattern(35));
            if !together {
                client.log.received_at_least(10).await;
            }
            peer.close_notify();
            client.log.received_at_least(10).await;
            pass(Duration::from_secs(1000)).await;
            client.log.assert(&[Event::Made, Event::updated(pattern(10))]);
            assert!(!client.is_closing());
            client.write(b"meanwhile");
            peer.received(9).await;
            client.resume_reading();
            client.log.lost().await;
            let events = [Event::Made, Event::updated(pattern(35)), Event::Eof, Event::Lost(None)];
            client.log.assert(&events);
            until(|| peer.is_notified()).await;
        }
    });
}

// TLS-45
#[test]
fn much_to_a_slow_peer_and_then_a_close_loses_nothing() {
    jumping(async {
        let server = Recorder::new().on(Callback::DataReceived, |transport| {
            transport.pause_reading();
            let later = transport.clone();
            handle()
                .call_later(Duration::from_millis(100), move || later.resume_reading())
                .expect("an open loop");
        });
        let pair = connect_over(narrow(50_000), &Both::new(), Recorder::new(), server).await;
        let chunk = pattern(128 * 1024);
        for _ in 0..32 {
            pair.client.write(&chunk);
        }
        pair.client.close();
        pair.lost().await;
        assert!(pair.server.log.received() == chunk.repeat(32));
        assert!(pair.client.log.cause().is_none() && pair.server.log.cause().is_none());
    });
}

// TLS-46
#[test]
fn a_connection_is_closing_when_the_one_below_is() {
    jumping(async {
        let pair = connect(&Both::new(), Recorder::new(), Recorder::new()).await;
        pair.line.reset();
        let mut rounds = 0;
        while !pair.client.is_closing() {
            rounds += 1;
            assert!(rounds < 10, "the failed write is not noticed");
            pair.client.write(&[7; 20_000]);
            // What a drain does: it does not wait while the flow is open.
            assert!(!pair.client.log.has(Callback::ConnectionLost));
        }
        assert_eq!(pair.client.flow(), Flow::Closed);
        assert_eq!(pair.client.write(b"more"), Flow::Closed);
        let error = pair.client.flush().await.expect_err("bytes were dropped");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        pair.lost().await;
        assert_eq!(
            pair.client.log.cause().expect("a cause").kind(),
            io::ErrorKind::ConnectionReset
        );
    });
}

// TLS-26
#[test]
fn lines_of_all_kinds_keep_their_order() {
    jumping(async {
        let pair = connect_over(narrow(3000), &Both::new(), Recorder::new(), Recorder::new()).await;
        let expected = Rc::new(RefCell::new(Vec::new()));
        for round in 0..40 {
            let piece = pattern(round * 997);
            match round % 4 {
                0 => pair.client.write(&piece),
                1 => pair.client.write_bytes(piece.clone().into()),
                2 => pair.client.writelines([
                    &piece[..piece.len() / 2],
                    &[],
                    &piece[piece.len() / 2..],
                ]),
                _ => pair.client.writelines(piece.chunks(1000)),
            };
            expected.borrow_mut().extend(piece);
            if round % 7 == 0 {
                turns(1).await;
            }
        }
        pair.client.close();
        pair.lost().await;
        assert!(pair.server.log.received() == *expected.borrow());
    });
}

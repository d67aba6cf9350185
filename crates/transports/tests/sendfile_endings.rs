//! How the sending of a file ends early: closed, aborted, failed, cut short, dropped; and what follows.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

use bytes::Bytes;
use tidegate_protocols::{Flow, Transport, Turn, TurnError, Waiter};
use tidegate_testkit::{Callback, alone, open_descriptors, run};
use tidegate_transports::{SendfileError, sendfile};

mod files;
mod support;
use files::{ALL, Kind, MUCH, connected, file_of, much, pattern, position, stuck};
use support::{poll_once, turns};

#[test]
fn closing_ends_the_file_and_sends_what_was_written() {
    for kind in ALL {
        for linger in [false, true] {
            run(async {
                let (near, far) = connected(kind).await;
                let content = pattern(much(kind));
                let file = file_of(&content);
                let reports = support::keep_reports();
                let sending = stuck(&near, &far, &file).await;
                near.transport.write(b"behind");
                match linger {
                    false => near.transport.close(),
                    true => near.transport.close_lingering(100, std::time::Duration::from_secs(9)),
                }
                // F-08: a connection error for the waiting caller, and no stray report
                let error = sending.await.unwrap_err();
                let SendfileError::Failed { sent, error } = error else { panic!("{error:?}") };
                assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
                assert_eq!(position(&file), sent);
                far.transport.resume_reading();
                far.log.lost().await;
                near.log.lost().await;
                let expected = [&content[..sent as usize], b"behind"].concat();
                assert!(far.log.received() == expected, "{kind:?}");
                near.log.assert_complete();
                assert_eq!(near.log.cause().map(|cause| cause.to_string()), None);
                assert!(reports.borrow().is_empty());
            });
        }
    }
}

#[test]
fn abort_ends_the_file_and_drops_what_was_written() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let file = file_of(&pattern(much(kind)));
            let sending = stuck(&near, &far, &file).await;
            near.transport.write(b"behind");
            near.transport.abort();
            assert_eq!(near.transport.get_write_buffer_size(), 0);
            let error = sending.await.unwrap_err();
            assert_eq!(position(&file), error.sent());
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionAborted);
            near.log.lost().await;
            near.log.assert_complete();
            far.transport.abort();
        });
    }
}

#[test]
fn a_failing_callback_ends_the_file_with_its_cause() {
    run(async {
        let (near, far) = connected(Kind::Tcp).await;
        let file = file_of(&pattern(MUCH));
        let sending = stuck(&near, &far, &file).await;
        let cause = io::Error::new(io::ErrorKind::InvalidData, "nonsense");
        near.transport.fail(cause.into());
        let error = sending.await.unwrap_err();
        assert!(error.sent() > 0 && error.to_string().contains("nonsense"), "{error}");
        far.transport.abort();
    });
}

#[test]
fn a_peer_that_goes_away_is_an_error_of_the_connection() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let file = file_of(&pattern(much(kind)));
            let sending = stuck(&near, &far, &file).await;
            near.transport.write(b"behind");
            far.transport.abort();
            // F-06
            let error = sending.await.unwrap_err();
            let SendfileError::Failed { sent, error } = error else { panic!("{error:?}") };
            assert!(
                matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset),
                "{kind:?}: {error}"
            );
            assert!(sent > 0);
            assert_eq!(position(&file), sent);
            near.log.lost().await;
            near.log.assert_complete();
            assert_eq!(near.log.cause().map(|cause| cause.kind()), Some(error.kind()));
        });
    }
}

#[test]
fn a_file_cut_short_midway_sends_what_it_has() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let content = pattern(much(kind));
            let file = file_of(&content);
            let sending = stuck(&near, &far, &file).await;
            let sent = near.transport.statistics().bytes_sent;
            file.set_len(sent + 5).unwrap();
            far.transport.resume_reading();
            let sent = sending.await.unwrap();
            assert!(sent < content.len() as u64);
            near.transport.write(b"after");
            near.transport.close();
            far.log.lost().await;
            // The piece that was read before is sent, and so are pages on their way.
            assert_eq!(far.log.received_len() as u64, sent + 5, "{kind:?}");
            assert!(far.log.received().ends_with(b"after"));
        });
    }
}

#[test]
fn a_dropped_future_leaves_a_usable_transport() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let content = pattern(much(kind));
            let file = file_of(&content);
            let sending = stuck(&near, &far, &file).await;
            near.transport.write(b"behind");
            far.transport.write(b"question");
            // F-07
            drop(sending);
            // F-03: also after a cancellation
            let sent = position(&file) as usize;
            assert!(sent > 0 && sent < content.len());
            near.log.received_at_least(8).await;
            near.transport.write(b"!");
            let rest = sendfile(&near.transport, &file).offset(sent as u64);
            far.transport.resume_reading();
            rest.await.unwrap();
            near.transport.close();
            far.log.lost().await;
            let expected = [&content[..sent], b"behind!", &content[sent..]].concat();
            assert!(far.log.received() == expected, "{kind:?}");
            near.log.assert_complete();
        });
    }
}

#[test]
fn dropped_while_earlier_writes_are_sent_it_has_sent_nothing() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            far.transport.pause_reading();
            near.transport.write(&vec![b'<'; much(kind)]);
            let file = file_of(b"never");
            let mut sending = sendfile(&near.transport, &file).into_future();
            assert!(poll_once(&mut sending).await.is_none());
            near.transport.write(b"behind");
            drop(sending);
            assert_eq!(position(&file), 0);
            far.transport.resume_reading();
            near.transport.close();
            far.log.lost().await;
            assert_eq!(far.log.received_len(), much(kind) + 6);
        });
    }
}

#[test]
fn the_end_that_is_written_meanwhile_comes_behind_the_file() {
    for kind in ALL {
        for written in [&b""[..], b"last words"] {
            run(async {
                let (near, far) = connected(kind).await;
                let content = pattern(much(kind));
                let file = file_of(&content);
                let sending = stuck(&near, &far, &file).await;
                near.transport.write(written);
                near.transport.write_eof().unwrap();
                assert_eq!(near.transport.write(b"late"), Flow::Closed);
                turns(3).await;
                far.transport.resume_reading();
                sending.await.unwrap();
                far.log.until(|log| log.has(Callback::EofReceived)).await;
                assert!(far.log.received() == [&content, written].concat(), "{kind:?}");
            });
        }
    }
}

#[test]
fn every_descriptor_is_closed() {
    let _alone = alone();
    let before = open_descriptors();
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            let file = file_of(&pattern(much(kind)));
            let sending = stuck(&near, &far, &file).await;
            drop(sending);
            let again = sendfile(&near.transport, &file).into_future();
            far.transport.abort();
            let _failed = again.await;
            near.log.lost().await;
        });
    }
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_transport_of_a_closed_loop_is_closing() {
    let (kept, keep) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(None)));
    let (kept_too, keep_too) = (kept.clone(), keep.clone());
    run(async move {
        let (near, far) = connected(Kind::Memory).await;
        let file = Box::leak(Box::new(file_of(b"hello")));
        keep_too.set(Some(sendfile(&near.transport, &*file).into_future()));
        kept_too.set(Some((near, far)));
    });
    // The loop is closed, and its transports are lost.
    let mut sending = keep.take().unwrap();
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let polled = std::pin::Pin::new(&mut sending).poll(context);
    assert!(matches!(polled, std::task::Poll::Ready(Err(SendfileError::Closing))));
    drop(kept);
}

#[test]
fn a_flush_of_what_goes_first_does_not_wait_for_the_end_of_the_turn() {
    for kind in ALL {
        run(async {
            let (near, far) = connected(kind).await;
            far.transport.pause_reading();
            near.transport.write(&vec![b'<'; much(kind)]);
            let turn = near.transport.raw().take_turn().unwrap();
            let mut flush = pin!(near.transport.flush());
            assert!(poll_once(&mut flush).await.is_none());
            far.transport.resume_reading();
            flush.await.unwrap();
            assert_eq!(near.transport.get_write_buffer_size(), 0);
            drop(turn);
            near.transport.abort();
        });
    }
}

/// Takes the turn of a transport, and keeps it, when it is woken or dropped.
#[derive(Default)]
struct Takes;

thread_local! {
    static FROM: RefCell<Option<Transport>> = const { RefCell::new(None) };
    static GOT: RefCell<Option<Result<Box<dyn Turn>, TurnError>>> = const { RefCell::new(None) };
}

impl Takes {
    fn take() {
        let transport = FROM.take();
        if let Some(transport) = transport {
            GOT.set(Some(transport.raw().take_turn()));
        }
    }
}

impl Wake for Takes {
    fn wake(self: Arc<Self>) {
        Takes::take();
    }
}

/// Bytes whose owner does so.
struct Owner;

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &[b'<'; 4096]
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        Takes::take();
    }
}

#[test]
fn who_comes_back_while_the_turn_is_taken_is_the_only_one_to_have_it() {
    run(async {
        let (near, far) = connected(Kind::Tcp).await;
        near.transport.write_bytes(Bytes::from_owner(Owner));
        FROM.set(Some(near.transport.clone()));
        let late = near.transport.raw().take_turn();
        assert_eq!(late.err(), Some(TurnError::Taken));
        assert!(GOT.take().expect("the owner is gone").is_ok());
        assert!(near.transport.raw().take_turn().is_ok(), "it was given back");
        near.transport.abort();
        far.transport.abort();
    });
}

#[test]
fn who_is_woken_by_a_close_gets_no_turn_any_more() {
    run(async {
        let (near, far) = connected(Kind::Tcp).await;
        far.transport.pause_reading();
        let turn = near.transport.raw().take_turn().expect("nobody has it");
        let (waiter, waker) = (Waiter::new(), Arc::new(Takes).into());
        let fill = || turn.poll_write(&[0; 65_536], &waiter, &mut Context::from_waker(&waker));
        while fill().is_ready() {}
        FROM.set(Some(near.transport.clone()));
        near.transport.close();
        let taken = GOT.take().expect("it was woken");
        assert_eq!(taken.err(), Some(TurnError::Closing));
        assert!(matches!(fill(), Poll::Ready(Err(_))), "the turn is over");
        far.transport.resume_reading();
        near.log.lost().await;
    });
}

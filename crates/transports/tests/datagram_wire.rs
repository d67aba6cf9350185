//! Sending over a wire that is played by hand: refusals and errors that no socket brings on demand.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use rustix::io::Errno;
use tidegate_protocols::{Address, DatagramTransport, Flow, SendtoError};
use tidegate_reactor::{Interest, LoopHandle};
use tidegate_testkit::{run, turns};

mod datagrams;
use datagrams::{Diary, Played, Recorder, Told, quiet, somewhere, with_endpoint};

/// Sends these, and answers the calls that the wire was asked to make: size of the segments, and bytes.
async fn send_all(
    wire: &Played,
    transport: &DatagramTransport,
    sizes: &[usize],
) -> io::Result<Vec<(Option<usize>, usize)>> {
    let before = wire.calls().len();
    for size in sizes {
        transport.sendto(&vec![b'.'; *size], None)?;
    }
    wire.play().await;
    Ok(wire.calls()[before..].iter().map(|call| (call.size, call.data.len())).collect())
}

#[test]
fn equal_datagrams_of_a_step_leave_in_one_call() {
    with_endpoint(Played::joining(), quiet, |wire, transport, _diary| async move {
        // replaced: G-08
        let calls = send_all(&wire, &transport, &[100, 100, 100, 30]).await?;
        assert_eq!(calls, [(Some(100), 330)]);
        let calls = send_all(&wire, &transport, &[30, 100, 0, 0, 5]).await?;
        assert_eq!(calls, [(None, 30), (None, 100), (None, 0), (None, 0), (None, 5)]);
        // At most 64 of them, and at most what one packet carries.
        let calls = send_all(&wire, &transport, &[1; 130]).await?;
        assert_eq!(calls, [(Some(1), 64), (Some(1), 64), (Some(1), 2)]);
        let calls = send_all(&wire, &transport, &[1200; 60]).await?;
        assert_eq!(calls, [(Some(1200), 54 * 1200), (Some(1200), 6 * 1200)]);
        Ok(())
    });
    with_endpoint(Played::default(), quiet, |wire, transport, _diary| async move {
        let calls = send_all(&wire, &transport, &[100, 100]).await?;
        assert_eq!(calls, [(None, 100), (None, 100)], "a wire that cannot is not asked to");
        Ok(())
    });
}

#[test]
fn a_kernel_that_refuses_segments_is_not_asked_again_and_nothing_is_lost_or_doubled() {
    for errno in [Errno::IO, Errno::INVAL, Errno::OPNOTSUPP, Errno::NOPROTOOPT] {
        with_endpoint(Played::joining(), quiet, move |wire, transport, diary| async move {
            wire.answers([Some(errno.into())]);
            let calls = send_all(&wire, &transport, &[10, 10, 4]).await?;
            assert_eq!(calls, [(Some(10), 24), (None, 10), (None, 10), (None, 4)], "{errno}");
            let calls = send_all(&wire, &transport, &[10, 10]).await?;
            assert_eq!(calls, [(None, 10), (None, 10)]);
            let lengths: Vec<usize> = wire.delivered().iter().map(Vec::len).collect();
            assert_eq!(lengths, [10, 10, 4, 10, 10]);
            assert_eq!(diary.entries(), [Told::Made], "the protocol is told nothing");
            Ok(())
        });
    }
    // A route that cannot carry the size says nothing about smaller ones.
    with_endpoint(Played::joining(), quiet, |wire, transport, _diary| async move {
        wire.answers([Some(Errno::MSGSIZE.into())]);
        let calls = send_all(&wire, &transport, &[1500, 1500]).await?;
        assert_eq!(calls, [(Some(1500), 3000), (None, 1500), (None, 1500)]);
        let calls = send_all(&wire, &transport, &[1500, 1500, 1400, 1400]).await?;
        assert_eq!(calls, [(None, 1500), (None, 1500), (None, 1400), (None, 1400)]);
        let calls = send_all(&wire, &transport, &[1400, 1400]).await?;
        assert_eq!(calls, [(Some(1400), 2800)]);
        Ok(())
    });
}

#[test]
fn an_address_that_refuses_each_one_says_nothing_about_sending_together() {
    with_endpoint(Played::joining(), quiet, |wire, transport, diary| async move {
        // So Linux answers whatever goes to port 0, which anybody can name as his own.
        wire.answers((0..4).map(|_| Some(Errno::INVAL.into())));
        let calls = send_all(&wire, &transport, &[10, 10, 10]).await?;
        let expected = [(Some(10), 30), (None, 10), (Some(10), 20), (None, 10), (None, 10)];
        assert_eq!(calls, expected);
        let invalid = Told::Error(io::ErrorKind::InvalidInput);
        assert_eq!(diary.entries(), [Told::Made, invalid.clone(), invalid]);
        assert_eq!(send_all(&wire, &transport, &[10, 10]).await?, [(Some(10), 20)]);
        Ok(())
    });
}

#[test]
fn an_error_drops_the_datagram_that_met_it_and_no_other() {
    let no_room = || Some(Errno::NOBUFS.into());
    with_endpoint(Played::joining(), quiet, move |wire, transport, diary| async move {
        // Together, then one by one; the second of them is the one.
        wire.answers([no_room(), None, no_room()]);
        for byte in b'a'..=b'd' {
            transport.sendto(&[byte], None)?;
        }
        wire.play().await;
        // G-11
        assert_eq!(wire.delivered(), [b"a", b"c", b"d"]);
        let kind = io::Error::from(Errno::NOBUFS).kind();
        assert_eq!(diary.entries(), [Told::Made, Told::Error(kind)]);
        let statistics = transport.statistics();
        assert_eq!((statistics.datagrams_sent, statistics.datagrams_dropped), (3, 1));
        assert_eq!(transport.get_write_buffer_size(), 0);
        Ok(())
    });
    with_endpoint(Played::joining(), quiet, |wire, transport, diary| async move {
        // It was about an earlier datagram, as an answer of ICMP is: all of these go, and it is told.
        wire.answers([Some(Errno::CONNREFUSED.into())]);
        for byte in b'a'..=b'c' {
            transport.sendto(&[byte], None)?;
        }
        wire.play().await;
        assert_eq!(wire.delivered(), [b"a", b"b", b"c"]);
        let refused = Told::Error(io::ErrorKind::ConnectionRefused);
        assert_eq!(diary.entries(), [Told::Made, refused]);
        Ok(())
    });
}

#[test]
fn an_error_ends_the_round_and_the_rest_follows_when_the_wire_is_writable() {
    let watched = Rc::new(RefCell::new(Vec::new()));
    let (note, wire) = (watched.clone(), Played::default());
    let seen = wire.clone();
    let script = move |_: &DatagramTransport, told: &Told| {
        if matches!(told, Told::Error(_)) {
            note.borrow_mut().extend([seen.delivered().len()]);
        }
        Ok(())
    };
    with_endpoint(wire, script, |wire, transport, _diary| async move {
        wire.answers([None, Some(Errno::NETUNREACH.into())]);
        for byte in b'a'..=b'd' {
            transport.sendto(&[byte], None)?;
        }
        wire.play().await;
        // G-11
        assert_eq!(*watched.borrow(), [1], "it is told before the rest is sent");
        assert_eq!(wire.delivered(), [b"a", b"c", b"d"]);
        assert_eq!(wire.interest(), Some(Interest::READ), "it has stopped watching");
        Ok(())
    });
}

#[test]
fn what_the_system_does_not_take_waits_in_order_and_is_counted() {
    with_endpoint(Played::joining(), quiet, |wire, transport, diary| async move {
        transport.set_write_buffer_limits(Some(40), Some(20))?;
        wire.set_full(true);
        // G-08 G-09: 12 bytes each, and a copy
        let mut data = *b"data";
        for number in b'1'..=b'3' {
            data[0] = number;
            assert_eq!(transport.sendto(&data, None)?, Flow::Open);
        }
        turns(2).await;
        assert_eq!(transport.get_write_buffer_size(), 36);
        assert_eq!(wire.interest(), Some(Interest::BOTH));
        assert_eq!(transport.sendto(b"", None)?, Flow::Paused, "44 are more than 40");
        turns(2).await;
        assert_eq!(diary.entries(), [Told::Made, Told::Pause]);
        assert_eq!(transport.statistics().waiting, 4);

        wire.set_full(false);
        wire.play().await;
        assert_eq!(diary.entries(), [Told::Made, Told::Pause, Told::Resume]);
        // G-10
        assert_eq!((transport.get_write_buffer_size(), transport.flow()), (0, Flow::Open));
        let sent = wire.delivered();
        assert_eq!(sent, [&b"1ata"[..], b"2ata", b"3ata", b""]);
        // T-45 T-46 T-48
        assert!(transport.set_write_buffer_limits(Some(0), Some(1)).is_err());
        let limits = transport.get_write_buffer_limits();
        assert_eq!((limits.low(), limits.high()), (20, 40));
        Ok(())
    });
}

#[test]
fn lower_limits_pause_at_once_and_higher_ones_do_not_resume() {
    with_endpoint(Played::default(), quiet, |wire, transport, diary| async move {
        wire.set_full(true);
        transport.sendto(b"12345678", None)?;
        turns(2).await;
        transport.set_write_buffer_limits(Some(15), None)?;
        turns(2).await;
        // T-48
        assert_eq!(diary.count(&Told::Pause), 1);
        transport.set_write_buffer_limits(None, None)?;
        turns(2).await;
        assert_eq!(diary.count(&Told::Resume), 0);
        // T-51
        transport.abort();
        transport.closed().await;
        assert_eq!((diary.count(&Told::Resume), transport.get_write_buffer_size()), (0, 0));
        Ok(())
    });
}

#[test]
fn a_close_sends_what_waits_and_more_until_then() {
    with_endpoint(Played::default(), quiet, |wire, transport, diary| async move {
        wire.set_full(true);
        transport.sendto(b"a", None)?;
        turns(2).await;
        transport.close();
        // G-12
        assert_eq!(transport.sendto(b"b", None)?, Flow::Open);
        wire.play().await;
        assert!(!diary.has(&Told::Lost(None)));
        wire.set_full(false);
        wire.play().await;
        assert_eq!(wire.delivered(), [b"a", b"b"]);
        assert_eq!(diary.entries(), [Told::Made, Told::Lost(None), Told::Dropped]);
        // replaced: G-13
        assert_eq!(transport.sendto(b"c", None)?, Flow::Closed);
        assert_eq!(transport.sendto(b"c", &somewhere(1))?, Flow::Closed);
        Ok(())
    });
}

#[test]
fn an_abort_drops_what_was_refused_and_offers_once_what_was_not() {
    with_endpoint(Played::default(), quiet, |wire, transport, diary| async move {
        transport.sendto(b"a", None)?;
        transport.abort();
        // G-12
        assert_eq!(wire.delivered(), [b"a"], "it was offered");
        assert!(!diary.has(&Told::Lost(None)), "not from inside of a call");
        wire.play().await;
        assert_eq!(diary.entries(), [Told::Made, Told::Lost(None), Told::Dropped]);
        Ok(())
    });
    with_endpoint(Played::default(), quiet, |wire, transport, _diary| async move {
        wire.set_full(true);
        transport.sendto(b"a", None)?;
        turns(2).await;
        let flush = transport.flush();
        wire.set_full(false);
        transport.abort();
        assert!(flush.await.is_err(), "it was dropped");
        // G-10 G-12
        assert_eq!((wire.delivered().len(), transport.get_write_buffer_size()), (0, 0));
        assert_eq!(transport.statistics().datagrams_dropped, 1);
        Ok(())
    });
}

#[test]
fn a_full_wire_that_calls_itself_writable_is_not_asked_all_the_time() {
    with_endpoint(Played::default(), quiet, |wire, transport, _diary| async move {
        // It would have to wait, whatever it says.
        wire.answers((0..3).map(|_| Some(io::ErrorKind::WouldBlock.into())));
        transport.sendto(b"a", None)?;
        turns(2).await;
        assert_eq!(wire.calls().len(), 1);
        let handle = LoopHandle::current()?;
        let before = handle.time();
        while wire.delivered().is_empty() {
            wire.play().await;
        }
        assert!(handle.time() - before >= std::time::Duration::from_millis(2), "two rests");
        assert_eq!(wire.calls().len(), 4);
        Ok(())
    });
}

#[test]
fn where_it_can_be_sent_is_found_out_first() {
    let refused =
        |transport: &DatagramTransport, to: Option<&Address>| match transport.sendto(b"x", to) {
            Err(error) => Ok(error),
            Ok(_) => Err(io::Error::other("it was accepted")),
        };
    with_endpoint(Played::default(), quiet, move |wire, transport, _diary| async move {
        // G-05
        let remote = somewhere(7);
        let error = refused(&transport, Some(&somewhere(8)))?;
        assert_eq!(error, SendtoError::OtherAddress { remote: remote.clone() });
        transport.sendto(b"y", &remote)?;
        wire.play().await;
        let sent = wire.calls();
        assert_eq!(sent.len(), 1);
        assert_eq!((&*sent[0].data, &sent[0].to), (&b"y"[..], &None), "it is connected");
        Ok(())
    });
    run(async move {
        let wire = Played::default();
        let transport = wire.open(Recorder::new(&Diary::default()), None).await?;
        // G-06
        assert_eq!(refused(&transport, None)?, SendtoError::NoAddress);
        let address = Address::Unnamed;
        let wrong = SendtoError::WrongAddress { address: address.clone() };
        assert_eq!(refused(&transport, Some(&address))?, wrong);
        assert_eq!((transport.is_closing(), wire.calls().len()), (false, 0));
        transport.sendto(b"y", &somewhere(8))?;
        turns(2).await;
        assert_eq!(wire.calls()[0].to, Some(somewhere(8)));
        transport.abort();
        transport.closed().await;
        // replaced: G-13
        assert_eq!(transport.sendto(b"z", None)?, Flow::Closed);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

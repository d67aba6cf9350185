//! Callbacks of an endpoint over a wire that is played by hand: batches, and callbacks that fail.

#![cfg(not(windows))]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use rustix::io::Errno;
use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport, Flow, WithProtocolError};
use tidegate_reactor::Interest;
use tidegate_testkit::run;

mod datagrams;
mod support;
use datagrams::{Diary, Played, Recorder, Told, datagram, quiet, somewhere, with_endpoint};
use support::{keep_reports, messages};

#[test]
fn a_batch_is_delivered_one_by_one_and_the_last_is_what_is_left() {
    with_endpoint(Played::default(), quiet, |wire, transport, diary| async move {
        wire.comes(b"aaabbbc", 3);
        wire.comes(b"", 0);
        wire.comes(b"dddd", 4);
        wire.play().await;
        // G-01 G-07
        let expected = [Told::Made, datagram(b"aaa"), datagram(b"bbb"), datagram(b"c")];
        assert_eq!(diary.entries()[..4], expected);
        assert_eq!(diary.datagrams()[3..], [b"".to_vec(), b"dddd".to_vec()]);
        assert!(diary.senders().iter().all(|from| *from == somewhere(9)));
        let statistics = transport.statistics();
        assert_eq!((statistics.datagrams_received, statistics.bytes_received), (5, 11));
        Ok(())
    });
}

#[test]
fn a_pause_in_the_middle_of_a_batch_keeps_the_rest_in_order() {
    let pause = |transport: &DatagramTransport, told: &Told| {
        if *told == datagram(b"b") || *told == datagram(b"c") {
            transport.pause_reading();
        }
        Ok(())
    };
    with_endpoint(Played::default(), pause, |wire, transport, diary| async move {
        wire.comes(b"abcd", 1);
        wire.comes(b"ef", 1);
        wire.play().await;
        assert_eq!(diary.datagrams(), [b"a", b"b"]);
        assert!(!transport.is_reading());

        transport.resume_reading();
        assert_eq!(diary.datagrams().len(), 2, "nothing comes out of the call itself");
        wire.play().await;
        assert_eq!(diary.datagrams(), [b"a", b"b", b"c"], "nothing newer overtakes");
        // A pause and a resume before the loop has come round are as none; it pauses while it holds some.
        transport.resume_reading();
        transport.pause_reading();
        wire.play().await;
        assert_eq!(diary.datagrams().len(), 3);
        transport.resume_reading();
        wire.play().await;
        assert_eq!(diary.datagrams(), [b"a", b"b", b"c", b"d", b"e", b"f"]);
        assert_eq!(wire.interest(), Some(Interest::READ));
        Ok(())
    });
}

#[test]
fn a_readiness_that_leads_to_many_receives_ends_with_a_pause_or_a_close() {
    let script = |transport: &DatagramTransport, told: &Told| {
        match told {
            Told::Datagram(data) if data == b"pause" => transport.pause_reading(),
            Told::Datagram(data) if data == b"close" => transport.close(),
            _ => {}
        }
        Ok(())
    };
    with_endpoint(Played::default(), script, |wire, transport, diary| async move {
        // It learns that many come together.
        for number in 0..=255 {
            wire.comes(&[number], 1);
        }
        wire.play().await;
        wire.play().await;
        // replaced: G-01
        assert_eq!(diary.datagrams(), (0..=255).map(|number| vec![number]).collect::<Vec<_>>());

        for data in [&b"a"[..], b"pause", b"b", b"c"] {
            wire.comes(data, data.len());
        }
        wire.play().await;
        assert_eq!(diary.datagrams()[256..], [&b"a"[..], b"pause"]);
        assert_eq!((wire.waiting(), wire.interest()), (2, Some(Interest::NONE)));
        transport.resume_reading();
        wire.play().await;
        assert_eq!(diary.datagrams()[258..], [b"b", b"c"]);

        wire.comes(b"d", 1);
        wire.fails(Errno::CONNREFUSED);
        wire.comes(b"e", 1);
        wire.play().await;
        let refused = Told::Error(io::ErrorKind::ConnectionRefused);
        assert!(diary.entries().ends_with(&[datagram(b"d"), refused, datagram(b"e")]));

        for data in [&b"f"[..], b"close", b"g"] {
            wire.comes(data, data.len());
        }
        wire.play().await;
        let last = [datagram(b"f"), datagram(b"close"), Told::Lost(None), Told::Dropped];
        assert!(diary.entries().ends_with(&last));
        assert_eq!(wire.waiting(), 1);
        Ok(())
    });
}

#[test]
fn a_pause_of_the_flow_is_told_before_more_is_received() {
    // An echo that holds back.
    let script = |transport: &DatagramTransport, told: &Told| {
        match told {
            Told::Datagram(data) => drop(transport.sendto(data, None)?),
            Told::Pause => transport.pause_reading(),
            Told::Resume => transport.resume_reading(),
            _ => {}
        }
        Ok(())
    };
    with_endpoint(Played::default(), script, |wire, transport, diary| async move {
        transport.set_write_buffer_limits(Some(0), None)?;
        let all: Vec<Vec<u8>> = (0..=255).map(|number| vec![number]).collect();
        // One, two, four and so on at a time, up to 32: the next readiness is worth more.
        all[..63].iter().for_each(|data| wire.comes(data, 1));
        wire.play().await;
        assert_eq!(wire.delivered(), all[..63]);
        wire.set_full(true);
        all[63..].iter().for_each(|data| wire.comes(data, 1));
        wire.play().await;
        assert_eq!((diary.datagrams().len(), transport.statistics().waiting), (64, 1));
        wire.set_full(false);
        while wire.delivered().len() < all.len() {
            wire.play().await;
        }
        assert_eq!(wire.delivered(), all);
        Ok(())
    });
}

#[test]
fn a_pause_and_a_resume_in_one_callback_lose_nothing() {
    let blink = |transport: &DatagramTransport, told: &Told| {
        if matches!(told, Told::Datagram(_)) {
            transport.pause_reading();
            transport.resume_reading();
        }
        Ok(())
    };
    with_endpoint(Played::default(), blink, |wire, _transport, diary| async move {
        wire.comes(b"abc", 1);
        wire.comes(b"d", 1);
        wire.play().await;
        assert_eq!(diary.datagrams(), [b"a", b"b", b"c", b"d"]);
        Ok(())
    });
}

#[test]
fn a_close_or_an_abort_in_the_middle_of_a_batch_drops_the_rest() {
    for abort in [false, true] {
        let end = move |transport: &DatagramTransport, told: &Told| {
            if *told == datagram(b"b") {
                if abort { transport.abort() } else { transport.close() }
            }
            Ok(())
        };
        with_endpoint(Played::default(), end, |wire, _transport, diary| async move {
            wire.comes(b"abcd", 1);
            wire.play().await;
            let told = diary.entries();
            let expected =
                [Told::Made, datagram(b"a"), datagram(b"b"), Told::Lost(None), Told::Dropped];
            assert_eq!(told, expected);
            Ok(())
        });
    }
}

#[test]
fn a_close_while_a_rest_is_held_drops_it() {
    let pause = |transport: &DatagramTransport, told: &Told| {
        if matches!(told, Told::Datagram(_)) {
            transport.pause_reading();
        }
        Ok(())
    };
    with_endpoint(Played::default(), pause, |wire, transport, diary| async move {
        wire.comes(b"ab", 1);
        wire.play().await;
        transport.resume_reading();
        transport.close();
        wire.play().await;
        assert_eq!(diary.datagrams(), [b"a"]);
        assert!(diary.has(&Told::Lost(None)));
        Ok(())
    });
}

#[test]
fn a_change_of_protocol_in_the_middle_of_a_batch_gives_the_rest_to_the_new_one() {
    let second = Diary::default();
    let given = second.clone();
    let change = move |transport: &DatagramTransport, told: &Told| {
        if *told == datagram(b"b") {
            transport.set_protocol(Recorder::new(&given));
        }
        Ok(())
    };
    let diary = Diary::default();
    run(async {
        let wire = Played::default();
        let transport = wire.open(Recorder::doing(&diary, change), Some(somewhere(7))).await?;
        wire.comes(b"abcd", 1);
        wire.play().await;
        let first = [Told::Made, datagram(b"a"), datagram(b"b"), Told::Dropped];
        assert_eq!(diary.entries(), first);
        assert_eq!(second.entries(), [datagram(b"c"), datagram(b"d")]);
        transport.close();
        transport.closed().await;
        assert!(second.has(&Told::Lost(None)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_callback_that_fails_is_reported_and_the_endpoint_goes_on() {
    let fail = |_: &DatagramTransport, told: &Told| match told {
        Told::Datagram(data) if data == b"a" => Err(io::Error::other("a bad packet")),
        Told::Datagram(data) if data == b"b" => panic!("a worse packet"),
        Told::Error(_) => Err(Errno::NOENT.into()),
        _ => Ok(()),
    };
    with_endpoint(Played::default(), fail, |wire, transport, diary| async move {
        let reports = keep_reports();
        wire.comes(b"abc", 1);
        wire.fails(Errno::CONNREFUSED);
        wire.comes(b"d", 1);
        wire.play().await;
        // G-04
        let received = "Exception in protocol.datagram_received()";
        let expected = [received, received, "Exception in protocol.error_received()"];
        assert_eq!(messages(&reports), expected);
        assert_eq!(diary.datagrams(), [b"a", b"b", b"c", b"d"]);
        assert!(!transport.is_closing());
        Ok(())
    });
}

#[test]
fn a_notice_that_panics_is_reported_and_the_flow_goes_on() {
    let fail = |_: &DatagramTransport, told: &Told| {
        assert!(!matches!(told, Told::Pause | Told::Resume), "on purpose");
        Ok(())
    };
    with_endpoint(Played::default(), fail, |wire, transport, diary| async move {
        let reports = keep_reports();
        transport.set_write_buffer_limits(Some(0), None)?;
        wire.set_full(true);
        transport.sendto(b"x", None)?;
        wire.play().await;
        wire.set_full(false);
        wire.play().await;
        let names = ["pause_writing", "resume_writing"];
        assert_eq!(messages(&reports), names.map(|name| format!("Exception in protocol.{name}()")));
        assert_eq!((diary.count(&Told::Pause), diary.count(&Told::Resume)), (1, 1));
        assert_eq!(transport.flow(), Flow::Open);
        Ok(())
    });
}

#[test]
fn a_greeting_that_panics_ends_the_endpoint() {
    let diary = Diary::default();
    run(async {
        let reports = keep_reports();
        let wire = Played::default();
        let fail = |_: &DatagramTransport, told: &Told| {
            assert_ne!(*told, Told::Made, "no welcome");
            Ok(())
        };
        let transport = wire.open(Recorder::doing(&diary, fail), None).await?;
        let cause = transport.closed().await.expect("a cause");
        assert!(cause.to_string().contains("no welcome"), "{cause}");
        let lost = Told::Lost(Some(io::ErrorKind::Other));
        assert_eq!(diary.entries(), [Told::Made, lost, Told::Dropped]);
        assert_eq!(messages(&reports), ["Exception in protocol.connection_made()"]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn errors_of_the_system_are_told_and_others_end_the_endpoint() {
    with_endpoint(Played::default(), quiet, |wire, transport, diary| async move {
        let reports = keep_reports();
        wire.fails(Errno::CONNREFUSED);
        wire.fails(io::ErrorKind::WouldBlock);
        wire.fails(Errno::INTR);
        wire.comes(b"a", 1);
        wire.play().await;
        // G-02
        let refused = Told::Error(io::ErrorKind::ConnectionRefused);
        assert_eq!(diary.entries(), [Told::Made, refused, datagram(b"a")]);
        wire.fails(io::Error::new(io::ErrorKind::InvalidData, "no error of the system"));
        wire.play().await;
        // G-03
        assert_eq!(messages(&reports), ["Fatal read error on datagram transport"]);
        assert!(diary.has(&Told::Lost(Some(io::ErrorKind::InvalidData))));
        assert!(transport.is_closing());
        Ok(())
    });
    with_endpoint(Played::default(), quiet, |wire, transport, diary| async move {
        let reports = keep_reports();
        wire.answers([Some(io::Error::new(io::ErrorKind::InvalidData, "no error of the system"))]);
        transport.sendto(b"a", None)?;
        wire.play().await;
        // G-03
        assert_eq!(messages(&reports), ["Fatal write error on datagram transport"]);
        assert!(diary.has(&Told::Lost(Some(io::ErrorKind::InvalidData))));
        Ok(())
    });
}

#[test]
fn a_protocol_is_seen_by_its_type_and_not_while_it_is_called() {
    struct Counter(u32);
    impl DatagramProtocol for Counter {
        fn datagram_received(
            &mut self,
            transport: &DatagramTransport,
            _data: &[u8],
            _from: &Address,
        ) -> io::Result<()> {
            let seen = transport.with_protocol(|counter: &mut Counter| counter.0);
            assert_eq!(seen, Err(WithProtocolError::Busy));
            self.0 += 1;
            Ok(())
        }
    }
    run(async {
        let wire = Played::default();
        let share = Rc::new(RefCell::new(Counter(0)));
        let transport = wire.open(share.clone(), None).await?;
        wire.comes(b"abc", 1);
        wire.play().await;
        assert_eq!(transport.with_protocol(|counter: &mut Counter| counter.0), Ok(3));
        let other = transport.with_protocol(|_: &mut Recorder| ());
        assert_eq!(other, Err(WithProtocolError::OtherType));

        // A share that is held misses datagrams, which is reported, and the endpoint goes on.
        let reports = keep_reports();
        wire.comes(b"d", 1);
        hold(&share, wire.play()).await;
        assert_eq!(messages(&reports), ["Exception in protocol.datagram_received()"]);
        assert!(!transport.is_closing());

        transport.abort();
        transport.closed().await;
        let lost = transport.with_protocol(|_: &mut Counter| ());
        assert_eq!(lost, Err(WithProtocolError::Lost));
        assert_eq!(Rc::strong_count(&share), 1, "the protocol is let go of");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Holds a borrow across an await, as one should not.
#[expect(clippy::await_holding_refcell_ref, reason = "that is what is tried")]
async fn hold<T>(share: &RefCell<T>, meanwhile: impl Future<Output = ()>) {
    let held = share.borrow_mut();
    meanwhile.await;
    drop(held);
}

#[test]
fn a_change_of_protocol_that_panics_ends_the_endpoint() {
    struct Bad;
    impl DatagramProtocol for Bad {}
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("a destructor that fails");
        }
    }
    run(async {
        let reports = keep_reports();
        let wire = Played::default();
        let transport = wire.open(Bad, None).await?;
        transport.set_protocol(Recorder::new(&Diary::default()));
        let cause = transport.closed().await.expect("a cause");
        assert!(cause.to_string().contains("a destructor that fails"), "{cause}");
        assert_eq!(messages(&reports), ["Fatal error: a change of protocol failed."]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

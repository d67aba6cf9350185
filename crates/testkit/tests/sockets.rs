//! What only a real socket shows: resets, the system's buffers, descriptors, and how much work is done.

mod loopback;

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use loopback::open;
use rustix::net::sockopt::set_socket_linger;
use tidegate_protocols::{Address, AtEof, Flow, PeerName, SockName, Transport};
use tidegate_reactor::{LoopHandle, Report, sleep};
use tidegate_testkit::{Callback, Event, Log, Recorder, alone, open_descriptors, run, watched};

/// Two connected sockets, with the buffers that the system gives.
fn sockets() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// A transport with a recorder on one socket, and the other socket.
fn half_open(recorder: Recorder) -> (Transport, Log, TcpStream) {
    let (near, far) = sockets().expect("sockets");
    let log = recorder.log();
    let transport = open(near, Box::new(recorder), None).expect("a transport");
    (transport, log, far)
}

/// Closes a socket so that the peer gets a RST.
fn reset(socket: TcpStream) {
    set_socket_linger(&socket, Some(Duration::ZERO)).expect("SO_LINGER");
}

/// Writes until the system refuses, and answers how many bytes were written.
async fn stuff(transport: &Transport, log: &Log) -> usize {
    let mut written = 0;
    while transport.write(&[b's'; 65536]) == Flow::Open {
        written += 65536;
    }
    log.until(|log| log.has(Callback::PauseWriting)).await;
    written + 65536
}

/// Lets the loop take so many turns, none of which waits.
async fn turns(count: usize) {
    for _ in 0..count {
        sleep(Duration::ZERO).await.expect("an open loop");
    }
}

/// Collects what the exception handler is told.
fn reports() -> Rc<RefCell<Vec<String>>> {
    let reports = Rc::<RefCell<Vec<String>>>::default();
    let share = reports.clone();
    let handle = LoopHandle::current().expect("a running loop");
    handle.set_exception_handler(Some(move |report: &Report| {
        share.borrow_mut().push(report.to_string());
    }));
    reports
}

// T-13 T-18
#[test]
fn a_reset_is_the_cause_of_the_loss_and_nobody_elses_business() {
    run(async {
        let reports = reports();
        let (_transport, log, far) = half_open(Recorder::new());
        log.made().await;
        reset(far);
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::ConnectionReset))]);
        let cause = log.cause().expect("a cause");
        assert_eq!(cause.raw_os_error(), Some(rustix::io::Errno::CONNRESET.raw_os_error()));
        turns(5).await;
        assert!(reports.borrow().is_empty());
    });
}

// T-11 T-13: a paused connection learns of it when it reads again, and can ask before.
#[test]
fn a_reset_of_a_paused_connection_is_seen_when_it_resumes() {
    run(async {
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        transport.pause_reading();
        reset(far);
        while !transport.peer_hung_up() {
            turns(1).await;
        }
        log.assert(&[Event::Made]);
        transport.resume_reading();
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(Some(ErrorKind::ConnectionReset))]);
        assert!(transport.peer_hung_up(), "forgotten with the loss");
    });
}

// T-13: and it is not reported turn after turn, so that the loop can wait for something else.
#[test]
fn a_reset_of_a_paused_connection_does_not_spin() {
    run(async {
        let handle = LoopHandle::current().expect("a running loop");
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        transport.pause_reading();
        reset(far);
        while !transport.peer_hung_up() {
            turns(1).await;
        }
        let before = handle.statistics().events;
        turns(50).await;
        assert_eq!(handle.statistics().events, before);
        transport.abort();
        log.lost().await;
    });
}

// T-39
#[test]
fn a_reset_during_the_last_flush_is_told() {
    run(async {
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        stuff(&transport, &log).await;
        transport.close();
        reset(far);
        log.lost().await;
        let cause = log.cause().expect("a cause");
        assert!(
            matches!(cause.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            "{cause}"
        );
        log.assert(&[Event::Made, Event::Paused, Event::Lost(Some(cause.kind()))]);
    });
}

// replaced: T-34. T-18: EPIPE ends the connection, and SIGPIPE does not end the process.
#[test]
fn a_write_to_a_peer_that_is_gone_fails_later_and_silently() {
    run(async {
        let reports = reports();
        let (transport, log, far) = half_open(Recorder::new().at_eof(AtEof::KeepWriting));
        log.made().await;
        drop(far);
        log.until(|log| log.has(Callback::EofReceived)).await;
        while !log.has(Callback::ConnectionLost) {
            transport.write(b"anyone there?");
            turns(1).await;
        }
        assert!(log.cause().expect("a cause").is_os_error());
        turns(5).await;
        assert!(reports.borrow().is_empty());
    });
}

// T-33
#[test]
fn many_thousand_small_writes_arrive_in_order() {
    run(async {
        let (transport, log, mut far) = half_open(Recorder::new());
        log.made().await;
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            far.read_to_end(&mut all).map(|_| all)
        });
        let mut sent = Vec::new();
        transport.set_write_buffer_limits(Some(usize::MAX), Some(0)).expect("the widest limits");
        for number in 0..100_000_u32 {
            let piece = number.to_be_bytes();
            transport.write(&piece);
            sent.extend(piece);
        }
        transport.close();
        log.lost().await;
        let received = reader.join().expect("the reader").expect("no error");
        assert!(received == sent, "{} bytes of {} arrived", received.len(), sent.len());
    });
}

// T-35: a running counter; adding all chunks up again for each write took time with their square.
#[test]
fn counting_what_waits_does_not_slow_writing_down() {
    run(async {
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        transport.set_write_buffer_limits(Some(usize::MAX), Some(0)).expect("the widest limits");
        while transport.get_write_buffer_size() < 65536 {
            transport.write(&[0; 65536]);
        }
        let piece = Bytes::from(vec![7; 8192]);
        let write = |count: usize| {
            let time = Instant::now();
            let before = transport.get_write_buffer_size();
            for number in 1..=count {
                transport.write_bytes(piece.clone());
                assert_eq!(transport.get_write_buffer_size(), before + number * piece.len());
            }
            time.elapsed()
        };
        let fastest_of_five = || (0..5).map(|_| write(200)).min().expect("five");
        let behind_few = fastest_of_five();
        write(50_000);
        let behind_many = fastest_of_five();
        let bound = behind_few * 8 + Duration::from_millis(1);
        assert!(behind_many < bound, "{behind_few:?} behind few, {behind_many:?} behind many");
        transport.abort();
        log.lost().await;
        drop(far);
    });
}

// T-04
#[test]
fn the_descriptor_is_closed_right_after_the_loss() {
    watched(|| {
        let _alone = alone();
        for fails in [false, true] {
            run(async {
                let reports = reports();
                let (near, far) = sockets().expect("sockets");
                let counted = open_descriptors();
                let left = Recorder::new().once(Callback::ConnectionLost, |_| ());
                let left = if fails { left.panicking(Callback::ConnectionLost) } else { left };
                let log = left.log();
                let transport = open(near, Box::new(left), None).expect("a transport");
                log.made().await;
                assert_eq!(open_descriptors(), counted);
                transport.close();
                log.lost().await;
                // The task goes on in the turn of the loss, with the handle still in hand.
                assert_eq!(open_descriptors(), counted - 1);
                turns(5).await;
                assert_eq!(reports.borrow().len(), usize::from(fails));
                drop((transport, far));
            });
        }
    });
}

// T-04: whatever becomes of a connection, its descriptor does not stay.
#[test]
fn no_ending_leaks_a_descriptor() {
    watched(|| {
        let _alone = alone();
        let ends: [fn(&Transport); 5] = [
            Transport::close,
            Transport::abort,
            |transport| {
                transport.write(&[0; 1 << 22]);
                transport.abort();
            },
            |transport| transport.close_lingering(1 << 20, Duration::from_secs(5)),
            // The loop closes with the connection open.
            |_| (),
        ];
        run(async {});
        let before = open_descriptors();
        for end in ends {
            run(async {
                let (transport, log, far) = half_open(Recorder::new());
                log.made().await;
                end(&transport);
                drop(far);
                if transport.is_closing() {
                    log.lost().await;
                }
            });
            assert_eq!(open_descriptors(), before);
        }
    });
}

// T-57: what the system has taken before is sent, and the descriptor is not kept for the rest.
#[test]
fn an_abort_closes_the_socket_of_a_peer_that_does_not_read() {
    run(async {
        let (transport, log, mut far) = half_open(Recorder::new());
        log.made().await;
        let written = stuff(&transport, &log).await;
        transport.abort();
        assert_eq!(transport.get_write_buffer_size(), 0);
        log.lost().await;
        log.assert(&[Event::Made, Event::Paused, Event::Lost(None)]);
        let mut received = Vec::new();
        far.read_to_end(&mut received).expect("no error");
        assert!(received.len() < written);
    });
}

// T-56: close waits for a peer that does not read, for ever if need be; abort still works.
#[test]
fn a_close_waits_for_the_peer_and_an_abort_does_not() {
    run(async {
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        stuff(&transport, &log).await;
        transport.close();
        turns(50).await;
        assert!(!log.has(Callback::ConnectionLost));
        transport.abort();
        log.lost().await;
        log.assert(&[Event::Made, Event::Paused, Event::Lost(None)]);
        drop(far);
    });
}

// T-55: the peer reads the end, and can still write.
#[test]
fn write_eof_is_the_shutdown_of_one_direction() {
    run(async {
        let (transport, log, mut far) = half_open(Recorder::new());
        log.made().await;
        transport.write(b"question");
        transport.write_eof().expect("a half close");
        let mut question = Vec::new();
        far.read_to_end(&mut question).expect("no error");
        assert_eq!(question, b"question");
        far.write_all(b"answer").expect("no error");
        drop(far);
        log.lost().await;
        log.assert(&[Event::Made, Event::data("answer"), Event::Eof, Event::Lost(None)]);
    });
}

// replaced: T-31: bytes that wait for the end of a step leave before the loop returns.
#[test]
fn what_was_written_last_leaves_before_the_loop_returns() {
    let mut far = run(async {
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        transport.write(b"last words");
        far
    });
    let mut received = Vec::new();
    far.read_to_end(&mut received).expect("no error");
    assert_eq!(received, b"last words");
}

// T-58
#[test]
fn addresses_are_the_sockets_own() {
    run(async {
        let (near, far) = sockets().expect("sockets");
        let own = near.local_addr().expect("an address");
        let peer = near.peer_addr().expect("an address");
        let transport = open(near, Box::new(Recorder::new()), None).expect("a transport");
        assert_eq!(transport.get_extra_info(), transport.peername().map(PeerName));
        assert_eq!(transport.get_extra_info(), transport.sockname().map(SockName));
        let inet = |address: Option<Address>| address.and_then(|it| it.as_inet());
        assert_eq!(inet(transport.sockname()), Some(own));
        assert_eq!(inet(transport.peername()), Some(peer));
        let seen = transport.with_socket(|socket| rustix::net::getsockname(socket).is_ok());
        assert_eq!(seen, Some(true));
        drop(far);
        transport.closed().await;
        assert_eq!(inet(transport.sockname()), Some(own));
        assert_eq!(inet(transport.peername()), Some(peer));
    });
}

// L-72: the descriptor is the transport's own until it closes.
#[test]
fn a_descriptor_may_be_watched_once_its_transport_closes() {
    run(async {
        let handle = LoopHandle::current().expect("a running loop");
        let watch = |transport: &Transport| {
            transport.with_socket(|socket| {
                handle.add_reader(socket, || ())?;
                handle.remove_reader(socket)
            })
        };
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        let refused = watch(&transport).expect("a socket").expect_err("it is in use");
        assert!(refused.to_string().contains("is used by"), "{refused}");
        stuff(&transport, &log).await;
        transport.close();
        assert!(matches!(watch(&transport), Some(Ok(true))));
        transport.abort();
        log.lost().await;
        drop(far);
    });
}

// T-56: unread input makes the system reset a connection that is closed, and destroys what was sent last.
#[test]
fn a_lingering_close_saves_the_last_words() {
    run(async {
        let left = Recorder::new().once(Callback::DataReceived, |transport| {
            transport.write(&[b'w'; 100_000]);
            transport.close_lingering(usize::MAX, Duration::from_secs(10));
        });
        let (_transport, log, mut far) = half_open(left);
        let peer = std::thread::spawn(move || {
            far.write_all(&vec![0; 1 << 20])?;
            let mut last_words = Vec::new();
            far.read_to_end(&mut last_words).map(|_| last_words)
        });
        log.lost().await;
        let last_words = peer.join().expect("the peer").expect("no reset");
        assert_eq!(last_words.len(), 100_000);
        assert!(log.cause().is_none());
    });
}

// T-10
#[test]
fn what_lies_behind_an_urgent_byte_is_received_though_reads_stop_at_it() {
    run(async {
        let (transport, log, far) = half_open(Recorder::new());
        log.made().await;
        for round in 1..=3 {
            // All of it is there before the loop looks: a read ends at the urgent byte, which is left out.
            (&far).write_all(b"before").expect("a peer");
            rustix::net::send(&far, b"!", rustix::net::SendFlags::OOB).expect("a peer");
            (&far).write_all(b"behind").expect("a peer");
            log.until(|log| log.received_len() == round * 12).await;
        }
        assert_eq!(log.received(), b"beforebehind".repeat(3));
        transport.close();
        log.lost().await;
    });
}

//! Descriptors that are passed through Unix sockets: who has them when, and in which order with the bytes.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{Cause, Flow, Layered, MAX_FDS, Protocol, SendFdsError, Transport};
use tidegate_reactor::{EventLoop, LoopHandle};
use tidegate_testkit::{
    Callback, Event, Log, Recorder, alone, open_descriptors, run, turns, until, watched,
};
use tidegate_transports::{
    TruncatedFds, connect_accepted_socket, create_connection, create_unix_connection,
    create_unix_server,
};

mod support;
use support::{Idle, inner, keep_reports, messages};

/// An open file in which `text` stands.
fn file(text: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(text.as_bytes()).expect("room");
    file.into()
}

/// What stands in an open file.
fn text_of(file: OwnedFd) -> String {
    let (mut file, mut text) = (File::from(file), String::new());
    file.seek(SeekFrom::Start(0)).expect("a file");
    file.read_to_string(&mut text).expect("a text");
    text
}

/// `count` descriptors of nothing in particular.
fn nulls(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| File::open("/dev/null").expect("/dev/null").into()).collect()
}

/// The bytes of one read, and the descriptors that came with them.
type Received = (Vec<u8>, Vec<OwnedFd>);

/// One read by hand.
fn receive(socket: &UnixStream, most: usize) -> io::Result<Received> {
    let mut bytes = vec![0; most];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::empty();
    let answer = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    bytes.truncate(answer.bytes);
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            fds.extend(passed);
        }
    }
    Ok((bytes, fds))
}

/// A protocol that takes up to so many descriptors each time, and notes what came.
struct Taker {
    most: usize,
    taken: Rc<RefCell<Vec<Received>>>,
    lost: Rc<RefCell<Option<Option<Cause>>>>,
}

impl Taker {
    fn new(most: usize) -> Taker {
        Taker { most, taken: Rc::default(), lost: Rc::default() }
    }
}

impl Protocol for Taker {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        let mut fds = Vec::new();
        if self.most > 0 {
            fds = transport.take_fds();
            assert!(transport.take_fds().is_empty(), "they are taken once");
            fds.truncate(self.most);
        }
        self.taken.borrow_mut().push((data.to_vec(), fds));
        Ok(())
    }

    fn connection_lost(&mut self, _: &Transport, cause: Option<Cause>) {
        *self.lost.borrow_mut() = Some(cause);
    }
}

/// A transport on one end of a pair, and the other end.
async fn half_open() -> (Transport, Log, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let recorder = Recorder::new();
    let log = recorder.log();
    let transport = create_unix_connection(|| recorder, ()).sock(ours).await.expect("a transport");
    (transport, log, theirs)
}

/// Writes until the system refuses, and answers how many bytes were written.
fn stuff(transport: &Transport) -> usize {
    let mut written = 0;
    loop {
        written += 65536;
        if transport.write(&[b's'; 65536]) == Flow::Paused {
            return written;
        }
    }
}

#[test]
fn descriptors_arrive_with_their_bytes_and_close_on_exec() {
    run(async {
        let _alone = alone();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let taker = Taker::new(usize::MAX);
        let taken = taker.taken.clone();
        let makers = RefCell::new(Some(taker));
        let factory = move || makers.take().expect("one client");
        let server = create_unix_server(factory, &path).receive_fds(3).await?;
        let client = create_unix_connection(|| Idle, &path).await?;
        until(|| server.statistics().accepted == 1).await;
        let before = open_descriptors();

        let flow = client.send_with_fds(b"three", vec![file("one"), file("two"), file("three")])?;
        assert_eq!(flow, Flow::Open);
        assert_eq!(client.get_write_buffer_size(), 0, "they left at once");
        assert_eq!(open_descriptors(), before, "our own are closed");
        until(|| !taken.borrow().is_empty()).await;
        let (data, fds) = taken.borrow_mut().remove(0);
        assert_eq!(data, b"three");
        assert!(fds.iter().all(|fd| fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC)));
        let texts: Vec<String> = fds.into_iter().map(text_of).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        assert_eq!(client.statistics().bytes_sent, 5);
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn what_was_written_before_leaves_before_and_what_comes_after_leaves_after() {
    run(async {
        let (transport, _log, theirs) = half_open().await;
        // In one step, in which writes are gathered.
        transport.write(b"before ");
        transport.send_with_fds(b"with", nulls(2))?;
        transport.write(b" after");
        transport.send_with_fds(b"again", nulls(1))?;
        transport.write(b" and on");
        assert_eq!(transport.get_write_buffer_size(), 7, "the rest waits for the end of the step");
        transport.flush().await?;
        let mut all = Vec::new();
        while all.iter().map(|(bytes, _): &(Vec<u8>, usize)| bytes.len()).sum::<usize>() < 29 {
            let (bytes, fds) = receive(&theirs, 100)?;
            all.push((bytes, fds.len()));
        }
        // The system joins what comes before, and nothing that comes after.
        let expected: [(&[u8], usize); 3] =
            [(b"before with", 2), (b" afteragain", 1), (b" and on", 0)];
        assert_eq!(all, expected.map(|(bytes, fds)| (bytes.to_vec(), fds)));
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_receiver_may_take_none_some_or_all() {
    run(async {
        let _alone = alone();
        for (most, buffered) in [(0, false), (2, false), (5, false), (0, true)] {
            let (ours, theirs) = UnixStream::pair()?;
            let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
            let taker = Taker::new(most);
            let (taken, recorder) = (taker.taken.clone(), Recorder::new().buffered(100));
            let log = recorder.log();
            let protocol: Box<dyn Protocol> =
                if buffered { Box::new(recorder) } else { Box::new(taker) };
            let receiver = connect_accepted_socket(|| protocol, theirs).receive_fds(5).await?;
            let before = open_descriptors();
            sender.write(b"none");
            sender.send_with_fds(b"one", nulls(1))?;
            sender.send_with_fds(b"five", nulls(5))?;
            let length = || match buffered {
                true => log.received_len(),
                false => taken.borrow().iter().map(|(data, _)| data.len()).sum(),
            };
            until(|| length() == 11).await;
            let held: usize = taken.borrow().iter().map(|(_, fds)| fds.len()).sum();
            assert_eq!(held, most.min(5) + most.min(1));
            assert_eq!(open_descriptors(), before + held, "at most {most}");
            assert!(receiver.take_fds().is_empty(), "it is too late");
            taken.borrow_mut().clear();
            sender.abort();
            receiver.abort();
            receiver.closed().await;
            sender.closed().await;
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_failing_callback_leaves_no_descriptor_open() {
    run(async {
        let _alone = alone();
        let before = open_descriptors();
        let (ours, theirs) = UnixStream::pair()?;
        let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
        let recorder = Recorder::new().panicking(Callback::DataReceived);
        let log = recorder.log();
        let reports = keep_reports();
        let _receiver = connect_accepted_socket(|| recorder, theirs).receive_fds(2).await?;
        sender.send_with_fds(b"x", nulls(2))?;
        log.lost().await;
        sender.closed().await;
        assert_eq!(reports.borrow().len(), 1);
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn who_has_not_opted_in_gets_bytes_alone() {
    run(async {
        let _alone = alone();
        let (ours, theirs) = UnixStream::pair()?;
        let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
        let taker = Taker::new(usize::MAX);
        let taken = taker.taken.clone();
        let _receiver = create_connection(|| taker, ()).sock(theirs).await?;
        let before = open_descriptors();
        for _ in 0..3 {
            sender.send_with_fds(b"with", nulls(3))?;
            sender.write(b"out");
            sender.flush().await?;
        }
        let all =
            || -> Vec<u8> { taken.borrow().iter().flat_map(|(data, _)| data.clone()).collect() };
        until(|| all().len() == 21).await;
        assert_eq!(all(), b"without".repeat(3));
        assert!(taken.borrow().iter().all(|(_, fds)| fds.is_empty()));
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn more_than_were_allowed_end_the_connection_and_leak_nothing() {
    run(async {
        let _alone = alone();
        for (most, passed) in [(1, 2), (1, 3), (3, 4), (3, MAX_FDS)] {
            let before = open_descriptors();
            let (ours, theirs) = UnixStream::pair()?;
            let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
            let taker = Taker::new(usize::MAX);
            let (taken, lost) = (taker.taken.clone(), taker.lost.clone());
            let reports = keep_reports();
            let receiver = connect_accepted_socket(|| taker, theirs).receive_fds(most).await?;
            sender.send_with_fds(b"allowed", nulls(most))?;
            sender.send_with_fds(b"too many", nulls(passed))?;
            let cause = receiver.closed().await.expect("a cause");
            assert_eq!(cause.kind(), io::ErrorKind::InvalidData);
            assert_eq!(inner(&cause), Some(&TruncatedFds { most }));
            assert!(lost.borrow().as_ref().is_some_and(Option::is_some));
            assert_eq!(messages(&reports), ["Fatal read error on stream transport"]);
            sender.closed().await;
            let (data, fds) = taken.borrow_mut().remove(0);
            assert_eq!((data.as_slice(), fds.len()), (&b"allowed"[..], most));
            assert!(taken.borrow().is_empty());
            drop(fds);
            assert_eq!(open_descriptors(), before, "{passed} for {most}");
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

const LIMITED: &str = "TIDEGATE_TESTS_LIMITED";

/// The system itself drops descriptors for which the process has no room, and that is told too.
#[test]
fn descriptors_for_which_there_is_no_room_end_the_connection() {
    let name = "descriptors_for_which_there_is_no_room_end_the_connection";
    if std::env::var_os(LIMITED).is_none() {
        let program = std::env::current_exe().expect("a test has a program");
        let limited = "ulimit -n 64 && exec \"$0\" --exact \"$1\" --nocapture --test-threads=1";
        let mut child = std::process::Command::new("sh");
        child.args(["-c", limited]).arg(program).arg(name).env(LIMITED, "");
        return assert!(watched(|| child.status().expect("a shell")).success());
    }
    run(async {
        let (ours, theirs) = UnixStream::pair()?;
        let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
        let taker = Taker::new(usize::MAX);
        let taken = taker.taken.clone();
        let receiver = connect_accepted_socket(|| taker, theirs).receive_fds(9).await?;
        let reports = keep_reports();
        sender.send_with_fds(b"nine", nulls(9))?;
        let filling: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        let cause = receiver.closed().await.expect("a cause");
        assert_eq!(inner(&cause), Some(&TruncatedFds { most: 9 }));
        assert_eq!(reports.borrow().len(), 1);
        assert!(taken.borrow().is_empty());
        drop(filling);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn what_cannot_be_passed_is_refused_and_closed() {
    run(async {
        let _alone = alone();
        let (transport, _log, theirs) = half_open().await;
        let (other, _their_other) = UnixStream::pair()?;
        let layered = create_unix_connection(|| Idle, ()).sock(other).layer(Transparent).await?;
        let before = open_descriptors();
        let check = |transport: &Transport, data: &[u8], fds, expected: SendFdsError, kind| {
            let error = transport.send_with_fds(data, nulls(fds)).expect_err("refused");
            assert_eq!((error.kind(), inner(&error)), (kind, Some(&expected)));
            assert_eq!(open_descriptors(), before);
        };
        let invalid = io::ErrorKind::InvalidInput;
        check(&transport, b"", 1, SendFdsError::NoData, invalid);
        check(&transport, b"x", MAX_FDS + 1, SendFdsError::TooMany(MAX_FDS + 1), invalid);
        check(&layered, b"x", 1, SendFdsError::Unsupported, io::ErrorKind::Unsupported);
        assert_eq!(transport.statistics().bytes_sent, 0);

        // Without descriptors it is a write.
        assert_eq!(transport.send_with_fds(b"", Vec::new())?, Flow::Open);
        assert_eq!(transport.send_with_fds(b"written", Vec::new())?, Flow::Open);
        assert_eq!(transport.get_write_buffer_size(), 7);
        // The most that there may be.
        transport.send_with_fds(b" most", nulls(MAX_FDS))?;
        let (bytes, fds) = receive(&theirs, 100)?;
        assert_eq!((bytes.as_slice(), fds.len()), (&b"written most"[..], MAX_FDS));
        drop(fds);

        transport.write_eof()?;
        assert_eq!(transport.send_with_fds(b"x", nulls(1))?, Flow::Closed);
        transport.close();
        assert_eq!(transport.send_with_fds(b"x", nulls(1))?, Flow::Closed);
        assert_eq!(open_descriptors(), before);
        transport.closed().await;
        assert_eq!(transport.send_with_fds(b"x", nulls(1))?, Flow::Closed);
        assert_eq!(open_descriptors(), before - 1);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// How a connection goes with descriptors that wait.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Abort,
    PeerGone,
    LoopClosed,
}

// T-39, T-57
#[test]
fn descriptors_that_wait_are_closed_when_the_connection_is_lost() {
    for loss in [Loss::Abort, Loss::PeerGone, Loss::LoopClosed] {
        watched(|| {
            let _alone = alone();
            let before = open_descriptors();
            let event_loop = EventLoop::new().unwrap();
            event_loop
                .run_until_complete(async {
                    let (transport, log, theirs) = half_open().await;
                    stuff(&transport);
                    let waiting = transport.get_write_buffer_size();
                    let open = open_descriptors();
                    transport.send_with_fds(b"these wait", nulls(3))?;
                    transport.write(b"and so does this");
                    transport.send_with_fds(b"and these", nulls(2))?;
                    assert_eq!(open_descriptors(), open + 5);
                    assert_eq!(transport.get_write_buffer_size(), waiting + 10 + 16 + 9);
                    match loss {
                        Loss::Abort => transport.abort(),
                        Loss::PeerGone => drop(theirs),
                        Loss::LoopClosed => return Ok(()),
                    }
                    log.lost().await;
                    assert!(transport.flush().await.is_err());
                    // The peer's own end is open still, or it is what has gone.
                    assert_eq!(
                        open_descriptors(),
                        open - 1 - usize::from(matches!(loss, Loss::PeerGone))
                    );
                    Ok::<(), io::Error>(())
                })
                .unwrap()
                .unwrap();
            event_loop.close().unwrap();
            drop(event_loop);
            assert_eq!(open_descriptors(), before, "{loss:?}");
        });
    }
}

// T-36, T-38
#[test]
fn a_closing_connection_still_sends_what_waits() {
    run(async {
        let _alone = alone();
        let before = open_descriptors();
        let (transport, log, theirs) = half_open().await;
        let stuffed = stuff(&transport);
        transport.send_with_fds(b"last", vec![file("kept")])?;
        transport.close();
        let reading = LoopHandle::current()?.run_in_executor(move || {
            let (mut all, mut fds) = (Vec::new(), Vec::new());
            loop {
                let (bytes, passed) = receive(&theirs, 70_000).expect("a peer");
                fds.extend(passed.into_iter().map(|fd| (all.len() + bytes.len(), text_of(fd))));
                if bytes.is_empty() {
                    return (all, fds);
                }
                all.extend(bytes);
            }
        });
        let (all, fds) = reading.await.expect("a thread");
        log.lost().await;
        assert_eq!(all.len(), stuffed + 4);
        assert!(all.ends_with(b"slast"));
        assert_eq!(fds, [(stuffed + 4, "kept".to_owned())]);
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// Reads a little, then pauses for a turn; knows where the messages with descriptors lie.
struct Slow {
    position: usize,
    /// Where the bytes of each message begin and end.
    expected: VecDeque<(usize, usize)>,
    number: usize,
    done: Rc<Cell<usize>>,
}

impl Protocol for Slow {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        let (start, end) = (self.position, self.position + data.len());
        let right = data.iter().zip(start..).all(|(byte, position)| *byte == byte_at(position));
        assert!(right, "the bytes between {start} and {end} are not what was sent");
        let mut fds = transport.take_fds().into_iter();
        if let Some(first) = fds.next() {
            let (from, to) = self.expected.pop_front().expect("a message");
            assert!(
                (start..end).contains(&from),
                "message {} came too soon or too late",
                self.number
            );
            if cfg!(target_os = "linux") {
                assert!(end <= to, "and more with it");
            }
            assert_eq!(text_of(first), self.number.to_string());
            assert_eq!(fds.next().map(text_of), Some(format!("{} again", self.number)));
            assert!(fds.next().is_none());
            self.number += 1;
        }
        self.position = end;
        self.done.set(end);
        transport.pause_reading();
        let resumed = transport.clone();
        let handle = LoopHandle::current().expect("a loop");
        handle.call_soon(move || resumed.resume_reading()).expect("an open loop");
        Ok(())
    }
}

/// The byte that stands at a position of the stream.
fn byte_at(position: usize) -> u8 {
    (position * 31 / 7 % 251) as u8
}

/// Megabytes with descriptors among them, to a peer that reads slowly: each where it belongs.
#[test]
fn descriptors_keep_their_place_among_megabytes() {
    run(async {
        let _alone = alone();
        let before = open_descriptors();
        let (ours, theirs) = UnixStream::pair()?;
        let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;

        // Lengths of what is written plain and of what goes with descriptors, in turns.
        let plain = [0, 1, 300_000, 7, 0, 1_000_000, 65_536, 12, 500_000, 3];
        let with = [1, 100, 10, 70_000, 1, 1, 4096, 20_000, 5, 2_000];
        let (mut position, mut messages) = (0, VecDeque::new());
        for round in 0..30 {
            position += plain[round % 10];
            messages.push_back((position, position + with[(round * 3) % 10]));
            position = messages[round].1;
        }
        let total = position + 5;
        let all: Vec<u8> = (0..total).map(byte_at).collect();

        let done = Rc::<Cell<usize>>::default();
        let slow = Slow { position: 0, expected: messages.clone(), number: 0, done: done.clone() };
        let receiver = connect_accepted_socket(|| slow, theirs).receive_fds(2).await?;

        let (mut written, mut waited) = (0, 0);
        for (number, (from, to)) in messages.into_iter().enumerate() {
            sender.write(&all[written..from]);
            let fds = vec![file(&number.to_string()), file(&format!("{number} again"))];
            sender.send_with_fds(&all[from..to], fds)?;
            waited += usize::from(sender.get_write_buffer_size() > 0);
            written = to;
            if number % 7 == 6 {
                // Some are sent when nothing waits, and some when a lot does.
                sender.flush().await?;
            }
        }
        sender.write(&all[written..]);
        assert!(waited > 10, "most had to wait: {waited}");
        until(|| done.get() == total).await;
        assert_eq!(sender.statistics().bytes_sent, total as u64);
        sender.abort();
        receiver.abort();
        sender.closed().await;
        receiver.closed().await;
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

// T-56
#[test]
fn a_lingering_connection_closes_what_still_comes() {
    run(async {
        let _alone = alone();
        let before = open_descriptors();
        let (ours, theirs) = UnixStream::pair()?;
        let sender = create_unix_connection(|| Idle, ()).sock(ours).await?;
        let recorder = Recorder::new();
        let log = recorder.log();
        let receiver = connect_accepted_socket(|| recorder, theirs).receive_fds(9).await?;
        receiver.close_lingering(1 << 20, Duration::from_secs(50));
        turns(2).await;
        for _ in 0..3 {
            sender.send_with_fds(b"too late", nulls(9))?;
        }
        until(|| receiver.statistics().bytes_received == 24).await;
        assert!(open_descriptors() <= before + 2, "no more than the two ends");
        sender.close();
        log.lost().await;
        log.assert(&[Event::Made, Event::Lost(None)]);
        sender.closed().await;
        assert_eq!(open_descriptors(), before);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_socket_that_is_not_a_unix_socket_cannot_receive_descriptors() {
    run(async {
        let _alone = alone();
        let before = open_descriptors();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let client = std::net::TcpStream::connect(listener.local_addr()?)?;
        let refused = connect_accepted_socket(support::never, client).receive_fds(1).await;
        let error = refused.expect_err("TCP");
        assert_eq!(inner(&error), Some(&tidegate_transports::ArgumentError::NotAUnixSocket));
        drop(listener);
        assert_eq!(open_descriptors(), before);
        // The descriptor that is asked for its own sake is a Unix socket.
        let (near, far) = UnixStream::pair()?;
        let transport = connect_accepted_socket(|| Idle, near).receive_fds(1).await?;
        assert!(transport.with_socket(|socket| socket.as_fd().try_clone_to_owned()).is_some());
        drop(far);
        transport.closed().await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

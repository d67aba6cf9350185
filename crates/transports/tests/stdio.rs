//! A program's own standard streams, in a program of its own: what they are, how they are left, and that nothing is lost.

#![cfg(not(windows))]

use std::env;
use std::fs::{File, OpenOptions};
use std::future::{Future, IntoFuture, poll_fn};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::task::Poll;
use std::thread;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process};
use tidegate_protocols::{Pipe, PipeKind, Protocol, Transport, WriteTransport};
use tidegate_reactor::{LoopHandle, create_future};
use tidegate_testkit::{open_descriptors, watched};
use tidegate_transports::{connect_stderr, connect_stdin, connect_stdout, sendfile};

mod files;
mod support;
use files::file_of;
use support::pipes::{Make, fifo, pipe, socket, terminal, twin};

/// Says in the program that plays a part which one.
const PART: &str = "TIDEGATE_STDIO_PART";

/// Where the program's own output begins, behind what the test harness prints.
const BEGIN: &str = "<begin>\n";

/// What the program prints last, so that a terminal needs no end.
const END: &str = "<end>\n";

/// Starts this program once more, in which the test `name` plays its part.
fn start(name: &str, part: &str, input: OwnedFd, output: OwnedFd) -> Child {
    Command::new(env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program")
}

/// Plays the part in the program that was started for it, which ends with it.
fn play(test: impl FnOnce(&str)) {
    if let Ok(part) = env::var(PART) {
        test(&part);
        std::process::exit(0);
    }
}

/// Reads until `wanted` has come, and answers what came behind the beginning.
fn read_until(from: &mut File, wanted: &str) -> String {
    read_by(1, from, wanted)
}

/// The same where nothing comes behind that: so many bytes at a time.
fn read_by(bytes_at_a_time: usize, from: &mut File, wanted: &str) -> String {
    let mut all = Vec::new();
    let mut some = vec![0; bytes_at_a_time];
    while !all.ends_with(wanted.as_bytes()) {
        match from.read(&mut some) {
            Ok(length) if length > 0 => all.extend_from_slice(&some[..length]),
            ended => panic!("{ended:?} before {wanted:?}: {}", String::from_utf8_lossy(&all)),
        }
    }
    let text = String::from_utf8(all).expect("text");
    text.split_once(BEGIN).map(|(_, own)| own.to_owned()).unwrap_or(text)
}

fn ended(child: Child) -> ExitStatus {
    let output = child.wait_with_output().expect("an end");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!complaints.contains("panicked"), "{complaints}");
    output.status
}

/// Sends back what it receives, in capitals.
struct Capitals(WriteTransport);

impl Protocol for Capitals {
    fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
        self.0.write(&data.to_ascii_uppercase());
        Ok(())
    }
}

struct Idle;

impl Protocol for Idle {}

/// Answers capitals until the input ends or it is asked to terminate, and says so.
fn capitals() {
    let main = async {
        let before = open_descriptors();
        let stdout = connect_stdout(|| Idle).await?;
        stdout.write(BEGIN.as_bytes());
        let (terminated, asked) = create_future::<()>();
        LoopHandle::current()?.add_signal_handler(signal::TERM, move || {
            let _again = terminated.set_result(());
        })?;
        let share = stdout.clone();
        let stdin = connect_stdin(move || Capitals(share)).await?;
        let ending = stdin.clone();
        tidegate_reactor::spawn(async move {
            let _ = asked.await;
            ending.close();
        })?;
        stdin.closed().await;
        stdout.write(END.as_bytes());
        stdout.close();
        stdout.closed().await;
        // The duplicates are closed, and the streams are not.
        assert!(open_descriptors() <= before + 8);
        println!("<still open>");
        Ok::<(), io::Error>(())
    };
    tidegate_reactor::run(main).expect("a run");
}

mod signal {
    pub(crate) use nix::sys::signal::Signal::SIGTERM as TERM;
}

/// What standard input and output may be. For input the program has the first end, of a terminal its own side.
const STREAMS: [(&str, Make); 4] =
    [("pipes", pipe), ("FIFOs", fifo), ("sockets", socket), ("terminals", terminal)];

/// The same for output: we read from the screen what the program writes.
fn for_output(name: &str, make: Make) -> (OwnedFd, OwnedFd) {
    let (read, write) = make();
    if name == "terminals" { (write, read) } else { (read, write) }
}

/// How the program is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    AtEof,
    BySigterm,
    BySigkill,
}

fn flags(descriptor: impl AsFd) -> OFlags {
    fcntl_getfl(descriptor).expect("flags")
}

// P-01: the flags of what a parent shares with the program are never changed, whatever it is and however it ends.
#[test]
fn the_streams_are_left_as_they_were_found() {
    play(|_| capitals());
    watched(|| {
        for (name, make) in STREAMS {
            for how in [Ended::AtEof, Ended::BySigterm, Ended::BySigkill] {
                check_flags(name, make, how);
            }
        }
    });
}

fn check_flags(name: &str, make: Make, how: Ended) {
    let (their_input, says) = make();
    let (hears, their_output) = for_output(name, make);
    let shared = [twin(&their_input), twin(&their_output)];
    let before = shared.each_ref().map(flags);
    let settings =
        shared.each_ref().map(|shared| format!("{:?}", rustix::termios::tcgetattr(shared)));
    assert!(!before.iter().any(|flags| flags.contains(OFlags::NONBLOCK)), "{name}");

    let test = "the_streams_are_left_as_they_were_found";
    let child = start(test, "capitals", their_input, their_output);
    let (mut says, mut hears) = (File::from(says), File::from(hears));
    says.write_all(b"hello\n").expect("a program");
    assert_eq!(read_until(&mut hears, "HELLO\n"), "HELLO\n", "{name}");
    assert_eq!(shared.each_ref().map(flags), before, "{name}: while it runs");

    let pid = Pid::from_child(&child);
    let says = match how {
        // A terminal has no end but a hang-up, which it gives when it is closed.
        Ended::AtEof if name == "terminals" => return finish(child, pid),
        Ended::AtEof => {
            drop(says);
            None
        }
        Ended::BySigterm => {
            kill_process(pid, Signal::TERM).expect("a program");
            Some(says)
        }
        Ended::BySigkill => {
            kill_process(pid, Signal::KILL).expect("a program");
            Some(says)
        }
    };
    if how != Ended::BySigkill {
        assert_eq!(read_until(&mut hears, END), END, "{name} {how:?}");
        assert_eq!(read_until(&mut hears, "<still open>\n"), "<still open>\n", "{name} {how:?}");
    }
    let status = ended(child);
    match how {
        Ended::BySigkill => assert_eq!(status.signal(), Some(9), "{name}"),
        _ => assert!(status.success(), "{name} {how:?}: {status}"),
    }
    assert_eq!(shared.each_ref().map(flags), before, "{name} {how:?}: afterwards");
    let after = shared.each_ref().map(|shared| format!("{:?}", rustix::termios::tcgetattr(shared)));
    assert_eq!(after, settings, "{name} {how:?}: afterwards");
    drop(says);
}

fn finish(mut child: Child, pid: Pid) {
    kill_process(pid, Signal::KILL).expect("a program");
    child.wait().expect("an end");
}

// P-01 P-06: a file and a device are read to their end.
#[test]
fn files_and_devices_are_standard_input_too() {
    play(|_| capitals());
    watched(|| {
        let test = "files_and_devices_are_standard_input_too";
        let text = "a line of a file\n".repeat(100_000);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("room");
        io::Seek::rewind(&mut file).expect("a file");
        for (input, expected) in [
            (OwnedFd::from(file), text.to_uppercase() + END),
            (File::open("/dev/null").expect("a device").into(), END.to_owned()),
        ] {
            let (hears, output) = pipe();
            let child = start(test, "capitals", input, output);
            let mut hears = File::from(hears);
            let answer = read_until(&mut hears, END);
            assert!(answer == expected, "{} bytes", answer.len());
            assert!(ended(child).success());
        }
    });
}

/// Writes much, and ends in the way of the part: `closed`, `flushed`, or on a stream of errors.
fn flood(part: &str) {
    let much = vec![b'x'; 8 << 20];
    let main = async {
        let output = match part {
            "errors" => connect_stderr(|| Idle).await?,
            _ => connect_stdout(|| Idle).await?,
        };
        output.write(BEGIN.as_bytes());
        output.write(&much);
        output.write(END.as_bytes());
        match part {
            "flushed" => output.flush().await?,
            _ => {
                output.close();
                assert!(output.closed().await.is_none());
            }
        }
        Ok::<(), io::Error>(())
    };
    tidegate_reactor::run(main).expect("a run");
}

// P-17: what is written to a stream that closes, or is flushed, arrives, however slowly it is read.
#[test]
fn nothing_that_was_written_is_lost() {
    play(flood);
    watched(|| {
        let test = "nothing_that_was_written_is_lost";
        for (name, make) in STREAMS {
            for part in ["closed", "flushed"] {
                let (hears, output) = for_output(name, make);
                let kept = twin(&output);
                let child =
                    start(test, part, File::open("/dev/null").expect("a device").into(), output);
                // The program has to wait for us with nearly all of it.
                let mut hears = File::from(hears);
                read_until(&mut hears, BEGIN);
                let reader = thread::spawn(move || read_by(50_000, &mut hears, END).len());
                assert!(ended(child).success(), "{name} {part}");
                assert_eq!(
                    reader.join().expect("the reader"),
                    (8 << 20) + END.len(),
                    "{name} {part}"
                );
                drop(kept);
            }
        }
    });
}

// replaced: P-15: into a file, behind what is there already, and into /dev/null.
#[test]
fn files_and_devices_are_standard_output_too() {
    play(flood);
    watched(|| {
        let test = "files_and_devices_are_standard_output_too";
        let null = || {
            OwnedFd::from(
                OpenOptions::new().read(true).write(true).open("/dev/null").expect("a device"),
            )
        };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        std::fs::write(&path, "first\n").expect("a file");
        let log = OpenOptions::new().append(true).open(&path).expect("a file");
        assert!(ended(start(test, "closed", null(), log.into())).success());
        let text = std::fs::read_to_string(&path).expect("a file");
        assert!(text.starts_with("first\n"));
        let own = text.split_once(BEGIN).expect("a beginning").1;
        assert_eq!(own.split_once(END).expect("an end").0.len(), 8 << 20);
        assert!(ended(start(test, "flushed", null(), null())).success());
    });
}

#[test]
fn standard_error_is_written_to_as_well() {
    play(flood);
    watched(|| {
        let (_hears, output) = pipe();
        let null = File::open("/dev/null").expect("a device");
        let child = start("standard_error_is_written_to_as_well", "errors", null.into(), output);
        let errors = child.wait_with_output().expect("an end").stderr;
        let text = String::from_utf8(errors).expect("text");
        let own = text.split_once(BEGIN).expect("a beginning").1;
        assert_eq!(own.strip_suffix(END).expect("an end").len(), 8 << 20);
    });
}

/// Looks at its own input, and says what is wrong with it.
fn look(_: &str) {
    let looked = tidegate_reactor::run(async {
        let stdin = connect_stdin(|| Idle).await?;
        Ok::<_, io::Error>(stdin.get_extra_info::<Pipe>())
    });
    let text = match looked {
        Ok(pipe) => format!("{:?}", pipe.expect("a pipe").read),
        Err(error) => error.to_string(),
    };
    println!("{BEGIN}{text}");
}

// P-01 P-02
#[test]
fn standard_input_says_what_it_is() {
    play(look);
    watched(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let cases: [(OwnedFd, String); 5] = [
            (pipe().0, format!("{:?}", Some(PipeKind::Fifo))),
            (socket().0, format!("{:?}", Some(PipeKind::Socket))),
            (tempfile::tempfile().expect("a file").into(), format!("{:?}", Some(PipeKind::File))),
            (
                File::open(&folder).expect("a folder").into(),
                "Pipe transport is only for pipes, sockets and character devices".to_owned(),
            ),
            (pipe().1, "the descriptor is not open for reading".to_owned()),
        ];
        for (input, expected) in cases {
            let (hears, output) = pipe();
            let child = start("standard_input_says_what_it_is", "look", input, output);
            let mut hears = File::from(hears);
            assert_eq!(read_until(&mut hears, &format!("{expected}\n")), expected + "\n");
            assert!(ended(child).success());
        }
    });
}

// One socket may be both, as a server has it that inetd starts: what comes in, and that no more comes, says nothing of
// who reads what goes out.
#[test]
fn one_socket_may_be_input_and_output() {
    play(|_| capitals());
    watched(|| {
        let (ours, theirs) = socket();
        let name = "one_socket_may_be_input_and_output";
        let program = start(name, "both", twin(&theirs), theirs);
        let mut ours = File::from(ours);
        ours.write_all(b"one ").expect("a reader");
        assert_eq!(read_until(&mut ours, "ONE "), "ONE ");
        ours.write_all(b"two ").expect("a reader");
        shutdown(&ours, Shutdown::Write).expect("a socket");
        assert_eq!(read_until(&mut ours, END), format!("TWO {END}"));
        assert!(ended(program).success());
    });
}

/// Gives a file up as soon as it was offered, and writes on.
fn give_up(_: &str) {
    let main = async {
        let output = connect_stdout(|| Idle).await?;
        output.write(BEGIN.as_bytes());
        output.flush().await?;
        let file = file_of(FILE.as_bytes());
        let transport = Transport::from(output.clone());
        let mut sending = sendfile(&transport, &file).into_future();
        // The first call has the file read, the second one offers it.
        let mut calls = 0;
        poll_fn(|context| {
            calls += 1;
            let sent = Pin::new(&mut sending).poll(context).is_ready();
            if sent || calls == 2 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(sending);
        output.write(END.as_bytes());
        output.close();
        output.closed().await;
        Ok::<(), io::Error>(())
    };
    tidegate_reactor::run(main).expect("a run");
}

/// What is in the file that is given up.
const FILE: &str = "of the file";

// What is written behind a file that was given up arrives, also where a thread writes: to the screen's side, say.
#[test]
fn a_file_that_was_given_up_takes_nothing_along() {
    play(give_up);
    for (name, make) in
        [("pipe", pipe as Make), ("FIFO", fifo), ("socket", socket), ("screen", terminal)]
    {
        let (input, output) = (File::open("/dev/null").expect("it is there"), make());
        let name_of_test = "a_file_that_was_given_up_takes_nothing_along";
        // What a terminal has for its programs goes with its screen.
        let _kept = twin(&output.1);
        let program = start(name_of_test, name, input.into(), output.1);
        let text = watched(|| read_until(&mut File::from(output.0), END));
        let text = text.strip_prefix(FILE).unwrap_or(&text);
        assert_eq!(text, END, "{name}");
        assert!(ended(program).success());
    }
}

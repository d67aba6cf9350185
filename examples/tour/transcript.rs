//! What the scenes are told with: lines on the terminal, each callback one of them, compared with what was announced.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tidegate::Address;
use tidegate::prelude::*;

/// So many lines of a long scene are printed as they come, and so many more when it has ended.
const FIRST_LINES: usize = 13;
const LAST_LINES: usize = 9;

/// The audience's view of the tour. A clone is another share of the same transcript.
#[derive(Clone, Default)]
pub(crate) struct Transcript(Rc<RefCell<Told>>);

/// What has been told so far.
#[derive(Default)]
struct Told {
    scenes: usize,
    failures: usize,
    /// The callbacks of the present scene in order; what came several times in a row stands here once.
    callbacks: Vec<(&'static str, &'static str)>,
    /// The callback that was told last, which is printed when it is known how often it comes.
    latest: Option<Line>,
    printed: usize,
    held_back: VecDeque<Line>,
    left_out: usize,
}

/// A callback, or a remark of a participant.
struct Line {
    who: &'static str,
    what: String,
    times: usize,
    bytes: usize,
}

impl Transcript {
    /// Opens a scene.
    pub(crate) fn scene(&self, title: &str, about: &str) {
        let mut told = self.0.borrow_mut();
        told.finish_scene();
        told.callbacks.clear();
        told.scenes += 1;
        println!("\n{}. {title}\n   {about}\n", told.scenes);
    }

    /// A remark of a participant.
    pub(crate) fn note(&self, who: &'static str, what: impl Into<String>) {
        let line = Line { who, what: what.into(), times: 1, bytes: 0 };
        self.0.borrow_mut().tell(line);
    }

    /// Gives a protocol to the audience: every callback is told, and then passed on to it.
    pub(crate) fn narrated<P: Protocol>(&self, who: &'static str, protocol: P) -> Narrated<P> {
        Narrated { who, transcript: self.clone(), protocol }
    }

    /// The same for a protocol of datagrams.
    pub(crate) fn narrated_datagrams<P>(&self, who: &'static str, protocol: P) -> Narrated<P>
    where
        P: DatagramProtocol,
    {
        Narrated { who, transcript: self.clone(), protocol }
    }

    /// The same for the protocol of a child.
    pub(crate) fn narrated_child<P>(&self, who: &'static str, protocol: P) -> Narrated<P>
    where
        P: SubprocessProtocol,
    {
        Narrated { who, transcript: self.clone(), protocol }
    }

    /// Announces what the scene shows, and compares it with what happened.
    pub(crate) fn check(&self, announced: &str, holds: bool) {
        self.0.borrow_mut().finish_scene();
        if holds {
            println!("   as announced: {announced}");
        } else {
            self.failure(&format!("not as announced: {announced}"));
        }
    }

    /// Announces all callbacks of a participant. Several that are alike in a row, such as `data_received`, are announced
    /// as one, since how many there are is up to the network.
    pub(crate) fn check_callbacks(&self, who: &'static str, expected: &[&str]) {
        let told = self.0.borrow();
        let mut came: Vec<&str> =
            told.callbacks.iter().filter(|(name, _)| *name == who).map(|(_, what)| *what).collect();
        drop(told);
        came.dedup();
        self.check(&format!("the {who} heard {}", list(expected)), came == expected);
        if came != expected {
            self.failure(&format!("the {who} heard {}", list(&came)));
        }
    }

    /// Something went wrong.
    pub(crate) fn failure(&self, text: &str) {
        let mut told = self.0.borrow_mut();
        told.finish_scene();
        told.failures += 1;
        println!("   FAILED: {text}");
    }

    /// The last line, and what the program answers with.
    pub(crate) fn end(&self, time: Duration) -> ExitCode {
        let told = self.0.borrow();
        let (scenes, seconds) = (told.scenes, time.as_secs_f64());
        match told.failures {
            0 => {
                println!("\nThe end: {scenes} scenes in {seconds:.1} s, everything as announced.");
                ExitCode::SUCCESS
            }
            failures => {
                println!("\nThe end: {scenes} scenes in {seconds:.1} s, {failures} failures.");
                ExitCode::FAILURE
            }
        }
    }

    fn callback(&self, who: &'static str, name: &'static str, detail: &str, bytes: usize) {
        let mut told = self.0.borrow_mut();
        told.callbacks.push((who, name));
        told.tell(Line { who, what: format!("{name}{detail}"), times: 1, bytes });
    }
}

fn list(callbacks: &[&str]) -> String {
    if callbacks.is_empty() { "nothing".to_owned() } else { callbacks.join(", ") }
}

impl Told {
    /// Prints the line, unless it repeats the one before.
    fn tell(&mut self, line: Line) {
        if let Some(latest) = &mut self.latest
            && latest.who == line.who
            && latest.what == line.what
            && line.bytes > 0
        {
            latest.times += 1;
            latest.bytes += line.bytes;
            return;
        }
        if let Some(complete) = self.latest.replace(line) {
            self.print(complete);
        }
    }

    fn print(&mut self, line: Line) {
        if self.printed < FIRST_LINES {
            self.printed += 1;
            println!("{line}");
            return;
        }
        self.held_back.push_back(line);
        if self.held_back.len() > LAST_LINES {
            self.held_back.pop_front();
            self.left_out += 1;
        }
    }

    /// Prints what is still to be printed.
    fn finish_scene(&mut self) {
        if let Some(latest) = self.latest.take() {
            self.print(latest);
        }
        if self.left_out > 0 {
            println!("   …        {} lines like these", self.left_out);
        }
        for line in self.held_back.drain(..) {
            println!("{line}");
        }
        (self.printed, self.left_out) = (0, 0);
    }
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "   {:<8} {}", self.who, self.what)?;
        match (self.bytes, self.times) {
            (0, _) => Ok(()),
            (bytes, 1) => write!(formatter, ", {}", Size(bytes)),
            (bytes, times) => write!(formatter, ", {times} times, {}", Size(bytes)),
        }
    }
}

/// A number of bytes as people like to read it.
pub(crate) struct Size(pub(crate) usize);

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: usize = 1024;
        const MIB: usize = 1024 * KIB;
        match self.0 {
            1 => formatter.write_str("1 byte"),
            bytes if bytes < 10 * KIB => write!(formatter, "{bytes} bytes"),
            bytes if bytes < MIB => write!(formatter, "{} KiB", bytes / KIB),
            bytes => write!(formatter, "{:.1} MiB", bytes as f64 / MIB as f64),
        }
    }
}

/// A protocol whose callbacks are told to the audience.
pub(crate) struct Narrated<P> {
    who: &'static str,
    transcript: Transcript,
    protocol: P,
}

impl<P: Protocol> Protocol for Narrated<P> {
    fn connection_made(&mut self, transport: &Transport) {
        let peer = transport.peername().map(|peer| format!(" with {peer}")).unwrap_or_default();
        self.transcript.callback(self.who, "connection_made", &peer, 0);
        self.protocol.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.transcript.callback(self.who, "data_received", "", data.len());
        self.protocol.data_received(transport, data)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        self.transcript.callback(self.who, "eof_received", "", 0);
        self.protocol.eof_received(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        let waiting = format!(", {} wait", Size(transport.get_write_buffer_size()));
        self.transcript.callback(self.who, "pause_writing", &waiting, 0);
        self.protocol.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        let waiting = format!(", {} wait", Size(transport.get_write_buffer_size()));
        self.transcript.callback(self.who, "resume_writing", &waiting, 0);
        self.protocol.resume_writing(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        let reason = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.transcript.callback(self.who, "connection_lost", &reason, 0);
        self.protocol.connection_lost(transport, cause);
    }
}

impl<P: DatagramProtocol> DatagramProtocol for Narrated<P> {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        let peer = transport.peername().map(|peer| format!(" with {peer}")).unwrap_or_default();
        self.transcript.callback(self.who, "connection_made", &peer, 0);
        self.protocol.connection_made(transport);
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        let text = format!(" {:?}", String::from_utf8_lossy(data));
        self.transcript.callback(self.who, "datagram_received", &text, data.len());
        self.protocol.datagram_received(transport, data, from)
    }

    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        self.transcript.callback(self.who, "error_received", &format!(": {error}"), 0);
        self.protocol.error_received(transport, error)
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        self.transcript.callback(self.who, "pause_writing", "", 0);
        self.protocol.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        self.transcript.callback(self.who, "resume_writing", "", 0);
        self.protocol.resume_writing(transport);
    }

    fn connection_lost(&mut self, transport: &DatagramTransport, cause: Option<Cause>) {
        let reason = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.transcript.callback(self.who, "connection_lost", &reason, 0);
        self.protocol.connection_lost(transport, cause);
    }
}

impl<P: SubprocessProtocol> SubprocessProtocol for Narrated<P> {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        self.transcript.callback(self.who, "connection_made", " with a child", 0);
        self.protocol.connection_made(transport);
    }

    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        let text = format!(" from {fd}");
        self.transcript.callback(self.who, "pipe_data_received", &text, data.len());
        self.protocol.pipe_data_received(transport, fd, data)
    }

    fn pipe_connection_lost(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        cause: Option<Cause>,
    ) -> io::Result<()> {
        let reason = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.transcript.callback(self.who, "pipe_connection_lost", &format!(", {fd}{reason}"), 0);
        self.protocol.pipe_connection_lost(transport, fd, cause)
    }

    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        let code = transport.get_returncode().unwrap_or_default();
        self.transcript.callback(self.who, "process_exited", &format!(" with {code}"), 0);
        self.protocol.process_exited(transport)
    }

    fn connection_lost(&mut self, transport: &SubprocessTransport, cause: Option<Cause>) {
        self.transcript.callback(self.who, "connection_lost", "", 0);
        self.protocol.connection_lost(transport, cause);
    }
}

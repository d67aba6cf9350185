//! A protocol that writes down each callback, and answers, fails or acts as it was told.

use std::fmt;
use std::io;

use tidegate_protocols::{AtEof, Cause, Protocol, Transport, WeakTransport};

use crate::log::{Callback, Event, Log};

/// A protocol that writes each callback into a [`Log`].
///
/// Built step by step: what it answers at the end of the stream, whether it receives into a buffer of its
/// own, at which callback it fails, and what else it does inside a callback. Each callback is written down
/// first, then the scripts for it run, in the order in which they were given, then it fails.
///
/// # Examples
///
/// ```
/// use tidegate_protocols::AtEof;
/// use tidegate_testkit::{Callback, Recorder};
///
/// let echo = Recorder::new()
///     .at_eof(AtEof::KeepWriting)
///     .on(Callback::ConnectionMade, |transport| {
///         transport.write(b"welcome\n");
///     })
///     .failing(Callback::PauseWriting);
/// let log = echo.log();
/// assert!(log.events().is_empty());
/// ```
pub struct Recorder {
    log: Log,
    at_eof: AtEof,
    buffer: Option<Vec<u8>>,
    failures: Vec<(Callback, Failure)>,
    scripts: Vec<(Callback, Script)>,
    at_drop: Vec<Box<dyn FnOnce()>>,
    /// For the scripts of `get_buffer`, which is given no transport.
    transport: Option<WeakTransport>,
}

type Script = Box<dyn FnMut(&Transport)>;

enum Failure {
    Answer(Box<dyn Fn() -> io::Error>),
    Panic,
}

impl Recorder {
    /// A recorder with an empty log that closes at the end of the stream.
    pub fn new() -> Recorder {
        Recorder::writing_to(&Log::new())
    }

    /// A recorder that goes on writing in `log`, for a protocol that takes over from another.
    pub fn writing_to(log: &Log) -> Recorder {
        log.add_writer();
        Recorder {
            log: log.clone(),
            at_eof: AtEof::Close,
            buffer: None,
            failures: Vec::new(),
            scripts: Vec::new(),
            at_drop: Vec::new(),
            transport: None,
        }
    }

    /// A recorder for a connection that was made before: its [grammar](Log::grammar) has no
    /// `connection_made`.
    pub fn taking_over() -> Recorder {
        let recorder = Recorder::new();
        recorder.log.take_over();
        recorder
    }

    /// Its log.
    pub fn log(&self) -> Log {
        self.log.clone()
    }

    /// Answers `answer` to `eof_received`; [`AtEof::Close`] unless told.
    pub fn at_eof(mut self, answer: AtEof) -> Recorder {
        self.at_eof = answer;
        self
    }

    /// Receives into a buffer of `size` bytes of its own, as asyncio's `BufferedProtocol`.
    pub fn buffered(mut self, size: usize) -> Recorder {
        self.buffer = Some(vec![0; size]);
        self
    }

    /// Answers an error at `callback`, or panics where the callback can answer none.
    ///
    /// The error has the kind [`Other`](io::ErrorKind::Other), the text "`callback` fails on purpose" and no
    /// number of the system.
    pub fn failing(self, callback: Callback) -> Recorder {
        self.failing_with(callback, move || {
            io::Error::other(format!("{callback} fails on purpose"))
        })
    }

    /// Answers the error that `error` makes at `callback`, or panics where the callback can answer none.
    pub fn failing_with(
        mut self,
        callback: Callback,
        error: impl Fn() -> io::Error + 'static,
    ) -> Recorder {
        self.failures.push((callback, Failure::Answer(Box::new(error))));
        self
    }

    /// Panics at `callback`, with the text "`callback` panics on purpose".
    pub fn panicking(mut self, callback: Callback) -> Recorder {
        self.failures.push((callback, Failure::Panic));
        self
    }

    /// Runs `script` inside `callback`, each time.
    pub fn on(mut self, callback: Callback, script: impl FnMut(&Transport) + 'static) -> Recorder {
        self.scripts.push((callback, Box::new(script)));
        self
    }

    /// The same, before any other script.
    pub(crate) fn first(
        mut self,
        callback: Callback,
        script: impl FnMut(&Transport) + 'static,
    ) -> Recorder {
        self.scripts.insert(0, (callback, Box::new(script)));
        self
    }

    /// Runs `script` inside `callback`, the first time only.
    pub fn once(self, callback: Callback, script: impl FnOnce(&Transport) + 'static) -> Recorder {
        let mut script = Some(script);
        self.on(callback, move |transport| {
            if let Some(script) = script.take() {
                script(transport);
            }
        })
    }

    /// Runs `script` while the recorder is dropped.
    pub fn at_drop(mut self, script: impl FnOnce() + 'static) -> Recorder {
        self.at_drop.push(Box::new(script));
        self
    }

    /// Runs what was asked for `callback`.
    fn act(&mut self, callback: Callback, transport: &Transport) -> io::Result<()> {
        for (at, script) in &mut self.scripts {
            if *at == callback {
                script(transport);
            }
        }
        match self.failures.iter().find(|(at, _)| *at == callback) {
            None => Ok(()),
            Some((_, Failure::Answer(error))) => Err(error()),
            Some((_, Failure::Panic)) => panic!("{callback} panics on purpose"),
        }
    }

    /// The same, for a callback that can answer no error.
    fn act_or_panic(&mut self, callback: Callback, transport: &Transport) {
        if let Err(error) = self.act(callback, transport) {
            panic!("{error}");
        }
    }
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder::new()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Recorder").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Protocol for Recorder {
    fn connection_made(&mut self, transport: &Transport) {
        self.transport = Some(transport.downgrade());
        self.log.push(Event::Made);
        self.act_or_panic(Callback::ConnectionMade, transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.log.push(Event::data(data));
        self.act(Callback::DataReceived, transport)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        self.log.push(Event::Eof);
        self.act(Callback::EofReceived, transport)?;
        Ok(self.at_eof)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.log.push(Event::Paused);
        self.act_or_panic(Callback::PauseWriting, transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.log.push(Event::Resumed);
        self.act_or_panic(Callback::ResumeWriting, transport);
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        self.log.push_lost(cause);
        self.act_or_panic(Callback::ConnectionLost, transport);
    }

    fn get_buffer(&mut self, size_hint: Option<usize>) -> Option<&mut [u8]> {
        self.buffer.as_ref()?;
        self.log.push(Event::BufferAsked(size_hint));
        if let Some(transport) = self.transport.as_ref().and_then(WeakTransport::upgrade) {
            self.act_or_panic(Callback::GetBuffer, &transport);
        }
        self.buffer.as_deref_mut()
    }

    fn buffer_updated(&mut self, transport: &Transport, len: usize) -> io::Result<()> {
        let arrived = self.buffer.as_ref().map_or(&[][..], |buffer| &buffer[..len]);
        self.log.push(Event::updated(arrived));
        self.act(Callback::BufferUpdated, transport)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // First, since a script may panic.
        self.log.remove_writer();
        self.at_drop.drain(..).for_each(|script| script());
    }
}

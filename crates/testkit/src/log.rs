//! What a recorder has written down: each callback, in order, with the grammar they must follow.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tidegate_protocols::Cause;

/// A callback of a protocol, by name.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::Callback;
///
/// assert_eq!(Callback::DataReceived.name(), "data_received");
/// assert_eq!(Callback::ALL.len(), 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Callback {
    /// `connection_made`.
    ConnectionMade,
    /// `data_received`.
    DataReceived,
    /// `get_buffer`, of a buffered protocol.
    GetBuffer,
    /// `buffer_updated`, of a buffered protocol.
    BufferUpdated,
    /// `eof_received`.
    EofReceived,
    /// `pause_writing`.
    PauseWriting,
    /// `resume_writing`.
    ResumeWriting,
    /// `connection_lost`.
    ConnectionLost,
}

impl Callback {
    /// All of them, in the order in which a connection meets them first.
    pub const ALL: [Callback; 8] = [
        Callback::ConnectionMade,
        Callback::DataReceived,
        Callback::GetBuffer,
        Callback::BufferUpdated,
        Callback::EofReceived,
        Callback::PauseWriting,
        Callback::ResumeWriting,
        Callback::ConnectionLost,
    ];

    /// The name of the method.
    pub fn name(self) -> &'static str {
        match self {
            Callback::ConnectionMade => "connection_made",
            Callback::DataReceived => "data_received",
            Callback::GetBuffer => "get_buffer",
            Callback::BufferUpdated => "buffer_updated",
            Callback::EofReceived => "eof_received",
            Callback::PauseWriting => "pause_writing",
            Callback::ResumeWriting => "resume_writing",
            Callback::ConnectionLost => "connection_lost",
        }
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One line of a [`Log`].
///
/// # Examples
///
/// ```
/// use tidegate_testkit::{Callback, Event};
///
/// let event = Event::data("hello");
/// assert_eq!(event.callback(), Some(Callback::DataReceived));
/// assert_eq!(event.to_string(), "data_received \"hello\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `connection_made` was called.
    Made,
    /// `data_received` was called with these bytes.
    Data(Vec<u8>),
    /// `get_buffer` was called with this hint.
    BufferAsked(Option<usize>),
    /// `buffer_updated` was called, and these bytes had arrived in the buffer.
    Updated(Vec<u8>),
    /// `eof_received` was called.
    Eof,
    /// `pause_writing` was called.
    Paused,
    /// `resume_writing` was called.
    Resumed,
    /// `connection_lost` was called with no cause, or with one of this kind; [`Log::cause`] has it whole.
    Lost(Option<io::ErrorKind>),
    /// A remark of the test.
    Note(String),
}

impl Event {
    /// `data_received` with these bytes.
    pub fn data(bytes: impl AsRef<[u8]>) -> Event {
        Event::Data(bytes.as_ref().to_vec())
    }

    /// `buffer_updated` with these bytes.
    pub fn updated(bytes: impl AsRef<[u8]>) -> Event {
        Event::Updated(bytes.as_ref().to_vec())
    }

    /// A remark of the test.
    pub fn note(text: impl Into<String>) -> Event {
        Event::Note(text.into())
    }

    /// The callback it stands for; none for a remark.
    pub fn callback(&self) -> Option<Callback> {
        match self {
            Event::Made => Some(Callback::ConnectionMade),
            Event::Data(_) => Some(Callback::DataReceived),
            Event::BufferAsked(_) => Some(Callback::GetBuffer),
            Event::Updated(_) => Some(Callback::BufferUpdated),
            Event::Eof => Some(Callback::EofReceived),
            Event::Paused => Some(Callback::PauseWriting),
            Event::Resumed => Some(Callback::ResumeWriting),
            Event::Lost(_) => Some(Callback::ConnectionLost),
            Event::Note(_) => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Data(bytes) => write!(formatter, "data_received {}", Abridged(bytes)),
            Event::Updated(bytes) => write!(formatter, "buffer_updated {}", Abridged(bytes)),
            Event::BufferAsked(hint) => write!(formatter, "get_buffer {hint:?}"),
            Event::Lost(cause) => write!(formatter, "connection_lost {cause:?}"),
            Event::Note(text) => write!(formatter, "({text})"),
            other => other.callback().map_or(Ok(()), |callback| callback.fmt(formatter)),
        }
    }
}

/// Bytes as a person wants to read them in a failed test: all of a few, the start of many.
struct Abridged<'a>(&'a [u8]);

impl fmt::Display for Abridged<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        write!(formatter, "\"{}\"", shown.escape_ascii())?;
        if self.0.len() > SHOWN {
            write!(formatter, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

/// The callbacks that one connection's protocol was given, in order.
///
/// Shares of one log are made by cloning; a [`Recorder`](crate::Recorder) writes it.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::{Event, Recorder, memory, run};
///
/// run(async {
///     let (left, right) = (Recorder::new(), Recorder::new());
///     let (said, heard) = (left.log(), right.log());
///     let handle = tidegate_reactor::LoopHandle::current()?;
///     let (left, _right) = memory::pair(&handle, left, right, Default::default());
///     left.write(b"hello");
///     left.close();
///     heard.lost().await;
///     said.assert(&[Event::Made, Event::Lost(None)]);
///     heard.assert(&[Event::Made, Event::data("hello"), Event::Eof, Event::Lost(None)]);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Log(Rc<Pages>);

#[derive(Default)]
struct Pages {
    events: RefCell<Vec<Event>>,
    /// How many bytes the events hold, and how many there are of each callback: both are asked at every event.
    received: Cell<usize>,
    counts: Cell<[usize; Callback::ALL.len()]>,
    cause: RefCell<Option<Cause>>,
    waiting: RefCell<Vec<Waker>>,
    /// The protocol came to a connection that had been made before.
    taken_over: Cell<bool>,
    writers: Cell<usize>,
}

impl Log {
    /// An empty log.
    pub fn new() -> Log {
        Log::default()
    }

    /// Every event so far, as it came.
    pub fn events(&self) -> Vec<Event> {
        self.0.events.borrow().clone()
    }

    /// Every event so far, as it would be if the bytes had come in the largest possible pieces: pieces
    /// that follow each other are joined, and `get_buffer` is left out.
    pub fn joined(&self) -> Vec<Event> {
        let mut joined: Vec<Event> = Vec::new();
        for event in self.events() {
            match (joined.last_mut(), event) {
                (_, Event::BufferAsked(_)) => {}
                (Some(Event::Data(before)), Event::Data(more)) => before.extend(more),
                (Some(Event::Updated(before)), Event::Updated(more)) => before.extend(more),
                (_, event) => joined.push(event),
            }
        }
        joined
    }

    /// All bytes received so far, by either kind of receiving.
    pub fn received(&self) -> Vec<u8> {
        let events = self.0.events.borrow();
        let pieces = events.iter().filter_map(|event| match event {
            Event::Data(bytes) | Event::Updated(bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    /// How many bytes were received so far.
    pub fn received_len(&self) -> usize {
        self.0.received.get()
    }

    /// How often `callback` was called so far.
    pub fn count(&self, callback: Callback) -> usize {
        self.0.counts.get()[callback as usize]
    }

    /// Whether `callback` was called already.
    pub fn has(&self, callback: Callback) -> bool {
        self.count(callback) > 0
    }

    /// The cause given to `connection_lost`, once it was called with one.
    pub fn cause(&self) -> Option<Cause> {
        self.0.cause.borrow().clone()
    }

    /// Whether every protocol that writes this log was dropped.
    pub fn is_abandoned(&self) -> bool {
        self.0.writers.get() == 0
    }

    /// Writes a remark between the events.
    pub fn note(&self, text: impl Into<String>) {
        self.push(Event::Note(text.into()));
    }

    /// Waits until `wanted` holds; it is asked now and after each event.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future has no effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidegate_testkit::{Callback, Recorder, memory, run};
    ///
    /// run(async {
    ///     let left = Recorder::new();
    ///     let log = left.log();
    ///     let handle = tidegate_reactor::LoopHandle::current()?;
    ///     let (left, right) = memory::pair(&handle, left, Recorder::new(), Default::default());
    ///     right.close();
    ///     log.until(|log| log.has(Callback::EofReceived)).await;
    ///     assert!(left.is_closing() || !log.has(Callback::ConnectionLost));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn until<F: FnMut(&Log) -> bool>(&self, wanted: F) -> Until<F> {
        Until { log: self.clone(), wanted }
    }

    /// Waits until `connection_made` was called.
    pub async fn made(&self) {
        self.until(|log| log.has(Callback::ConnectionMade)).await;
    }

    /// Waits until `connection_lost` was called.
    pub async fn lost(&self) {
        self.until(|log| log.has(Callback::ConnectionLost)).await;
    }

    /// Waits until at least `len` bytes were received.
    pub async fn received_at_least(&self, len: usize) {
        self.until(|log| log.received_len() >= len).await;
    }

    /// Asserts that the events were exactly these, however the bytes were cut (see [`joined`](Log::joined)).
    ///
    /// # Panics
    ///
    /// If they were not, showing both.
    #[track_caller]
    pub fn assert(&self, expected: &[Event]) {
        let found = self.joined();
        assert!(
            found == expected,
            "the log is not as expected\n  found:    {}\n  expected: {}",
            Line(&found),
            Line(expected)
        );
    }

    /// Whether the events so far keep the grammar of callbacks: `connection_made` first and once,
    /// `connection_lost` last and once, at most one `eof_received` and no bytes after it, `pause_writing` and
    /// `resume_writing` in strict alternation, and each `buffer_updated` after its `get_buffer`.
    ///
    /// # Errors
    ///
    /// Says which rule was broken by which event.
    pub fn grammar(&self) -> Result<(), String> {
        let mut grammar = Grammar { made: self.0.taken_over.get(), ..Grammar::default() };
        for (index, event) in self.events().iter().enumerate() {
            grammar
                .read(event)
                .map_err(|rule| format!("event {} ({event}) {rule}, in: {self}", index + 1))?;
        }
        Ok(())
    }

    /// Asserts that the connection was made, lived and was lost by the [grammar](Log::grammar).
    ///
    /// # Panics
    ///
    /// If a rule was broken, or `connection_lost` is missing.
    #[track_caller]
    pub fn assert_complete(&self) {
        if let Err(breach) = self.grammar() {
            panic!("{breach}");
        }
        assert!(self.has(Callback::ConnectionLost), "connection_lost is missing in: {self}");
    }

    pub(crate) fn push(&self, event: Event) {
        if let Event::Data(bytes) | Event::Updated(bytes) = &event {
            self.0.received.set(self.0.received.get() + bytes.len());
        }
        if let Some(callback) = event.callback() {
            let mut counts = self.0.counts.get();
            counts[callback as usize] += 1;
            self.0.counts.set(counts);
        }
        self.0.events.borrow_mut().push(event);
        self.wake();
    }

    pub(crate) fn push_lost(&self, cause: Option<Cause>) {
        let kind = cause.as_ref().map(|cause| cause.kind());
        let former = self.0.cause.replace(cause);
        drop(former);
        self.push(Event::Lost(kind));
    }

    pub(crate) fn take_over(&self) {
        if self.0.events.borrow().is_empty() {
            self.0.taken_over.set(true);
        }
    }

    pub(crate) fn add_writer(&self) {
        self.0.writers.set(self.0.writers.get() + 1);
    }

    pub(crate) fn remove_writer(&self) {
        self.0.writers.set(self.0.writers.get() - 1);
        self.wake();
    }

    fn wake(&self) {
        // Wakers are other people's code: taken out first.
        let waiting = self.0.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Display for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line(&self.joined()).fmt(formatter)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Log({self})")
    }
}

/// Events in one line.
struct Line<'a>(&'a [Event]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, event) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            event.fmt(formatter)?;
        }
        if self.0.is_empty() { formatter.write_str("nothing") } else { Ok(()) }
    }
}

/// What the events so far allow.
#[derive(Default)]
struct Grammar {
    made: bool,
    lost: bool,
    ended: bool,
    paused: bool,
    buffer_asked: bool,
}

impl Grammar {
    fn read(&mut self, event: &Event) -> Result<(), &'static str> {
        let Some(callback) = event.callback() else { return Ok(()) };
        if self.lost {
            return Err("comes after connection_lost");
        }
        if !self.made && callback != Callback::ConnectionMade {
            return Err("comes before connection_made");
        }
        match callback {
            Callback::ConnectionMade if self.made => return Err("comes a second time"),
            Callback::ConnectionMade => self.made = true,
            Callback::DataReceived | Callback::GetBuffer | Callback::BufferUpdated
                if self.ended =>
            {
                return Err("comes after eof_received");
            }
            Callback::DataReceived => {}
            Callback::GetBuffer => self.buffer_asked = true,
            Callback::BufferUpdated if !self.buffer_asked => {
                return Err("comes without get_buffer");
            }
            Callback::BufferUpdated => self.buffer_asked = false,
            Callback::EofReceived if self.ended => return Err("comes a second time"),
            Callback::EofReceived => self.ended = true,
            Callback::PauseWriting if self.paused => return Err("comes while paused"),
            Callback::PauseWriting => self.paused = true,
            Callback::ResumeWriting if !self.paused => return Err("comes while not paused"),
            Callback::ResumeWriting => self.paused = false,
            Callback::ConnectionLost => self.lost = true,
        }
        Ok(())
    }
}

/// Waits for a [`Log`] to say something. Made by [`Log::until`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Until<F> {
    log: Log,
    wanted: F,
}

// Nothing in it is pinned: the predicate is only called.
impl<F> Unpin for Until<F> {}

impl<F: FnMut(&Log) -> bool> Future for Until<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if (this.wanted)(&this.log) {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        this.log.0.waiting.borrow_mut().push(waker);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Log};

    fn log(events: &[Event]) -> Log {
        let log = Log::new();
        events.iter().for_each(|event| log.push(event.clone()));
        log
    }

    #[test]
    fn the_grammar_takes_whole_and_unfinished_lives() {
        let cases: &[&[Event]] = &[
            &[],
            &[Event::Made],
            &[Event::Made, Event::Lost(None)],
            &[Event::Made, Event::data("a"), Event::data("b"), Event::Eof, Event::Lost(None)],
            &[Event::Made, Event::Paused, Event::Eof, Event::Resumed, Event::Paused],
            &[Event::note("x"), Event::Made, Event::BufferAsked(None), Event::updated("a")],
            &[
                Event::Made,
                Event::BufferAsked(None),
                Event::Eof,
                Event::Lost(None),
                Event::note("x"),
            ],
        ];
        for events in cases {
            assert_eq!(log(events).grammar(), Ok(()));
        }
    }

    #[test]
    fn the_grammar_names_each_breach() {
        let cases: &[(&[Event], &str)] = &[
            (&[Event::data("a")], "comes before connection_made"),
            (&[Event::Lost(None)], "comes before connection_made"),
            (&[Event::Made, Event::Made], "comes a second time"),
            (&[Event::Made, Event::Eof, Event::Eof], "comes a second time"),
            (&[Event::Made, Event::Eof, Event::data("a")], "comes after eof_received"),
            (&[Event::Made, Event::Lost(None), Event::Lost(None)], "comes after connection_lost"),
            (&[Event::Made, Event::Lost(None), Event::Resumed], "comes after connection_lost"),
            (&[Event::Made, Event::Paused, Event::Paused], "comes while paused"),
            (&[Event::Made, Event::Resumed], "comes while not paused"),
            (&[Event::Made, Event::updated("a")], "comes without get_buffer"),
        ];
        for (events, rule) in cases {
            let breach = log(events).grammar().expect_err("a breach");
            assert!(breach.contains(rule), "{breach}");
        }
    }

    #[test]
    fn pieces_are_joined_where_nothing_lies_between() {
        let log = log(&[Event::data("a"), Event::data("b"), Event::Paused, Event::data("c")]);
        log.assert(&[Event::data("ab"), Event::Paused, Event::data("c")]);
        assert_eq!(log.received(), b"abc");
        assert_eq!(log.received_len(), 3);
    }

    #[test]
    fn long_data_is_abridged() {
        let shown = Event::data([b'a'; 40]).to_string();
        assert!(shown.ends_with("\"… (40 bytes)"), "{shown}");
    }
}

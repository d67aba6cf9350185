//! What was received and not read yet, and who waits for more.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use tidegate_protocols::Cause;

use crate::run::Run;

/// Whether more can come.
///
/// ```text
///   Open ──feed_eof──▶ Eof          what is there is read, then the end
///    ├────lost with an error──▶ Lost    what is there is read, then the error
///    └────set_exception──▶ Failed       the error at once (from every state)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Open,
    Eof,
    Lost,
    Failed,
}

/// What was received and not read yet.
///
/// The reader takes everything over when it looks for more, and tells how much it holds; both count for the
/// limit.
pub(crate) struct Inbox {
    received: RefCell<Run>,
    /// How many bytes the reader has taken over and not given away yet.
    held: Cell<usize>,
    limit: usize,
    end: Cell<End>,
    /// The end was fed; an error that is set before or afterwards changes nothing about that.
    eof: Cell<bool>,
    error: Cell<Option<Cause>>,
    /// Whoever awaits a read.
    waiting: Cell<Option<Waker>>,
    /// Somebody was shown what is held, and nothing was taken since: whoever looks again is not told to wait.
    pub(crate) shown: Cell<bool>,
    /// The last read brought much, so the next is expected to.
    pub(crate) expects_much: Cell<bool>,
    /// The transport was asked to pause.
    pub(crate) paused: Cell<bool>,
    /// The reader was dropped: what still comes is discarded.
    abandoned: Cell<bool>,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Inbox {
        Inbox {
            received: RefCell::new(Run::new()),
            held: Cell::new(0),
            limit,
            end: Cell::new(End::Open),
            eof: Cell::new(false),
            error: Cell::new(None),
            waiting: Cell::new(None),
            shown: Cell::new(false),
            expects_much: Cell::new(false),
            paused: Cell::new(false),
            abandoned: Cell::new(false),
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    fn len(&self) -> usize {
        self.received.borrow().len() + self.held.get()
    }

    /// Whether so much waits that the transport has to pause.
    pub(crate) fn is_above(&self) -> bool {
        self.len() > self.limit.saturating_mul(2)
    }

    /// Whether so little is left that it can go on.
    pub(crate) fn is_below(&self) -> bool {
        self.len() <= self.limit
    }

    /// Whether a piece that comes now would lie here alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.borrow().is_empty()
    }

    /// Not once the reader is gone, or somebody has said that this is all.
    fn takes_more(&self) -> bool {
        !self.abandoned.get() && !self.eof.get()
    }

    /// Appends a copy.
    pub(crate) fn put(&self, data: &[u8]) {
        if self.takes_more() {
            self.received.borrow_mut().push(data);
        }
    }

    /// Appends a run, without a copy if nothing else is here.
    pub(crate) fn append(&self, run: Run) {
        if self.takes_more() {
            self.received.borrow_mut().append(run);
        }
    }

    /// Moves everything to the end of `held`, which the reader owns.
    #[inline]
    pub(crate) fn take_into(&self, held: &mut Run) {
        let mut received = self.received.borrow_mut();
        if !received.is_empty() {
            held.take_over(&mut received);
            self.held.set(held.len());
        }
    }

    /// The reader has given so much of it away.
    #[inline]
    pub(crate) fn release(&self, length: usize) {
        self.held.set(self.held.get() - length);
    }

    /// The reader is gone.
    pub(crate) fn abandon(&self) {
        self.abandoned.set(true);
        self.held.set(0);
        self.received.replace(Run::new());
        drop(self.waiting.take());
    }

    pub(crate) fn end(&self) -> End {
        self.end.get()
    }

    /// Whether the end was fed, or came by itself.
    pub(crate) fn has_eof(&self) -> bool {
        self.eof.get()
    }

    /// The stream has ended; an error that came before stays.
    pub(crate) fn end_with_eof(&self) {
        self.eof.set(true);
        if self.end.get() == End::Open {
            self.end.set(End::Eof);
        }
        self.wake();
    }

    /// Notes an error: of the loss, or set by hand.
    pub(crate) fn end_with(&self, end: End, cause: Cause) {
        self.error.set(Some(cause));
        if end == End::Failed || self.end.get() == End::Open {
            self.end.set(end);
        }
        self.wake();
    }

    /// Whether there is an error.
    #[inline]
    pub(crate) fn has_error(&self) -> bool {
        let error = self.error.take();
        let is_there = error.is_some();
        self.error.set(error);
        is_there
    }

    /// The error, if there is one.
    pub(crate) fn error(&self) -> Option<Cause> {
        let error = self.error.take();
        let copy = error.clone();
        self.error.set(error);
        copy
    }

    /// From now on `waker` is woken when something comes.
    pub(crate) fn wait(&self, waker: &Waker) {
        // Wakers belong to users: cloned and dropped with the cell empty.
        let kept = match self.waiting.take() {
            Some(kept) if kept.will_wake(waker) => kept,
            other => {
                drop(other);
                waker.clone()
            }
        };
        self.waiting.set(Some(kept));
    }

    #[inline]
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waiting.take() {
            // One that panics keeps nobody else asleep; the panic hook has told of it.
            let _caught = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

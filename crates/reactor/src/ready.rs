//! The queue of what is ready to run, first in, first out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use async_task::Runnable;

use crate::call::{Callback, Queued};
use crate::parts::Core;
use crate::remote::{Letter, RemoteCallback};
use crate::tasks::Home;

/// One thing to run.
pub(crate) enum Entry {
    Call(Rc<dyn Callback>),
    Queued(Rc<dyn Queued>),
    Task(Runnable<Home>),
    Remote(Arc<dyn RemoteCallback>),
    /// Poll the main future of the run with that number.
    Main(u64),
    /// End the run with that number: its main future is done.
    MainDone(u64),
}

impl From<Letter> for Entry {
    fn from(letter: Letter) -> Entry {
        match letter {
            Letter::Task(task) => Entry::Task(task),
            Letter::Call(call) => Entry::Remote(call),
            Letter::Main(run) => Entry::Main(run),
        }
    }
}

/// The queue itself. Entries are moved in and out; none is dropped inside.
pub(crate) struct Ready {
    queue: RefCell<VecDeque<Entry>>,
}

impl Ready {
    pub(crate) fn new() -> Ready {
        Ready { queue: RefCell::new(VecDeque::new()) }
    }

    pub(crate) fn push(&self, entry: Entry) {
        self.queue.borrow_mut().push_back(entry);
    }

    pub(crate) fn pop(&self) -> Option<Entry> {
        self.queue.borrow_mut().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Takes everything, for the caller to drop.
    pub(crate) fn take(&self) -> VecDeque<Entry> {
        self.queue.take()
    }

    /// Takes the tasks and leaves the rest in its order.
    pub(crate) fn take_tasks(&self) -> Vec<Runnable<Home>> {
        let mut tasks = Vec::new();
        let mut queue = self.queue.borrow_mut();
        for _ in 0..queue.len() {
            match queue.pop_front() {
                Some(Entry::Task(task)) => tasks.push(task),
                Some(other) => queue.push_back(other),
                None => break,
            }
        }
        tasks
    }
}

impl Core {
    /// Queues an entry behind everything that was scheduled before, in this thread or another.
    pub(crate) fn enqueue(&self, entry: Entry) {
        self.take_in_mail();
        self.ready.push(entry);
    }

    /// Moves what other threads have sent into the queue.
    #[inline]
    pub(crate) fn take_in_mail(&self) {
        if self.mail.has_letters() {
            self.take_in_letters();
        }
    }

    #[cold]
    fn take_in_letters(&self) {
        let mut letters = self.letters.take();
        self.mail.take(&mut letters);
        self.mail_count.set(self.mail_count.get() + letters.len() as u64);
        for letter in letters.drain(..) {
            self.ready.push(letter.into());
        }
        self.letters.set(letters);
    }
}

//! A call on a socket of the user's, tried at once, and again each time the loop finds the socket ready.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use tidegate_protocols::{Waiter, Waiters};
use tidegate_reactor::{Interest, LoopHandle, Readiness, Source, Watcher, budget};

use crate::errors::ArgumentError;

/// Calls on one socket in one direction.
pub(super) struct Attempts<'s> {
    pub(super) socket: BorrowedFd<'s>,
    pub(super) handle: LoopHandle,
    call: &'static str,
    direction: Interest,
    /// The registration, from the first refusal on. It is of a duplicate, so that it is this one's own: any number may
    /// wait for one socket, and each takes back what it has registered itself.
    wait: RefCell<Option<Wait>>,
}

impl<'s> Attempts<'s> {
    /// Refuses a socket that is a transport's, or that would make the loop wait.
    pub(super) fn new(
        socket: BorrowedFd<'s>,
        call: &'static str,
        direction: Interest,
    ) -> io::Result<Attempts<'s>> {
        let handle = LoopHandle::current()?;
        handle.ensure_fd_no_transport(socket)?;
        if !fcntl_getfl(socket)?.contains(OFlags::NONBLOCK) {
            return Err(ArgumentError::BlockingSocket.into());
        }
        Ok(Attempts { socket, handle, call, direction, wait: RefCell::new(None) })
    }

    /// Makes the call, and again until the system does not say that it would wait.
    pub(super) async fn make<T>(
        &self,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> io::Result<T> {
        poll_fn(|context| {
            ready!(budget::poll_proceed(context));
            self.poll(context, &mut call)
        })
        .await
    }

    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut call: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<io::Result<T>> {
        loop {
            match call(self.socket) {
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return self.poll_ready(context).map(Err),
                answer => return Poll::Ready(answer.map_err(io::Error::from)),
            }
        }
    }

    /// Waits until the socket is ready.
    pub(super) async fn ready(&self) -> io::Result<()> {
        let mut asked = false;
        poll_fn(|context| {
            if asked && self.was_told() {
                return Poll::Ready(Ok(()));
            }
            asked = true;
            self.poll_ready(context).map(Err)
        })
        .await
    }

    fn was_told(&self) -> bool {
        let wait = self.wait.borrow();
        wait.as_ref().is_some_and(|wait| wait.told.interest() == Some(Interest::NONE))
    }

    /// Has the task woken when the socket is ready; only an error is ready at once.
    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut wait = self.wait.borrow_mut().take();
        if wait.is_none() {
            match Wait::new(self) {
                Ok(new) => wait = Some(new),
                Err(error) => return Poll::Ready(error),
            }
        }
        if let Some(wait) = &wait {
            wait.told.set_interest(self.direction);
            wait.told.waiters.register(&wait.waiter, context.waker());
        }
        *self.wait.borrow_mut() = wait;
        Poll::Pending
    }
}

/// A registration with the loop, taken back when it is dropped.
struct Wait {
    told: Rc<Told>,
    waiter: Waiter,
}

/// Whom the loop tells.
struct Told {
    name: String,
    source: RefCell<Option<Source<OwnedFd>>>,
    waiters: Waiters,
}

impl Wait {
    fn new(attempts: &Attempts<'_>) -> io::Result<Wait> {
        let number = attempts.socket.as_raw_fd();
        let told = Rc::new(Told {
            name: format!("{} on descriptor {number}", attempts.call),
            source: RefCell::new(None),
            waiters: Waiters::new(),
        });
        let duplicate = attempts.socket.try_clone_to_owned()?;
        let watcher: Rc<dyn Watcher> = told.clone();
        let source = Source::new(&attempts.handle, duplicate, attempts.direction, watcher)?;
        *told.source.borrow_mut() = Some(source);
        Ok(Wait { told, waiter: Waiter::new() })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let source = self.told.source.borrow_mut().take();
        drop(source);
    }
}

impl Told {
    fn interest(&self) -> Option<Interest> {
        self.source.borrow().as_ref().map(Source::interest)
    }

    fn set_interest(&self, interest: Interest) {
        if let Some(source) = &*self.source.borrow() {
            source.set_interest(interest);
        }
    }
}

impl Watcher for Told {
    fn ready(self: Rc<Self>, _: Readiness) {
        // Whoever waits may be slow to look; until then the loop need not come by again.
        self.set_interest(Interest::NONE);
        self.waiters.wake_all();
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

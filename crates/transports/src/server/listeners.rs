//! The listening sockets of a server, and when each of them is watched.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use rustix::io::Errno;
use tidegate_protocols::Address;
use tidegate_reactor::{Interest, LoopHandle, Source, TimerHandle};

use super::accept::Acceptor;
use crate::kind::Kind;
use crate::socket::address_of;
use crate::tcp;
use crate::unix::SocketFile;

/// One listening socket of a [`Server`](crate::Server), to be looked at but not to be closed.
///
/// The asyncio counterpart is a `TransportSocket` of `Server.sockets`.
#[derive(Clone)]
pub struct ServerSocket {
    descriptor: Weak<OwnedFd>,
    sockname: Address,
}

impl ServerSocket {
    /// The address that it is bound to, with the port that the system chose if it was asked to.
    pub fn sockname(&self) -> Address {
        self.sockname.clone()
    }

    /// Runs `look` with the socket, to read or set options of it; not when the server is closed.
    ///
    /// A server that is closed inside `look` closes this socket when `look` returns.
    pub fn with_socket<R>(&self, look: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        let descriptor = self.descriptor.upgrade()?;
        Some(look(descriptor.as_fd()))
    }
}

impl fmt::Debug for ServerSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerSocket")
            .field("sockname", &self.sockname)
            .field("closed", &(self.descriptor.strong_count() == 0))
            .finish()
    }
}

/// The sockets of one server; none once it is closed.
pub(super) struct Listeners(RefCell<Vec<Listener>>);

/// A bound socket, and its file if that is removed with it.
pub(crate) struct Bound {
    pub(crate) descriptor: OwnedFd,
    pub(crate) file: Option<SocketFile>,
}

struct Listener {
    /// Goes before the descriptor, which keeps the file's number from being given to another.
    file: Option<SocketFile>,
    descriptor: Rc<OwnedFd>,
    sockname: Address,
    /// Bound sockets are registered when the server starts.
    source: Option<Source<Rc<OwnedFd>>>,
    /// The timer that ends a rest after the system ran out of something.
    resting: Option<TimerHandle>,
}

/// A connection that waited, and from whom.
pub(super) struct Accepted {
    pub(super) descriptor: OwnedFd,
    pub(super) peername: Option<Address>,
    pub(super) kind: Kind,
}

impl Listeners {
    /// Over bound, non-blocking stream sockets.
    pub(super) fn new(bound: Vec<Bound>) -> io::Result<Listeners> {
        let listener = |Bound { descriptor, file }| {
            let sockname = address_of(rustix::net::getsockname(&descriptor)?);
            let descriptor = Rc::new(descriptor);
            Ok(Listener { file, descriptor, sockname, source: None, resting: None })
        };
        Ok(Listeners(RefCell::new(bound.into_iter().map(listener).collect::<io::Result<_>>()?)))
    }

    pub(super) fn sockets(&self) -> Vec<ServerSocket> {
        let listeners = self.0.borrow();
        let socket = |listener: &Listener| ServerSocket {
            descriptor: Rc::downgrade(&listener.descriptor),
            sockname: listener.sockname.clone(),
        };
        listeners.iter().map(socket).collect()
    }

    /// What reports call the socket with this number.
    pub(super) fn title(&self, number: usize) -> String {
        match self.0.borrow().get(number) {
            Some(listener) => format!("server on {}", listener.sockname),
            None => "closed server".to_owned(),
        }
    }

    /// Makes them listen, and registers each with the watcher of its number. They are not watched yet.
    pub(super) fn listen(
        &self,
        handle: &LoopHandle,
        backlog: u32,
        watcher: impl Fn(usize) -> Rc<Acceptor>,
    ) -> io::Result<()> {
        let descriptors: Vec<_> =
            self.0.borrow().iter().map(|listener| listener.descriptor.clone()).collect();
        for (number, descriptor) in descriptors.into_iter().enumerate() {
            tcp::listen(&descriptor, backlog)?;
            // A refusal names whoever watches the descriptor already, so nothing is borrowed here.
            let source = Source::new(handle, descriptor, Interest::NONE, watcher(number))?;
            if let Some(listener) = self.0.borrow_mut().get_mut(number) {
                listener.source = Some(source);
            }
        }
        Ok(())
    }

    /// Watches those that do not rest, or none.
    pub(super) fn watch(&self, watched: bool) {
        for listener in &*self.0.borrow() {
            listener.watch(watched && listener.resting.is_none());
        }
    }

    /// Takes the next connection that waits; none from a closed server.
    pub(super) fn accept(&self, number: usize) -> Option<Result<Accepted, Errno>> {
        let listeners = self.0.borrow();
        let listener = listeners.get(number)?;
        Some(tcp::accept(&listener.descriptor).map(|(descriptor, peer)| Accepted {
            kind: Kind::accepted(&descriptor, &listener.sockname),
            descriptor,
            peername: peer.map(address_of),
        }))
    }

    /// Stops watching one until [`wake`](Listeners::wake), which the timer will call.
    pub(super) fn rest(&self, number: usize, timer: TimerHandle) {
        if let Some(listener) = self.0.borrow_mut().get_mut(number) {
            listener.watch(false);
            listener.resting = Some(timer);
        }
    }

    /// Ends the rest of one; it is watched again if `watched`.
    pub(super) fn wake(&self, number: usize, watched: bool) {
        if let Some(listener) = self.0.borrow_mut().get_mut(number) {
            listener.resting = None;
            listener.watch(watched);
        }
    }

    /// Closes them all. The answer is whose files could not be removed, and why.
    pub(super) fn close(&self) -> Vec<(String, io::Error)> {
        let mut left = Vec::new();
        for mut listener in self.0.take() {
            if let Some(timer) = &listener.resting {
                timer.cancel();
            }
            if let Some(Err(error)) = listener.file.as_mut().map(SocketFile::remove) {
                left.push((format!("server on {}", listener.sockname), error));
            }
        }
        left
    }
}

impl Listener {
    fn watch(&self, watched: bool) {
        if let Some(source) = &self.source {
            source.set_interest(if watched { Interest::READ } else { Interest::NONE });
        }
    }
}

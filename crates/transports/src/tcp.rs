//! The system calls of connecting and serving: making, binding, accepting and connecting sockets.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, Protocol as IpProtocol, SocketType, sockopt};
use tidegate_protocols::{Waiter, Waiters};
use tidegate_reactor::{Interest, LoopHandle, Readiness, Source, Watcher};

use crate::addresses::Candidate;
use crate::errors::{ArgumentError, BindError};

pub(crate) use flags::accept;

/// Makes a non-blocking stream socket for an address.
pub(crate) fn stream_socket(candidate: &Candidate) -> io::Result<OwnedFd> {
    let family = match candidate.address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let protocol = NonZeroU32::new(candidate.protocol.cast_unsigned()).map(IpProtocol::from_raw);
    Ok(flags::socket(family, SocketType::STREAM, protocol)?)
}

/// Makes a non-blocking Unix socket.
pub(crate) fn unix_socket(kind: SocketType) -> io::Result<OwnedFd> {
    Ok(flags::socket(AddressFamily::UNIX, kind, None)?)
}

/// Makes a socket that was given to us one of ours: a stream socket, and non-blocking.
///
/// # Errors
///
/// [`ArgumentError::NotAStreamSocket`], or the system's error for a descriptor that is closed.
pub(crate) fn adopt(descriptor: &OwnedFd) -> io::Result<()> {
    match sockopt::socket_type(descriptor) {
        Ok(SocketType::STREAM) => Ok(rustix::io::ioctl_fionbio(descriptor, true)?),
        Ok(_) | Err(Errno::NOTSOCK) => Err(ArgumentError::NotAStreamSocket.into()),
        Err(error) => Err(error.into()),
    }
}

/// Sends small pieces at once. On a socket that is not TCP the system refuses, which changes nothing: whether it is.
pub(crate) fn set_no_delay(descriptor: &OwnedFd) -> bool {
    sockopt::set_tcp_nodelay(descriptor, true).is_ok()
}

/// Whether a stream socket is one of TCP.
pub(crate) fn is_tcp(descriptor: &OwnedFd) -> bool {
    sockopt::tcp_nodelay(descriptor).is_ok()
}

/// Binds a socket to a local address.
pub(crate) fn bind(descriptor: &OwnedFd, address: &SocketAddr) -> Result<(), BindError> {
    net::bind(descriptor, address)
        .map_err(|error| BindError { address: *address, error: error.into() })
}

/// Makes a bound socket accept connections, of which about `backlog` may wait.
pub(crate) fn listen(descriptor: impl AsFd, backlog: u32) -> io::Result<()> {
    Ok(net::listen(descriptor, backlog.try_into().unwrap_or(i32::MAX))?)
}

/// Connects a socket, which is closed on every error and when the future is dropped.
pub(crate) async fn connect(
    handle: &LoopHandle,
    descriptor: OwnedFd,
    address: SocketAddr,
) -> io::Result<OwnedFd> {
    match net::connect(&descriptor, &address) {
        Ok(()) => Ok(descriptor),
        Err(Errno::INPROGRESS | Errno::INTR) => InProgress::new(handle, descriptor, address)?.await,
        Err(error) => Err(error.into()),
    }
}

/// The wait for a connection in progress.
struct InProgress {
    progress: Rc<Progress>,
    waiter: Waiter,
}

struct Progress {
    address: SocketAddr,
    /// Gone when the attempt is decided or given up.
    source: RefCell<Option<Source<OwnedFd>>>,
    decided: Cell<bool>,
    waiters: Waiters,
}

impl InProgress {
    fn new(
        handle: &LoopHandle,
        descriptor: OwnedFd,
        address: SocketAddr,
    ) -> io::Result<InProgress> {
        let progress = Rc::new(Progress {
            address,
            source: RefCell::new(None),
            decided: Cell::new(false),
            waiters: Waiters::new(),
        });
        let source = Source::new(handle, descriptor, Interest::WRITE, progress.clone())?;
        *progress.source.borrow_mut() = Some(source);
        Ok(InProgress { progress, waiter: Waiter::new() })
    }

    fn take_source(&self) -> Option<Source<OwnedFd>> {
        self.progress.source.borrow_mut().take()
    }
}

impl Future for InProgress {
    type Output = io::Result<OwnedFd>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.progress.decided.get() {
            self.progress.waiters.register(&self.waiter, context.waker());
            return Poll::Pending;
        }
        let source = self.take_source().expect("polled after it was ready");
        Poll::Ready(match sockopt::socket_error(source.get_ref()) {
            Ok(Ok(())) => Ok(source.into_inner()),
            Ok(Err(error)) | Err(error) => Err(error.into()),
        })
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        drop(self.take_source());
    }
}

impl Watcher for Progress {
    fn ready(self: Rc<Self>, _: Readiness) {
        // Whoever waits may be slow to look; until then the loop need not come by again.
        if let Some(source) = &*self.source.borrow() {
            source.set_interest(Interest::NONE);
        }
        self.decided.set(true);
        self.waiters.wake_all();
    }

    fn name(&self) -> String {
        format!("connection attempt to {}", self.address)
    }
}

/// Where the system makes a socket with its flags in one call.
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod flags {
    use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with, socket_with};

    use super::*;

    const OURS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

    /// Makes a non-blocking socket.
    pub(crate) fn socket(
        family: AddressFamily,
        kind: SocketType,
        protocol: Option<IpProtocol>,
    ) -> Result<OwnedFd, Errno> {
        socket_with(family, kind, OURS, protocol)
    }

    /// Takes the next waiting connection, non-blocking, and whom it is from.
    pub(crate) fn accept(listener: impl AsFd) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        acceptfrom_with(listener, OURS)
    }
}

/// Where it takes a call a flag.
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod flags {
    use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
    use rustix::net::{SocketAddrAny, acceptfrom};

    use super::*;

    /// Makes a non-blocking socket.
    pub(crate) fn socket(
        family: AddressFamily,
        kind: SocketType,
        protocol: Option<IpProtocol>,
    ) -> Result<OwnedFd, Errno> {
        with_flags(net::socket(family, kind, protocol)?)
    }

    /// Takes the next waiting connection, non-blocking, and whom it is from.
    pub(crate) fn accept(listener: impl AsFd) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
        let (descriptor, peer) = acceptfrom(listener)?;
        Ok((with_flags(descriptor)?, peer))
    }

    fn with_flags(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
        fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
        ioctl_fionbio(&descriptor, true)?;
        Ok(descriptor)
    }
}

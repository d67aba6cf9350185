//! The future of a child that is being started: from the request to a protocol that has been greeted.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_protocols::{Waiter, WriteLimits};
use tidegate_reactor::LoopHandle;

use crate::pipes;
use crate::process::Process;
use crate::spawn::Request;
use crate::watch::Watch;
use crate::{SpawnError, SubprocessProtocol, SubprocessTransport};

/// What a builder of a child makes of it; asyncio's `protocol_factory`, and whatever answers more than the transport.
///
/// A function that answers a protocol is one, and is all that most programs need. Crates that stand on protocols
/// implement it, so that their children have every option of ours.
///
/// ```
/// use std::io;
/// use tidegate_subprocess::{
///     SpawnSubprocess, SubprocessFactory, SubprocessProtocol, SubprocessTransport,
/// };
///
/// struct Idle;
/// impl SubprocessProtocol for Idle {}
///
/// /// Answers the number of the child.
/// struct Number;
/// impl SubprocessFactory for Number {
///     type Opened = u32;
///     type Kept = ();
///     fn make(self) -> (Box<dyn SubprocessProtocol>, ()) {
///         (Box::new(Idle), ())
///     }
///     fn opened((): (), transport: SubprocessTransport) -> u32 {
///         transport.get_pid()
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// # tidegate_reactor::run(async {
/// assert!(SpawnSubprocess::exec(Number, "true").await? > 0);
/// # Ok::<(), io::Error>(())
/// # })
/// # }
/// ```
pub trait SubprocessFactory {
    /// What the builder resolves to.
    type Opened;
    /// What is kept of the factory until the child's protocol was greeted.
    type Kept;

    /// Looks at what was asked for when the builder is polled, before anything else happens.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the builder answers that. As provided there is nothing.
    fn check(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the protocol; nothing was started yet.
    fn make(self) -> (Box<dyn SubprocessProtocol>, Self::Kept);

    /// What the builder resolves to, now that `connection_made` has returned.
    fn opened(kept: Self::Kept, transport: SubprocessTransport) -> Self::Opened;
}

impl<F, P> SubprocessFactory for F
where
    F: FnOnce() -> P,
    P: SubprocessProtocol,
{
    type Opened = SubprocessTransport;
    type Kept = ();

    fn make(self) -> (Box<dyn SubprocessProtocol>, ()) {
        (Box::new(self()), ())
    }

    fn opened((): (), transport: SubprocessTransport) -> SubprocessTransport {
        transport
    }
}

/// The future of [`SpawnSubprocess`](crate::SpawnSubprocess).
#[must_use = "futures do nothing unless awaited"]
pub struct Spawning<F: SubprocessFactory>(Step<F>);

enum Step<F: SubprocessFactory> {
    Asked(Option<Box<(F, Request)>>),
    Opening(Opening, Option<F::Kept>),
}

impl<F: SubprocessFactory> Spawning<F> {
    pub(crate) fn new(factory: F, request: Request) -> Spawning<F> {
        Spawning(Step::Asked(Some(Box::new((factory, request)))))
    }
}

// The factory, and what is kept of it, are moved out, never pinned.
impl<F: SubprocessFactory> Unpin for Spawning<F> {}

impl<F: SubprocessFactory> Future for Spawning<F> {
    type Output = io::Result<F::Opened>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                Step::Asked(asked) => {
                    let (factory, request) = *asked.take().expect("a child is started once");
                    let handle = LoopHandle::current()?;
                    factory.check()?;
                    request.check()?;
                    let (protocol, kept) = factory.make();
                    let opening = start(&handle, request, protocol)?;
                    self.0 = Step::Opening(opening, Some(kept));
                }
                Step::Opening(opening, kept) => {
                    let transport = ready!(opening.poll(context))?;
                    let kept = kept.take().expect("a child is opened once");
                    return Poll::Ready(Ok(F::opened(kept, transport)));
                }
            }
        }
    }
}

impl<F: SubprocessFactory> fmt::Debug for Spawning<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.0 {
            Step::Asked(_) => "asked",
            Step::Opening(..) => "opening",
        };
        f.debug_struct("Spawning").field("step", &step).finish_non_exhaustive()
    }
}

/// A child that runs, and whose protocol is to be greeted. Dropped before that it is closed.
struct Opening {
    process: Rc<Process>,
    waiter: Waiter,
    taken: bool,
}

impl Opening {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<SubprocessTransport>> {
        let opened = ready!(self.process.poll_opened(&self.waiter, context));
        self.taken = true;
        Poll::Ready(opened.map(|()| SubprocessTransport(self.process.clone())))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.taken {
            self.process.close();
        }
    }
}

/// Starts a child and has the loop look after it; on every error nothing of it is left.
fn start(
    handle: &LoopHandle,
    request: Request,
    protocol: Box<dyn SubprocessProtocol>,
) -> io::Result<Opening> {
    // A child that shares a descriptor with a transport must not overtake what was written to it before.
    handle.offer_all();
    let (leads_group, limits) = (request.leads_group(), request.limits);
    let started = request.spawn()?;
    let watch = Watch::open(started.pid, started.pidfd).map_err(SpawnError::of_system)?;
    let process =
        Process::adopt(handle, watch, leads_group, protocol).map_err(SpawnError::of_system)?;
    if let Err(error) = open_pipes(&process, started.pipes, limits) {
        process.forget();
        return Err(SpawnError::of_system(error).into());
    }
    Ok(Opening { process, waiter: Waiter::new(), taken: false })
}

fn open_pipes(
    process: &Rc<Process>,
    ends: [Option<OwnedFd>; 3],
    limits: WriteLimits,
) -> io::Result<()> {
    for (fd, end) in (0..).zip(ends) {
        if let Some(end) = end {
            pipes::open(process, fd, end, limits)?;
        }
    }
    Ok(())
}

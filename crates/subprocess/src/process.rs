//! A child as the loop owns it: what its descriptors bring, told to its protocol in order, until it is lost.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use tidegate_protocols::{Caller, Cause, Lent, Slot, Waiter, Waiters};
use tidegate_reactor::{Enrolled, LoopHandle, Queued, Readiness, Report, Signal, Watcher};
use tidegate_transports::stream::Attached;

use crate::lifecycle::{Life, LifeEvent, Owed};
use crate::watch::Watch;
use crate::{PipeTransport, SendSignalError, SubprocessProtocol, SubprocessTransport};

/// The status of a child that somebody else has reaped; asyncio's as well.
const UNKNOWN: i32 = 255;

/// One child. Every field that may hold a user's value is a cell that is taken, used and put back.
pub(crate) struct Process {
    me: Weak<Process>,
    pub(crate) handle: LoopHandle,
    pub(crate) pid: u32,
    /// The number is that of a process group too, which the child leads.
    leads_group: bool,
    life: Cell<Life>,
    pub(crate) slot: Slot<dyn SubprocessProtocol>,
    cause: Cell<Option<Cause>>,
    status: Cell<Option<ExitStatus>>,
    /// Gone when the child is reaped: from then on its number may be another's.
    watch: RefCell<Option<Watch>>,
    /// The place in the loop, kept until the loss.
    place: Cell<Option<Enrolled>>,
    pipes: [OnceCell<PipeTransport>; 3],
    /// Which pipes tell the protocol what they bring: those that nobody has given another protocol.
    telling: [Cell<bool>; 3],
    queued: Cell<bool>,
    /// `connection_made` has failed, or never came.
    unopened: Cell<bool>,
    opened: Waiters,
    exited: Waiters,
    closed: Waiters,
}

impl Process {
    /// Has the loop look after a child that was just started. `connection_made` is queued, before anything that its
    /// pipes will have to tell.
    ///
    /// # Errors
    ///
    /// That the loop is closed, or what it says to one more descriptor. The child is killed and reaped then.
    pub(crate) fn adopt(
        handle: &LoopHandle,
        mut watch: Watch,
        leads_group: bool,
        protocol: Box<dyn SubprocessProtocol>,
    ) -> io::Result<Rc<Process>> {
        let process = Rc::new_cyclic(|me| Process {
            me: Weak::clone(me),
            handle: handle.clone(),
            pid: watch.pid(),
            leads_group,
            life: Cell::new(Life::NEW),
            slot: Slot::new(protocol),
            cause: Cell::new(None),
            status: Cell::new(None),
            watch: RefCell::new(None),
            place: Cell::new(None),
            pipes: [const { OnceCell::new() }; 3],
            telling: [const { Cell::new(false) }; 3],
            queued: Cell::new(false),
            unopened: Cell::new(false),
            opened: Waiters::new(),
            exited: Waiters::new(),
            closed: Waiters::new(),
        });
        let registered = watch.register(handle, process.clone());
        *process.watch.borrow_mut() = Some(watch);
        let placed = registered.and_then(|()| {
            process.place.set(Some(handle.enrol(process.clone())?));
            process.queued.set(true);
            Ok(handle.queue(process.clone())?)
        });
        match placed {
            Ok(()) => Ok(process),
            Err(error) => {
                process.forget();
                Err(error)
            }
        }
    }

    /// A pipe was opened.
    pub(crate) fn add_pipe(&self, fd: RawFd, pipe: PipeTransport) {
        self.happens(LifeEvent::PipeOpened);
        let place = usize::try_from(fd).ok().and_then(|fd| self.pipes.get(fd));
        let place = place.expect("a child has three standard streams");
        assert!(place.set(pipe).is_ok(), "a stream has one pipe");
    }

    pub(crate) fn pipe(&self, fd: RawFd) -> Option<&PipeTransport> {
        self.pipes.get(usize::try_from(fd).ok()?)?.get()
    }

    fn pipes(&self) -> impl Iterator<Item = &PipeTransport> {
        self.pipes.iter().filter_map(OnceCell::get)
    }

    /// Whether a pipe tells the protocol what it brings, from now on.
    pub(crate) fn set_telling(&self, fd: RawFd, tells: bool) {
        if let Some(telling) = self.telling_of(fd) {
            telling.set(tells);
        }
    }

    fn telling_of(&self, fd: RawFd) -> Option<&Cell<bool>> {
        self.telling.get(usize::try_from(fd).ok()?)
    }

    fn share(&self) -> Rc<Process> {
        self.me.upgrade().expect("a child is asked through a share of it")
    }

    fn happens(&self, event: LifeEvent) {
        self.life.set(self.life.get().on(event));
    }

    /// Lets the loop call back with what is owed.
    fn queue(&self) {
        // A loop that is closed calls nobody.
        if !self.queued.replace(true) && self.handle.queue(self.share()).is_err() {
            self.queued.set(false);
        }
    }

    fn title(&self) -> String {
        format!("subprocess transport of child {}", self.pid)
    }
}

/// What is told.
impl Process {
    /// Tells what is owed, each callback as a step; on a fresh stack only.
    fn settle(&self) {
        loop {
            let life = self.life.get();
            if life.is_lost() {
                return;
            }
            if self.slot.is_lent() {
                // Somebody looks at the protocol and runs the loop meanwhile.
                return self.slot.when_home(self.share());
            }
            let title = || self.title();
            match life.owed() {
                Some(Owed::ConnectionMade) => self.handle.step(&title, || self.greet()),
                Some(Owed::ProcessExited) => self.handle.step(&title, || self.tell_exit()),
                Some(Owed::ConnectionLost) => self.handle.step(&title, || self.lose()),
                None => return,
            };
        }
    }

    fn greet(&self) {
        self.callback("connection_made", |protocol, transport| {
            protocol.connection_made(transport);
            Ok(())
        });
        self.unopened.set(self.copy_of_cause().is_some());
        self.happens(LifeEvent::Greeted);
        self.opened.wake_all();
    }

    fn tell_exit(&self) {
        self.callback("process_exited", |protocol, transport| protocol.process_exited(transport));
        self.happens(LifeEvent::ExitTold);
    }

    fn lose(&self) {
        // First, so that a callback that fails leaves the cause as it was told.
        self.happens(LifeEvent::Lose);
        let cause = self.copy_of_cause();
        self.callback("connection_lost", |protocol, transport| {
            protocol.connection_lost(transport, cause);
            Ok(())
        });
        self.let_go();
    }

    /// Makes one callback. One that fails or panics ends the transport.
    pub(crate) fn callback(
        &self,
        stage: &'static str,
        call: impl FnOnce(&mut dyn SubprocessProtocol, &SubprocessTransport) -> io::Result<()>,
    ) {
        let transport = SubprocessTransport(self.share());
        let cause = match self.slot.lend(|protocol| call(protocol, &transport)) {
            Lent::Gave(Ok(())) | Lent::Nobody => return,
            Lent::Gave(Err(error)) => Cause::from(error),
            Lent::Panicked(payload) => Cause::from_panic(payload),
        };
        // First of all, so that a handler that ends the transport too does not take the cause away.
        self.end_with(Some(cause.clone()));
        if !cause.is_os_error() {
            self.report(&format!("Fatal error: protocol.{stage}() call failed."), cause);
        }
    }

    /// Tells the exception handler of something that went wrong here; on a fresh stack only.
    fn report(&self, message: &str, cause: Cause) {
        let mut report = Report::new(message).error(cause).transport(self.title());
        let name = self.slot.lend(|protocol| SubprocessProtocol::type_name(protocol));
        if let Lent::Gave(name) = name {
            report = report.protocol(name);
        }
        self.handle.call_exception_handler(report);
    }
}

/// What is looked at.
impl Process {
    /// Lends the protocol to somebody who looks at it, and who may run the loop meanwhile.
    ///
    /// The pipes that tell it have their own protocols out as well, so that what they bring waits in the system: as it
    /// does under a layer.
    pub(crate) fn lend<R>(&self, look: impl FnOnce(&mut dyn SubprocessProtocol) -> R) -> Lent<R> {
        let (mut look, mut lent) = (Some(look), Lent::Nobody);
        if !self.slot.is_lent() {
            self.lend_with_pipes(0..3, &mut || {
                if let Some(look) = look.take() {
                    lent = self.slot.lend(look);
                }
            });
        }
        lent
    }

    fn lend_with_pipes(&self, mut pipes: Range<RawFd>, look: &mut dyn FnMut()) {
        let Some(fd) = pipes.next() else { return look() };
        let tells = self.telling_of(fd).is_some_and(Cell::get);
        let mut looked = false;
        if let Some(pipe) = self.pipe(fd).filter(|_| tells) {
            // One that somebody else looks at is out already.
            let _out_or_gone = pipe.transport().raw().with_protocol(&mut |_pipe_protocol| {
                looked = true;
                self.lend_with_pipes(pipes.clone(), look);
            });
        }
        if !looked {
            self.lend_with_pipes(pipes, look);
        }
    }
}

/// How it ends.
impl Process {
    /// The descriptor that stands for the child says that it has ended.
    fn on_exit(&self) {
        // The leader of a group is left as a zombie until the loss: so long nobody else can get the group's number.
        let collected = match &*self.watch.borrow() {
            Some(watch) if self.life.get().is_running() => watch.collect(self.leads_group),
            _ => return,
        };
        let (status, unknown) = match collected {
            Ok(None) => return,
            Ok(Some(status)) => (status, None),
            Err(error) => (ExitStatus::from_raw(UNKNOWN << 8), Some(error)),
        };
        let watch = self.watch.take();
        if let (Some(mut watch), true, None) = (watch, self.leads_group, unknown) {
            watch.rest();
            *self.watch.borrow_mut() = Some(watch);
        }
        self.status.set(Some(status));
        self.happens(LifeEvent::Exited);
        if let Some(error) = unknown {
            let message = format!(
                "Unknown child process pid {}: somebody else has reaped it, and its status is taken for {UNKNOWN}",
                self.pid
            );
            self.report(&message, io::Error::from(error).into());
        }
        self.settle();
        self.exited.wake_all();
    }

    /// Closes: the pipes, and a child that still runs is killed.
    pub(crate) fn close(&self) {
        if self.life.get().is_closing() {
            return;
        }
        self.happens(LifeEvent::Close);
        let killed = self.kill();
        for pipe in self.pipes() {
            match pipe {
                // Nobody is left who would read the rest.
                PipeTransport::Write(pipe) if killed => pipe.abort(),
                pipe => pipe.close(),
            }
        }
    }

    /// Ends it now, with this cause if it is the first.
    pub(crate) fn end_with(&self, cause: Option<Cause>) {
        if self.life.get().is_lost() {
            return;
        }
        if !self.is_closing() {
            self.cause.set(cause);
        } else if let Some(cause) = cause {
            let before = self.cause.take();
            self.cause.set(Some(before.unwrap_or(cause)));
        }
        self.happens(LifeEvent::Close);
        self.kill();
        self.pipes().for_each(PipeTransport::abort);
    }

    /// Ends it now with a cause that a user gives, which may be inside of a call of the user's.
    pub(crate) fn fail(&self, cause: Cause) {
        if !cause.is_os_error() && !self.life.get().is_lost() {
            let (process, cause) = (self.share(), cause.clone());
            // A loop that is closed has nobody to tell.
            let _closed = self
                .handle
                .call_soon(move || process.report("Fatal error on subprocess transport", cause));
        }
        self.end_with(Some(cause));
    }

    /// Kills a child that is not known to have ended; answers whether there was one.
    fn kill(&self) -> bool {
        // Whatever is wrong with it: it has gone already, or may not be killed by us.
        let running = self.life.get().is_running();
        if running {
            let _gone_or_not_ours = self.send_signal(Signal::SIGKILL);
        }
        running
    }

    pub(crate) fn send_signal(&self, signal: Signal) -> Result<(), SendSignalError> {
        if self.life.get().is_lost() {
            return Err(SendSignalError::NoSuchProcess);
        }
        if !self.life.get().is_running() {
            return Ok(());
        }
        self.handle.offer_all();
        match &*self.watch.borrow() {
            Some(watch) => Ok(watch.send_signal(signal)?),
            None => Ok(()),
        }
    }

    pub(crate) fn send_signal_to_group(&self, signal: Signal) -> Result<(), SendSignalError> {
        if !self.leads_group {
            return Err(SendSignalError::NoGroup);
        }
        if self.life.get().is_lost() {
            return Err(SendSignalError::NoSuchProcess);
        }
        self.handle.offer_all();
        match &*self.watch.borrow() {
            Some(watch) => Ok(watch.send_signal_to_group(signal)?),
            None => Ok(()),
        }
    }

    /// The loop closes, or the start has failed half-way: the child is killed and reaped, and no callback comes.
    pub(crate) fn forget(&self) {
        let life = self.life.get();
        if life.is_lost() {
            return;
        }
        if !life.is_greeted() {
            let aborted = io::ErrorKind::ConnectionAborted;
            let error = io::Error::new(aborted, "the loop was closed before connection_made");
            self.cause.set(Some(error.into()));
            self.unopened.set(true);
        }
        self.happens(LifeEvent::LoopClosed);
        self.pipes().for_each(PipeTransport::abort);
        let watch = self.watch.take();
        if let (Some(watch), true) = (watch, life.is_running()) {
            let status = watch.kill_and_reap();
            self.status.set(Some(status.unwrap_or(ExitStatus::from_raw(UNKNOWN << 8))));
        }
        self.exited.wake_all();
        self.let_go();
    }

    /// Reaps the child if it is not yet, drops the protocol, and tells whoever waits.
    fn let_go(&self) {
        let watch = self.watch.take();
        drop(watch);
        let place = self.place.take();
        drop(place);
        if let Err(payload) = self.slot.empty() {
            self.report("Exception in the destructor of a protocol", Cause::from_panic(payload));
        }
        self.opened.wake_all();
        self.closed.wake_all();
    }
}

/// What can be asked.
impl Process {
    pub(crate) fn is_closing(&self) -> bool {
        self.life.get().is_closing()
    }

    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.status.get()
    }

    /// Another share of the cause.
    fn copy_of_cause(&self) -> Option<Cause> {
        let cause = self.cause.take();
        let copy = cause.clone();
        self.cause.set(cause);
        copy
    }

    /// Ready when `connection_made` has returned.
    ///
    /// # Errors
    ///
    /// What it failed with, or that the loop was closed before.
    pub(crate) fn poll_opened(
        &self,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let life = self.life.get();
        if !life.is_greeted() {
            self.opened.register(waiter, context.waker());
            return Poll::Pending;
        }
        match self.copy_of_cause() {
            Some(cause) if self.unopened.get() => Poll::Ready(Err(cause.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    pub(crate) fn poll_exited(
        &self,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<ExitStatus> {
        if let Some(status) = self.status.get() {
            return Poll::Ready(status);
        }
        self.exited.register(waiter, context.waker());
        Poll::Pending
    }

    pub(crate) fn poll_closed(
        &self,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<Option<Cause>> {
        if self.life.get().is_lost() {
            return Poll::Ready(self.copy_of_cause());
        }
        self.closed.register(waiter, context.waker());
        Poll::Pending
    }
}

impl Watcher for Process {
    fn ready(self: Rc<Self>, _readiness: Readiness) {
        self.on_exit();
    }

    fn name(&self) -> String {
        self.title()
    }

    fn shut_down(self: Rc<Self>) {
        self.end_with(None);
    }

    fn loop_closed(self: Rc<Self>) {
        self.forget();
    }
}

impl Queued for Process {
    fn run(self: Rc<Self>) {
        self.queued.set(false);
        self.settle();
    }

    fn name(&self) -> String {
        self.title()
    }
}

impl Caller for Process {
    fn protocol_is_home(self: Rc<Self>) {
        self.queue();
    }
}

/// A pipe is gone, whoever its protocol was.
impl Attached for Process {
    fn detached(&self, _fd: usize) {
        self.happens(LifeEvent::PipeEnded);
        if self.life.get().owed().is_some() {
            self.queue();
        }
    }
}

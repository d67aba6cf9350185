//! Accepting: from a listener that is ready to connections with protocols, and the rests in between.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::time::Duration;

use rustix::io::Errno;
use tidegate_protocols::{Address, Cause, Transport, layer::stack};
use tidegate_reactor::{Interest, Readiness, Report, Watcher};

use super::listeners::Accepted;
use super::members::{Arrival, count};
use super::{Core, Recipe, Stage};
use crate::stream::StreamOptions;

/// How long a listener rests when the system has no descriptors or memory left: one second.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Watches one listener of a server, which it keeps alive so.
pub(super) struct Acceptor {
    pub(super) core: Rc<Core>,
    pub(super) number: usize,
}

impl Watcher for Acceptor {
    fn ready(self: Rc<Self>, _: Readiness) {
        self.core.accept_waiting(self.number);
    }

    fn name(&self) -> String {
        self.core.listeners.title(self.number)
    }

    fn shut_down(self: Rc<Self>) {
        self.core.close();
    }

    fn stop_listening(self: Rc<Self>) {
        self.core.close();
    }

    fn loop_closed(self: Rc<Self>) {
        self.core.close();
    }
}

impl Core {
    /// Accepts what waits, up to the backlog and at least one.
    fn accept_waiting(self: &Rc<Core>, number: usize) {
        for _ in 0..self.settings.backlog.max(1) {
            match self.listeners.accept(number) {
                Some(Ok(accepted)) => self.welcome(accepted),
                Some(Err(Errno::AGAIN)) | None => return,
                Some(Err(error)) if concerns_one_connection(error) => {}
                Some(Err(error)) => return self.rest(number, error),
            }
            if !self.is_open_to_more() {
                return self.watch();
            }
        }
    }

    /// Gives an accepted connection its protocol. Whatever fails closes this connection and is reported.
    fn welcome(self: &Rc<Core>, accepted: Accepted) {
        let serial = self.members.next_serial();
        // Gone only if the server is closed; the connection is then closed too.
        let Some(mut recipe) = self.recipe.take() else { return };
        let peername = accepted.peername.clone();
        let set_up = catch_unwind(AssertUnwindSafe(|| self.set_up(&mut recipe, accepted, serial)));

        if self.stage.get() == Stage::Closed {
            drop(recipe);
        } else {
            self.recipe.set(Some(recipe));
        }

        let failure = match set_up {
            Ok(Ok(())) => return,
            Ok(Err(error)) => Cause::from(error),
            Err(panic) => Cause::from_panic(panic),
        };
        count(&self.members.refused, 1);
        self.handle.call_exception_handler(failed_to_open(failure, peername));
    }

    fn set_up(
        self: &Rc<Core>,
        recipe: &mut Recipe,
        accepted: Accepted,
        serial: u64,
    ) -> io::Result<()> {
        let Accepted { descriptor, peername, kind } = accepted;
        let choices = &recipe.choices;
        let mut protocol = recipe.factory.make();
        let layered = !choices.layers.is_empty();
        if layered {
            self.members.expect(serial);
            let core = Rc::downgrade(self);
            let told = move |outcome| {
                if let Some(core) = Weak::upgrade(&core) {
                    core.told(serial, outcome);
                }
            };
            protocol = stack(&choices.layers, protocol, None, told);
        }

        // No code of the user's runs from here until the member is in its place.
        let member = self.members.next_number();
        let options = StreamOptions {
            limits: choices.limits,
            abort_above: choices.abort_above,
            peername,
            attached: Some((self.clone(), member)),
            greeted: None,
            layered,
        };
        let wire = kind.open(
            &self.handle,
            descriptor,
            choices.receive_fds,
            Interest::READ,
            protocol,
            options,
            None,
        )?;
        let now = self.settings.idle_timeout.map(|_| self.handle.time());
        if !self.members.add(Arrival { wire: wire.clone(), serial, layered, now }) {
            wire.abort();
        }

        self.limit_opening();
        self.watch_idle();
        Ok(())
    }

    /// The gate of a connection with layers has been told.
    fn told(&self, serial: u64, outcome: Result<Transport, Cause>) {
        let cause = match outcome {
            Ok(top) => return self.members.opened(serial, top),
            Err(cause) => cause,
        };
        // Whoever failed may have left the connection below open.
        let wire = self.members.not_opened(serial);
        let peername = wire.as_ref().and_then(Transport::peername);
        if let Some(wire) = wire {
            wire.abort();
        }
        // A panic that drops the gate is reported by whoever catches it.
        if self.handle.get_debug() && !std::thread::panicking() {
            // This may be inside a call of the user's, where no callback may come up.
            let handle = self.handle.clone();
            let report = failed_to_open(cause, peername);
            let _ = self.handle.call_soon(move || handle.call_exception_handler(report));
        }
    }

    /// Peers that stall while they open must not lock out others.
    fn limit_opening(&self) {
        while let Some(longest) = self.members.one_too_many(self.settings.max_opening) {
            count(&self.members.aborted, 1);
            longest.abort();
        }
    }

    /// The system has run out of something: accepting rests, or the loop would do nothing else.
    fn rest(self: &Rc<Core>, number: usize, error: Errno) {
        let core = Rc::downgrade(self);
        let wake = move || {
            if let Some(core) = core.upgrade() {
                core.listeners.wake(number, core.is_open_to_more());
            }
        };
        // A closed loop has closed the listeners.
        let Ok(timer) = self.handle.call_later(ACCEPT_RETRY_DELAY, wake) else { return };
        self.listeners.rest(number, timer);
        let message = match error {
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => {
                "socket.accept() out of system resource"
            }
            _ => "socket.accept() failed",
        };
        let report =
            Report::new(message).error(io::Error::from(error)).socket(self.listeners.title(number));
        self.handle.call_exception_handler(report);
    }

    /// Sees to it that idle connections are looked at, if they are to be.
    fn watch_idle(self: &Rc<Core>) {
        let Some(limit) = self.settings.idle_timeout else { return };
        if self.sweeping.get() || self.members.len() == 0 {
            return;
        }
        let core = Rc::downgrade(self);
        let sweep = move || {
            if let Some(core) = core.upgrade() {
                core.sweep(limit);
            }
        };
        let pause = (limit / 4).max(Duration::from_millis(1));
        self.sweeping.set(self.handle.call_later(pause, sweep).is_ok());
    }

    /// Ends the connections that have been idle for `limit`.
    fn sweep(self: &Rc<Core>, limit: Duration) {
        self.sweeping.set(false);
        let idle = self.members.idle(self.handle.time(), limit);
        count(&self.members.timed_out, idle.len());
        for wire in idle {
            wire.fail(Cause::from(io::Error::from(Errno::TIMEDOUT)));
        }
        self.watch_idle();
    }
}

/// Whether an error of `accept` is that of the connection it would have answered; the next may be fine.
fn concerns_one_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNABORTED
            | Errno::INTR
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NOPROTOOPT
            | Errno::TIMEDOUT
    )
}

fn failed_to_open(cause: Cause, peername: Option<Address>) -> Report {
    let report = Report::new("Error on transport creation for incoming connection").error(cause);
    match peername {
        Some(peername) => report.peer(peername.to_string()),
        None => report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_one_connection_is_passed_over() {
        // S-15
        for error in [Errno::CONNABORTED, Errno::INTR, Errno::PROTO, Errno::HOSTUNREACH] {
            assert!(concerns_one_connection(error), "{error:?}");
        }
        // S-17
        for error in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert!(!concerns_one_connection(error), "{error:?}");
        }
    }
}

//! The connections of one server: how many, which are still opening, and which have been idle.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use slab::Slab;
use tidegate_protocols::Transport;

/// What a server has done and what it holds, at the moment of asking.
///
/// The asyncio counterpart is `Server._active_count`, as far as there is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatistics {
    /// Connections taken from the system since the server was made.
    pub accepted: u64,
    /// Of those, closed at once: their protocol could not be made, or the loop could not take them.
    pub refused: u64,
    /// Connections there are now, those that are opening and those that are closing included.
    pub open: usize,
    /// Of those, the ones whose layers are not open yet.
    pub opening: usize,
    /// Connections ended by `abort_clients`, at the deadline of `drain`, or because too many were opening.
    pub aborted: u64,
    /// Connections ended because they were idle for too long.
    pub timed_out: u64,
}

/// The connections of one server.
#[derive(Default)]
pub(super) struct Members {
    all: RefCell<Slab<Member>>,
    /// By their serials, so that the first has waited longest.
    opening: RefCell<BTreeMap<u64, usize>>,
    pub(super) accepted: Cell<u64>,
    pub(super) refused: Cell<u64>,
    pub(super) aborted: Cell<u64>,
    pub(super) timed_out: Cell<u64>,
}

/// One connection. Ten thousand idle ones are ten thousand of these, so it is kept small.
struct Member {
    /// The connection itself, below all layers.
    wire: Transport,
    account: Option<Box<Account>>,
}

/// What is kept of connections that have layers or may be idle for a time only.
struct Account {
    /// How many were accepted before, which is another number for each.
    serial: u64,
    /// The connection as its protocol sees it, once its layers are open.
    top: Option<Transport>,
    /// How many bytes had gone through at the last look.
    moved: u64,
    /// When they were seen to have become more, by the loop's clock.
    active: Duration,
}

/// How to keep a new member.
pub(super) struct Arrival {
    pub(super) wire: Transport,
    pub(super) serial: u64,
    pub(super) layered: bool,
    /// The time by the loop's clock, if there is a limit to being idle.
    pub(super) now: Option<Duration>,
}

impl Members {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.borrow().len()
    }

    /// The number that the next one to [`add`](Members::add) will have.
    pub(super) fn next_number(&self) -> usize {
        self.all.borrow().vacant_key()
    }

    /// Counts one more connection and answers its serial.
    pub(super) fn next_serial(&self) -> u64 {
        let serial = self.accepted.get();
        self.accepted.set(serial + 1);
        serial
    }

    /// The layers of the next one are about to be made. Its number comes with [`add`](Members::add).
    pub(super) fn expect(&self, serial: u64) {
        self.opening.borrow_mut().insert(serial, usize::MAX);
    }

    /// Adds one; answers whether its layers, if it has any, may still open.
    pub(super) fn add(&self, arrival: Arrival) -> bool {
        let Arrival { wire, serial, layered, now } = arrival;
        let active = now.unwrap_or_default();
        let account = || Box::new(Account { serial, top: None, moved: 0, active });
        let account = (layered || now.is_some()).then(account);
        let number = self.all.borrow_mut().insert(Member { wire, account });
        if !layered {
            return true;
        }
        match self.opening.borrow_mut().get_mut(&serial) {
            Some(expected) => {
                *expected = number;
                true
            }
            None => false,
        }
    }

    /// Removes one, for the caller to drop: its protocol may hang on it.
    pub(super) fn remove(&self, number: usize) -> Option<impl Sized + use<>> {
        let member = self.all.borrow_mut().try_remove(number)?;
        if let Some(account) = &member.account {
            self.opening.borrow_mut().remove(&account.serial);
        }
        Some(member)
    }

    /// The layers of one are open. An answer for one that is no longer opening is dropped.
    pub(super) fn opened(&self, serial: u64, top: Transport) {
        let number = self.opening.borrow_mut().remove(&serial);
        let Some(number) = number else { return };
        let late = match self.all.borrow_mut().get_mut(number) {
            Some(Member { account: Some(account), .. }) => account.top.replace(top),
            _ => Some(top),
        };
        drop(late);
    }

    /// The layers of one have failed; answers its connection if it is still there.
    pub(super) fn not_opened(&self, serial: u64) -> Option<Transport> {
        let number = self.opening.borrow_mut().remove(&serial)?;
        self.all.borrow().get(number).map(|member| member.wire.clone())
    }

    /// While more than `limit` are opening, the one that has waited longest; it counts as opening no more.
    pub(super) fn one_too_many(&self, limit: usize) -> Option<Transport> {
        let number = {
            let mut opening = self.opening.borrow_mut();
            if opening.len() <= limit {
                return None;
            }
            opening.pop_first()?.1
        };
        self.all.borrow().get(number).map(|member| member.wire.clone())
    }

    /// All connections as they are below their layers.
    pub(super) fn wires(&self) -> Vec<Transport> {
        self.all.borrow().iter().map(|(_, member)| member.wire.clone()).collect()
    }

    /// All connections as their protocols see them.
    pub(super) fn tops(&self) -> Vec<Transport> {
        let top = |member: &Member| {
            let account = member.account.as_ref();
            account.and_then(|account| account.top.as_ref()).unwrap_or(&member.wire).clone()
        };
        self.all.borrow().iter().map(|(_, member)| top(member)).collect()
    }

    /// Looks at every connection and answers those that have moved no byte for `limit`.
    pub(super) fn idle(&self, now: Duration, limit: Duration) -> Vec<Transport> {
        let numbered = |(number, member): (usize, &Member)| (number, member.wire.clone());
        let mut wires: Vec<_> = self.all.borrow().iter().map(numbered).collect();
        wires.retain(|(number, wire)| {
            // What a layer answers may be the user's code, so nothing is borrowed here.
            let statistics = wire.statistics();
            let moved = statistics.bytes_received.wrapping_add(statistics.bytes_sent);
            match self.all.borrow_mut().get_mut(*number) {
                Some(Member { account: Some(account), .. }) if account.moved != moved => {
                    (account.moved, account.active) = (moved, now);
                    false
                }
                Some(Member { account: Some(account), .. }) => {
                    now.saturating_sub(account.active) >= limit
                }
                _ => false,
            }
        });
        wires.into_iter().map(|(_, wire)| wire).collect()
    }

    pub(super) fn statistics(&self) -> ServerStatistics {
        ServerStatistics {
            accepted: self.accepted.get(),
            refused: self.refused.get(),
            open: self.len(),
            opening: self.opening.borrow().len(),
            aborted: self.aborted.get(),
            timed_out: self.timed_out.get(),
        }
    }
}

/// Adds to a counter.
pub(super) fn count(counter: &Cell<u64>, more: usize) {
    counter.set(counter.get() + more as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_takes_two_words() {
        // As the slab keeps it.
        #[expect(dead_code, reason = "only its size is of interest")]
        enum Place {
            Free(usize),
            Taken(Member),
        }
        assert_eq!(size_of::<Place>(), 2 * size_of::<usize>());
    }
}

//! The process's side of signals: who wants which one, and what the system did with it before.

#![allow(
    unsafe_code,
    reason = "registering what runs inside of a signal handler, and asking the system for its present action"
)]

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::sys::signal::{Signal, raise};
use signal_hook_registry::SigId;

/// The bit of [`Alarm::pending`] that says: SIGINT came, and `run()` is to end. No signal has the number zero.
const INTERRUPT: u32 = 0;

/// What the system's signal handler does for a loop: it notes the signal and wakes the loop up.
///
/// All of it is async-signal-safe: one atomic operation and one `write` that never waits.
pub(super) struct Alarm {
    pending: AtomicU32,
    bell: UnixStream,
}

impl Alarm {
    /// `bell` must not block; the loop watches its other end.
    pub(super) fn new(bell: UnixStream) -> Arc<Alarm> {
        Arc::new(Alarm { pending: AtomicU32::new(0), bell })
    }

    /// The signals noted since the last call. To be asked after the other end was read empty.
    pub(super) fn take(&self) -> Pending {
        Pending(self.pending.swap(0, Ordering::SeqCst))
    }

    fn ring(&self, bit: u32) {
        let bit = 1 << bit;
        if self.pending.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            // A full bell is one that rings already.
            let _ = rustix::io::write(&self.bell, &[1]);
        }
    }
}

/// Signals that came.
#[derive(Clone, Copy)]
pub(super) struct Pending(u32);

impl Pending {
    pub(super) fn interrupt(self) -> bool {
        self.0 & (1 << INTERRUPT) != 0
    }

    /// In the order of their numbers: when they came is not known.
    pub(super) fn signals(self) -> impl Iterator<Item = Signal> {
        Signal::iterator().filter(move |signal| self.0 & (1 << (*signal as u32)) != 0)
    }
}

/// Whether a handler for this signal can be installed at all: not for SIGKILL and SIGSTOP, and not for those
/// that report a fault of the very instruction that runs, which no queue can answer.
pub(super) fn can_be_caught(signal: Signal) -> bool {
    !signal_hook_registry::FORBIDDEN.contains(&(signal as libc::c_int))
}

/// From now on the signal rings `alarm`.
pub(super) fn install_handler(signal: Signal, alarm: &Arc<Alarm>) -> io::Result<Installed> {
    let alarm = Arc::clone(alarm);
    let mut entries = entries();
    let id = install(&mut entries, signal, move || alarm.ring(signal as u32))?;
    if signal == Signal::SIGINT {
        INTERRUPT_HANDLERS.fetch_add(1, Ordering::SeqCst);
    }
    Ok(Installed { signal, id, handler: true })
}

/// From now on the first SIGINT rings `alarm` as an interrupt, and the second ends the process. While some loop
/// of the process has a handler for SIGINT it does neither. None if somebody else handles SIGINT.
pub(super) fn install_interrupt(alarm: &Arc<Alarm>) -> io::Result<Option<Installed>> {
    let signal = Signal::SIGINT;
    let mut entries = entries();
    let before = match entries.get(&signal) {
        Some(entry) if entry.users > 0 => entry.before.sa_sigaction,
        _ => action_of(signal)?.sa_sigaction,
    };
    if before != libc::SIG_DFL {
        return Ok(None);
    }

    let alarm = Arc::clone(alarm);
    let interrupted = AtomicBool::new(false);
    let id = install(&mut entries, signal, move || {
        if INTERRUPT_HANDLERS.load(Ordering::SeqCst) > 0 {
            return;
        }
        // The loop may be stuck in a callback, so the second one is not left to it.
        if interrupted.swap(true, Ordering::SeqCst) {
            end_process(signal);
        } else {
            alarm.ring(INTERRUPT);
        }
    })?;
    Ok(Some(Installed { signal, id, handler: false }))
}

/// A signal rings an alarm until this is dropped. The last one of a signal puts the action of before back.
pub(super) struct Installed {
    signal: Signal,
    id: SigId,
    handler: bool,
}

impl Drop for Installed {
    fn drop(&mut self) {
        let mut entries = entries();
        if self.handler && self.signal == Signal::SIGINT {
            INTERRUPT_HANDLERS.fetch_sub(1, Ordering::SeqCst);
        }
        signal_hook_registry::unregister(self.id);
        let Some(entry) = entries.get_mut(&self.signal) else { return };
        entry.users -= 1;
        if entry.users == 0 {
            entry.put_aside(self.signal);
        }
    }
}

/// How many loops have a handler of their own for SIGINT. Read inside of the signal handler.
static INTERRUPT_HANDLERS: AtomicUsize = AtomicUsize::new(0);

/// Every signal that a loop of this process ever wanted.
static ENTRIES: Mutex<BTreeMap<Signal, Entry>> = Mutex::new(BTreeMap::new());

fn entries() -> MutexGuard<'static, BTreeMap<Signal, Entry>> {
    ENTRIES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Entry {
    users: usize,
    /// The action before the first user came.
    before: libc::sigaction,
    /// That of `signal-hook-registry`, which installs it once and never takes it back.
    ours: libc::sigaction,
    /// Whether `ours` calls the function that was there before.
    chained: bool,
}

impl Entry {
    /// The last user has gone. `signal-hook-registry` would go on catching the signal for nobody, so the action
    /// of before comes back: the default, or none where the program was started so (SIGHUP under `nohup`,
    /// SIGPIPE in every Rust program), or somebody's function that ours has put aside. One that ours calls
    /// anyway needs nothing, and one that somebody installed over ours stays.
    fn put_aside(&self, signal: Signal) {
        let is_ours = action_of(signal).is_ok_and(|now| self.is_ours(&now));
        if is_ours && !self.chained {
            // Refused now, though it was there before, there is nothing better to set.
            // SAFETY: the system named it as the action of this signal.
            let _ = unsafe { set_action(signal, &self.before) };
        }
    }

    fn is_ours(&self, action: &libc::sigaction) -> bool {
        action.sa_sigaction == self.ours.sa_sigaction
    }
}

/// `action` runs inside of the signal handler: it may use atomics and async-signal-safe system calls, and must
/// neither allocate, lock nor panic.
fn install(
    entries: &mut BTreeMap<Signal, Entry>,
    signal: Signal,
    action: impl Fn() + Send + Sync + 'static,
) -> io::Result<SigId> {
    let known = entries.get(&signal).map(|entry| (entry.users, entry.ours));
    if let Some((1.., _)) = known {
        // SAFETY: the two actions of this file keep to what is said above; see `ring` and `end_process`.
        let id = unsafe { signal_hook_registry::register(signal as libc::c_int, action) }?;
        if let Some(entry) = entries.get_mut(&signal) {
            entry.users += 1;
        }
        return Ok(id);
    }

    let before = action_of(signal)?;
    // SAFETY: as above.
    let id = unsafe { signal_hook_registry::register(signal as libc::c_int, action) }?;
    let installed = match known {
        // Put aside when the last user went, while that crate believes it to be installed still.
        // SAFETY: the system named it as the action of this signal.
        Some((_, ours)) => unsafe { set_action(signal, &ours) }.map(|()| ours),
        None => action_of(signal),
    };
    let ours = match installed {
        Ok(ours) => ours,
        Err(error) => {
            signal_hook_registry::unregister(id);
            return Err(error);
        }
    };
    // That crate has looked for a function to call when it was first installed, and only then.
    let was_ours = before.sa_sigaction == ours.sa_sigaction;
    let chained = was_ours || (known.is_none() && !is_plain(&before));
    entries.insert(signal, Entry { users: 1, before, ours, chained });
    Ok(id)
}

/// Whether it is the default or to ignore the signal, and no function.
fn is_plain(action: &libc::sigaction) -> bool {
    matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

/// Ends the process by the signal that is being handled: it is blocked meanwhile, and takes its default effect
/// when the handler returns. Async-signal-safe.
fn end_process(signal: Signal) {
    // SAFETY: all zeros is a valid `sigaction`, a plain C structure: the default action, no flags, no mask.
    let default: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: the default is right for every signal.
    if unsafe { set_action(signal, &default) }.is_ok() {
        let _ = raise(signal);
    }
}

fn action_of(signal: Signal) -> io::Result<libc::sigaction> {
    // SAFETY: all zeros is a valid `sigaction`, a plain C structure.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: without a new action the call only asks; `action` is writable and of the right type.
    match unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), &mut action) } {
        0 => Ok(action),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets what the system does when the signal comes. Async-signal-safe.
///
/// # Safety
///
/// `action` is the default, or one that the system has named as the action of this signal, so that whoever
/// installed it answers for its function.
unsafe fn set_action(signal: Signal, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the caller answers for `action`, and nothing is written.
    match unsafe { libc::sigaction(signal as libc::c_int, action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;

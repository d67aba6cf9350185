//! What is done in the child between fork and exec, where the standard library has no safe way to ask for it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

use libc::c_int;
use nix::sys::signal::SigSet;
use rustix::io::fcntl_dupfd_cloexec;

/// What the child does for itself before it becomes the program.
#[derive(Debug, Default)]
pub(crate) struct InChild {
    pub(crate) start_new_session: bool,
    pub(crate) umask: Option<u32>,
    pub(crate) reset_signals: bool,
    /// Descriptors, each with its number in the child.
    pub(crate) passed: Vec<(OwnedFd, RawFd)>,
}

/// The same, made ready: what is done then needs no memory.
#[derive(Debug)]
pub(crate) struct Steps {
    start_new_session: bool,
    umask: Option<u32>,
    reset_signals: bool,
    /// Whether SIGABRT does what the system has it do. Then it is not touched in the child: C libraries hold a lock for that,
    /// since `abort` needs it too, which is this process's as well where the child lives in its memory. One that is killed
    /// meanwhile would keep it.
    pub(crate) abort_is_default: bool,
    /// Above all numbers that are wanted, each with the one it gets in the child.
    copies: Vec<(OwnedFd, RawFd)>,
    /// What keeps those numbers from being given to others here until the child was started.
    _taken: Vec<OwnedFd>,
}

impl InChild {
    /// Makes it ready. The answer has to live until the child was started.
    ///
    /// # Errors
    ///
    /// That descriptors have run out, or that a number is above this process's limit.
    pub(crate) fn prepare(self) -> io::Result<Steps> {
        let InChild { start_new_session, umask, reset_signals, passed } = self;
        // The copies lie above all numbers wanted, so that none is overwritten before it was copied down.
        let above = passed.iter().map(|(_, number)| number.saturating_add(1)).max().unwrap_or(3);
        let mut taken = Vec::new();
        let mut copies = Vec::new();
        for (descriptor, number) in &passed {
            copies.push((fcntl_dupfd_cloexec(descriptor, above)?, *number));
            // The number is taken here too, or the standard library's own pipe to the child could get it.
            let place = fcntl_dupfd_cloexec(descriptor.as_fd(), *number)?;
            if place.as_raw_fd() == *number {
                taken.push(place);
            }
        }

        // So is one that is passed by its own number, and would be free as soon as it is closed here.
        let numbers: Vec<_> = copies.iter().map(|(_, number)| *number).collect();
        let descriptors = passed.into_iter().map(|(descriptor, _)| descriptor);
        taken.extend(descriptors.filter(|passed| numbers.contains(&passed.as_raw_fd())));
        let abort_is_default = is_default(libc::SIGABRT);
        Ok(Steps {
            start_new_session,
            umask,
            reset_signals,
            abort_is_default,
            copies,
            _taken: taken,
        })
    }
}

impl Steps {
    /// Has `command` take them.
    ///
    /// Without anything to do the command is left as it was, since the standard library starts a child faster when
    /// nothing is to run in it. A blocked signal is something to do: it would stay blocked in the child, which knows
    /// nothing of it.
    pub(crate) fn give_to(self, command: &mut Command) {
        // A mask that cannot be had is that of a system without one.
        let blocked = SigSet::thread_get_mask().is_ok_and(|mask| mask != SigSet::empty());
        let Steps { start_new_session, umask, reset_signals, .. } = self;
        let plain = !start_new_session && umask.is_none() && !reset_signals;
        if plain && self.copies.is_empty() && !blocked {
            return;
        }
        // SAFETY: in the child, all of it is system calls that are async-signal-safe; nothing allocates, locks or panics.
        #[expect(unsafe_code, reason = "the standard library has no safe way")]
        unsafe {
            command.pre_exec(move || self.run());
        }
    }

    /// Takes them, in the child: system calls that are async-signal-safe; nothing allocates, locks or panics.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn run(&self) -> io::Result<()> {
        SigSet::empty().thread_set_mask()?;
        if self.reset_signals {
            default_signals(self.abort_is_default);
        }
        if self.start_new_session {
            new_session()?;
        }
        if let Some(mask) = self.umask {
            set_umask(mask);
        }
        self.copies.iter().try_for_each(|(copy, number)| copy_down(copy.as_raw_fd(), *number))
    }
}

/// Whether a signal does what the system has it do.
fn is_default(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the action is read only where it was written.
    #[expect(unsafe_code, reason = "there is no safe way to look at it")]
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_DFL
    }
}

/// Has every signal do what the system has it do.
fn default_signals(abort_is_default: bool) {
    for signal in (1..=64).filter(|signal| *signal != libc::SIGABRT || !abort_is_default) {
        // SAFETY: no handler of ours is installed; numbers that are none, and the two that cannot be changed, are refused.
        #[expect(unsafe_code, reason = "dispositions are the system's")]
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

fn set_umask(mask: u32) {
    // SAFETY: it takes a number and cannot fail.
    #[expect(unsafe_code, reason = "a call of the system's")]
    unsafe {
        libc::umask(mask as libc::mode_t);
    }
}

/// Makes `number` a descriptor of the same, which stays open when the program is executed.
fn copy_down(copy: RawFd, number: RawFd) -> io::Result<()> {
    // SAFETY: nobody in the child owns `number`: it is above the standard streams, and what had it here was copied.
    #[expect(unsafe_code, reason = "the number is chosen")]
    let copied = unsafe { libc::dup2(copy, number) };
    if copied < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Starting a child that lives in our memory until it has become the program, on Linux: nothing of this process is copied.
//!
//! This is what `posix_spawn` does as well, and the standard library by it, unless something is asked for that it has no
//! word for: a session, a mask of new files, descriptors, a thread whose blocked signals the child is not to inherit. Here
//! all of that is done in the child, in this one way. It is also a little faster: the C library of many systems maps
//! a new stack for each child, and has it set every signal whether there is a handler or not.
//!
//! What is dangerous about it is kept here. The thread stands still meanwhile, with every signal blocked; the child has a
//! stack of its own, and makes calls of the system's with what was made ready for it.

#![expect(unsafe_code, reason = "the standard library starts children in other ways only")]

use std::env;
use std::ffi::{CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_char, c_int, c_void};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Pid, WaitIdOptions};

use crate::pre_exec::Steps;
use crate::watch;

/// Where programs are looked for by a child without a `PATH`, as the C library has it.
const PATH: &[u8] = b"/bin:/usr/bin";

/// What a few calls of the system need, many times over: 16 KiB.
#[repr(align(16))]
struct Stack(#[expect(dead_code, reason = "only the child uses it")] [u8; 16 << 10]);

/// A child that was just started.
pub(crate) struct Born {
    pub(crate) pid: u32,
    /// Nothing if the system is too old to give it at once.
    pub(crate) pidfd: Option<OwnedFd>,
}

/// What is executed, as the system takes it.
pub(crate) struct Program {
    /// Where it may be, tried in turn.
    places: Vec<CString>,
    arguments: Texts,
    environment: Texts,
    directory: Option<CString>,
}

impl Program {
    /// What `command` has noted, and what it does not tell: argument zero, and whether its environment began empty.
    pub(crate) fn of(
        command: &Command,
        arg0: Option<&OsStr>,
        cleared: bool,
    ) -> io::Result<Program> {
        let mut environment = Texts::default();
        // As much as most need.
        environment.bytes.reserve(4 << 10);
        let mut path = None;
        let mut add = |name: &OsStr, value: &OsStr| {
            environment.add(&[name.as_bytes(), b"=", value.as_bytes()]);
            // Of two the first is what a program finds.
            if name == "PATH" && path.is_none() {
                path = Some(value.to_owned());
            }
        };
        let ours = (!cleared).then(env::vars_os).into_iter().flatten();
        for (name, value) in ours {
            if !command.get_envs().any(|(changed, _)| changed == name) {
                add(&name, &value);
            }
        }
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                add(name, value);
            }
        }

        let program = command.get_program();
        let mut arguments = Texts::default();
        arguments.add(&[arg0.unwrap_or(program).as_bytes()]);
        command.get_args().for_each(|argument| arguments.add(&[argument.as_bytes()]));
        let path = path.as_deref().map_or(PATH, OsStr::as_bytes);
        let directory = command.get_current_dir().map(|path| path.as_os_str().as_bytes());
        Ok(Program {
            places: places(program.as_bytes(), path)?,
            arguments,
            environment,
            directory: directory.map(CString::new).transpose()?,
        })
    }
}

/// Strings as C has them, in one piece of memory: there are many, each time. None has a zero in it, which was checked.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Texts {
    fn add(&mut self, parts: &[&[u8]]) {
        self.starts.push(self.bytes.len());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.push(0);
    }

    /// Pointers to each, and one to nothing at the end.
    fn pointers(&self) -> Vec<*const c_char> {
        let start = |start: &usize| self.bytes[*start..].as_ptr().cast();
        self.starts.iter().map(start).chain([ptr::null()]).collect()
    }
}

/// Where a program may be: there, if there is a slash in its name; else in the directories of `path`.
fn places(program: &[u8], path: &[u8]) -> io::Result<Vec<CString>> {
    if program.is_empty() || program.contains(&b'/') {
        return Ok(vec![CString::new(program)?]);
    }
    let place = |directory: &[u8]| match directory {
        // The working directory.
        b"" => CString::new(program),
        _ => CString::new([directory, b"/", program].concat()),
    };
    let directories = path.split(|byte| *byte == b':');
    // No file is in one whose name is too long for the system: it is passed over, as by the C library.
    let directories =
        directories.filter(|name| name.len() < libc::PATH_MAX.unsigned_abs() as usize);
    Ok(directories.map(place).collect::<Result<_, _>>()?)
}

/// Starts it. Nothing is answered if the system does not start children in this way.
///
/// # Errors
///
/// What kept the child from becoming the program; nothing of it is left then.
pub(crate) fn spawn(
    program: &Program,
    ends: &[Option<OwnedFd>; 3],
    group: Option<i32>,
    steps: &Steps,
) -> io::Result<Option<Born>> {
    if !clone_is_sound() {
        return Ok(None);
    }
    // None lies where another is put.
    let mut copies = Vec::new();
    let mut streams = [None; 3];
    for (stream, end) in streams.iter_mut().zip(ends) {
        let Some(end) = end else { continue };
        let mut number = end.as_raw_fd();
        if number < 3 {
            let copy = fcntl_dupfd_cloexec(end, 3)?;
            number = copy.as_raw_fd();
            copies.push(copy);
        }
        *stream = Some(number);
    }
    let child = Child {
        places: &program.places,
        arguments: program.arguments.pointers(),
        environment: program.environment.pointers(),
        directory: program.directory.as_ref(),
        streams,
        group,
        steps,
        failure: AtomicI32::new(0),
    };

    let mut stack = MaybeUninit::<Stack>::uninit();
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // A handler of this process must not run in the child, whose memory is the same.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: this thread stands still until the child has become the program or is gone, and all that the child touches
    // lives longer: its stack, and `child`, which is shared and changed by an atomic only. It does what a signal handler
    // may do, and never returns.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(1);
        libc::clone(run, top.cast(), flags, (&raw const child).cast_mut().cast(), &raw mut pidfd)
    };
    let refusal = if pid < 0 { last_error() } else { 0 };
    mask.thread_set_mask()?;
    match refusal {
        0 => {}
        // An old kernel, or a sandbox.
        libc::ENOSYS | libc::EPERM | libc::EINVAL => return Ok(None),
        refusal => return Err(io::Error::from_raw_os_error(refusal)),
    }

    let pid = Pid::from_raw(pid).expect("a child has a positive number");
    // SAFETY: the system has made it for us, and nobody else knows of it.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    let failure = child.failure.load(Ordering::Relaxed);
    if failure != 0 {
        // It ends without having become anything. Somebody else may have reaped it.
        let _reaped = watch::wait(pid, pidfd.as_ref(), WaitIdOptions::EXITED);
        return Err(io::Error::from_raw_os_error(failure));
    }
    Ok(Some(Born { pid: pid.as_raw_nonzero().get().unsigned_abs(), pidfd }))
}

/// Whether `clone` leaves alone what the C library knows of this thread. Before 2.25 that of GNU takes the memory of the
/// child for another's, and notes a wrong number there for the thread that stands still.
#[cfg(target_env = "gnu")]
fn clone_is_sound() -> bool {
    // SAFETY: it answers a C string that is always there.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_str().is_ok_and(is_new_enough)
}

#[cfg(not(target_env = "gnu"))]
fn clone_is_sound() -> bool {
    true
}

#[cfg(target_env = "gnu")]
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(2), Some(25))
}

/// What the child does, all of it made ready: nothing here may allocate, lock or panic, as in a signal handler.
struct Child<'a> {
    places: &'a [CString],
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    directory: Option<&'a CString>,
    streams: [Option<RawFd>; 3],
    group: Option<i32>,
    steps: &'a Steps,
    /// The number of the error, told through the memory that both have.
    failure: AtomicI32,
}

extern "C" fn run(child: *mut c_void) -> c_int {
    // SAFETY: it is the one that was given, and nobody changes it.
    let child = unsafe { &*child.cast::<Child<'_>>() };
    let failure = match child.prepare() {
        Ok(()) => child.execute(),
        Err(error) => error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    child.failure.store(failure, Ordering::Relaxed);
    // SAFETY: it ends the child, and runs nothing of this process's.
    unsafe { libc::_exit(127) }
}

impl Child<'_> {
    fn prepare(&self) -> io::Result<()> {
        default_handlers(self.steps.abort_is_default);
        for (number, descriptor) in (0..).zip(self.streams) {
            if let Some(descriptor) = descriptor {
                // SAFETY: the standard streams are the child's own.
                done(unsafe { libc::dup2(descriptor, number) })?;
            }
        }
        if let Some(directory) = self.directory {
            // SAFETY: it is a C string.
            done(unsafe { libc::chdir(directory.as_ptr()) })?;
        }
        if let Some(group) = self.group {
            // SAFETY: it takes numbers.
            done(unsafe { libc::setpgid(0, group) })?;
        }
        self.steps.run()
    }

    /// Becomes the program; answers the number of the error if it has not. As the C library's `execvp`, this goes on
    /// behind a place where there is none, and tells of one that was not permitted if it finds no other.
    fn execute(&self) -> c_int {
        let mut failure = libc::ENOENT;
        for place in self.places {
            // SAFETY: a C string, and arrays of them that end with a null pointer.
            unsafe {
                libc::execve(place.as_ptr(), self.arguments.as_ptr(), self.environment.as_ptr())
            };
            match last_error() {
                libc::EACCES => failure = libc::EACCES,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT
                    if self.places.len() > 1 => {}
                other => return other,
            }
        }
        failure
    }
}

fn done(answer: c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::from_raw_os_error(last_error())) } else { Ok(()) }
}

fn last_error() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(Errno::INVAL.raw_os_error())
}

/// Has the system do by default what a handler of this process is set for, and SIGPIPE; what is ignored stays so.
fn default_handlers(abort_is_default: bool) {
    let signals = 1..=libc::SIGRTMAX();
    for signal in signals.filter(|signal| *signal != libc::SIGABRT || !abort_is_default) {
        let mut action = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: the action is read only where it was written; numbers that are no signals are refused.
        unsafe {
            if libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) != 0 {
                continue;
            }
            let action = action.assume_init_mut();
            let handled = ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction);
            if handled || signal == libc::SIGPIPE {
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, action, ptr::null_mut());
            }
        }
    }
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::is_new_enough;

    #[test]
    fn a_c_library_whose_clone_spoils_the_thread_is_not_used() {
        for (version, answer) in
            [("2.17", false), ("2.24.90", false), ("2.25", true), ("2.36", true), ("3.0", true)]
        {
            assert_eq!(is_new_enough(version), answer, "{version}");
        }
    }
}

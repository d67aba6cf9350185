//! Living beside handlers that others have installed.

use std::io::Read;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};

use super::*;

/// How often somebody else's function was called. Each test has a signal of its own.
static CALLS: [AtomicUsize; 32] = [const { AtomicUsize::new(0) }; 32];

extern "C" fn count(signal: libc::c_int) {
    CALLS[signal as usize].fetch_add(1, Ordering::SeqCst);
}

fn calls(signal: Signal) -> usize {
    CALLS[signal as usize].load(Ordering::SeqCst)
}

fn install_elsewhere(signal: Signal, handler: SigHandler) {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: `count` does nothing but to count in an atomic.
    unsafe { sigaction(signal, &action) }.unwrap();
}

/// An alarm, and what tells whether it rang since the last time.
fn alarm() -> (Arc<Alarm>, impl Fn(Signal) -> bool) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let alarm = Alarm::new(far);
    let rings = Arc::clone(&alarm);
    let rang = move |signal| {
        let bell = (&near).read(&mut [0; 8]).is_ok_and(|read| read == 1);
        let told = rings.take().signals().eq([signal]);
        assert_eq!(bell, told);
        told
    };
    (alarm, rang)
}

#[test]
fn a_function_that_was_there_first_is_called_as_well_and_stays() {
    let signal = Signal::SIGWINCH;
    install_elsewhere(signal, SigHandler::Handler(count));
    let (alarm, rang) = alarm();
    for round in 0..2 {
        let installed = install_handler(signal, &alarm).unwrap();
        raise(signal).unwrap();
        assert!(rang(signal));
        drop(installed);
        raise(signal).unwrap();
        assert!(!rang(signal));
        assert_eq!(calls(signal), 2 * round + 2);
    }
}

#[test]
fn a_function_that_came_later_is_put_aside_and_comes_back() {
    let signal = Signal::SIGURG;
    let (alarm, rang) = alarm();
    drop(install_handler(signal, &alarm).unwrap());
    install_elsewhere(signal, SigHandler::Handler(count));

    let installed = install_handler(signal, &alarm).unwrap();
    raise(signal).unwrap();
    assert!(rang(signal));
    assert_eq!(calls(signal), 0);
    drop(installed);
    raise(signal).unwrap();
    assert!(!rang(signal));
    assert_eq!(calls(signal), 1);
}

#[test]
fn a_function_installed_over_ours_stays() {
    let signal = Signal::SIGCONT;
    let (alarm, rang) = alarm();
    let installed = install_handler(signal, &alarm).unwrap();
    install_elsewhere(signal, SigHandler::Handler(count));
    drop(installed);
    raise(signal).unwrap();
    assert!(!rang(signal));
    assert_eq!(calls(signal), 1);
}

#[test]
fn users_share_one_action_and_the_last_one_puts_it_aside() {
    let signal = Signal::SIGIO;
    install_elsewhere(signal, SigHandler::SigIgn);
    let ((one, one_rang), (two, two_rang)) = (alarm(), alarm());
    for _ in 0..3 {
        let first = install_handler(signal, &one).unwrap();
        let second = install_handler(signal, &two).unwrap();
        raise(signal).unwrap();
        assert!(one_rang(signal) && two_rang(signal));
        drop(first);
        raise(signal).unwrap();
        assert!(!one_rang(signal) && two_rang(signal));
        drop(second);
        assert_eq!(action_of(signal).unwrap().sa_sigaction, libc::SIG_IGN);
    }
    assert_eq!(Arc::strong_count(&one), 2, "the system's handler keeps nothing");
}

#[test]
fn a_full_bell_and_a_bell_that_rings_lose_no_signal() {
    let signal = Signal::SIGUSR1;
    let (near, far) = UnixStream::pair().unwrap();
    far.set_nonblocking(true).unwrap();
    let alarm = Alarm::new(far);
    for _ in 0..3 {
        // Noted but not rung again.
        alarm.ring(signal as u32);
        alarm.ring(signal as u32);
    }
    near.set_nonblocking(true).unwrap();
    assert_eq!((&near).read(&mut [0; 64]).unwrap(), 1);

    while rustix::io::write(&alarm.bell, &[1; 4096]).is_ok() {}
    alarm.take();
    alarm.ring(signal as u32);
    alarm.ring(Signal::SIGHUP as u32);
    let pending = alarm.take();
    assert!(pending.signals().eq([Signal::SIGHUP, signal]));
    assert!(!pending.interrupt());
}

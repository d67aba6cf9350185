//! What both rooms promise.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::Interest;

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Key, readable, writable, hung up.
type Told = (u64, bool, bool, bool);

fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<Told> {
    let mut events = Events::new();
    poller.wait(&mut events, timeout).unwrap();
    let mut told: Vec<_> = events
        .iter()
        .map(|found| (found.key, found.readable, found.writable, found.hung_up))
        .collect();
    told.sort_unstable();
    told
}

#[test]
fn readiness_is_level_triggered_and_has_its_key() {
    // L-07
    let poller = Poller::new().unwrap();
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let key = (7 << 32) | 3;
    poller.add(far.as_fd(), key, Interest::READ, Trigger::Level).unwrap();
    assert_eq!(wait(&poller, AT_ONCE), []);
    near.write_all(b"!").unwrap();
    for _ in 0..3 {
        assert_eq!(wait(&poller, None), [(key, true, false, false)]);
    }
    far.read_exact(&mut [0]).unwrap();
    assert_eq!(wait(&poller, AT_ONCE), []);
    poller.delete(far.as_fd()).unwrap();
}

#[test]
fn interest_can_be_changed() {
    let poller = Poller::new().unwrap();
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(b"!").unwrap();
    poller.add(far.as_fd(), 1, Interest::NONE, Trigger::Level).unwrap();
    assert_eq!(wait(&poller, AT_ONCE), []);
    let cases = [
        (Interest::READ, vec![(1, true, false, false)]),
        (Interest::WRITE, vec![(1, false, true, false)]),
        (Interest::BOTH, vec![(1, true, true, false)]),
        (Interest::NONE, vec![]),
        (Interest::READ, vec![(1, true, false, false)]),
    ];
    for (interest, told) in cases {
        poller.modify(far.as_fd(), 1, interest, Trigger::Level).unwrap();
        assert_eq!(wait(&poller, AT_ONCE), told, "{interest:?}");
        assert_eq!(wait(&poller, AT_ONCE), told, "{interest:?}, once more");
    }
    poller.delete(far.as_fd()).unwrap();
    assert_eq!(wait(&poller, AT_ONCE), []);
}

#[test]
fn a_hang_up_is_told_once_where_there_is_no_interest() {
    let poller = Poller::new().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    poller.add(far.as_fd(), 1, Interest::NONE, Trigger::Level).unwrap();
    drop(near);
    let told = wait(&poller, AT_ONCE);
    assert!(matches!(told[..], [(1, _, _, true)]), "{told:?}");
    assert_eq!(wait(&poller, AT_ONCE), []);
    poller.modify(far.as_fd(), 1, Interest::READ, Trigger::Level).unwrap();
    for _ in 0..2 {
        let told = wait(&poller, AT_ONCE);
        assert!(matches!(told[..], [(1, true, _, true)]), "{told:?}");
    }
}

#[test]
fn registering_twice_and_regular_files_are_refused() {
    let poller = Poller::new().unwrap();
    let (_near, far) = UnixStream::pair().unwrap();
    poller.add(far.as_fd(), 1, Interest::READ, Trigger::Level).unwrap();
    let twice = poller.add(far.as_fd(), 2, Interest::READ, Trigger::Level).unwrap_err();
    assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    let file = std::fs::File::open("Cargo.toml").unwrap();
    let regular = poller.add(file.as_fd(), 3, Interest::READ, Trigger::Level).unwrap_err();
    assert_eq!(regular.kind(), io::ErrorKind::PermissionDenied);
    assert!(poller.modify(file.as_fd(), 3, Interest::READ, Trigger::Level).is_err());
}

#[test]
fn the_bell_ends_a_wait_once() {
    // L-28, L-29
    let poller = Poller::new().unwrap();
    let bell = poller.bell();
    let ringing = thread::spawn({
        let bell = bell.clone();
        move || (0..100).for_each(|_| bell.ring())
    });
    assert_eq!(wait(&poller, None), [], "the bell is no event");
    ringing.join().unwrap();
    wait(&poller, AT_ONCE);

    // It was silenced: the next wait takes its time.
    let started = Instant::now();
    wait(&poller, Some(Duration::from_millis(3)));
    assert!(started.elapsed() >= Duration::from_millis(3));
    bell.ring();
    assert_eq!(wait(&poller, None), []);
}

#[test]
fn a_bell_whose_poller_is_gone_rings_in_vain() {
    // L-29
    let bell = Poller::new().unwrap().bell();
    bell.ring();
}

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
#[test]
fn a_bell_that_is_full_rings_already() {
    // L-29
    let poller = Poller::new().unwrap();
    let bell = poller.bell();
    bell.fill();
    bell.ring();
    assert_eq!(wait(&poller, None), []);
    assert_eq!(wait(&poller, AT_ONCE), []);
}

#[test]
fn a_wait_lasts_for_its_timeout() {
    let poller = Poller::new().unwrap();
    let started = Instant::now();
    assert_eq!(wait(&poller, Some(Duration::from_millis(2))), []);
    assert!(started.elapsed() >= Duration::from_millis(2));
}

#[test]
fn the_longest_timeout_is_accepted() {
    // L-03
    let poller = Poller::new().unwrap();
    poller.bell().ring();
    assert_eq!(wait(&poller, Some(Duration::from_secs(86_400))), []);
}

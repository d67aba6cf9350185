//! Splitting and joining over real sockets, and what the kernel writes about it.

use std::net::UdpSocket;

use super::*;

/// What a receive has brought: how many bytes, and how long each datagram is.
type Brought = (usize, usize);

/// A pair of sockets of which the second is given all that the first sends.
fn pair(place: &str) -> (OwnedFd, OwnedFd) {
    let [sends, receives] = [(); 2].map(|()| UdpSocket::bind((place, 0)).unwrap());
    sends.connect(receives.local_addr().unwrap()).unwrap();
    receives.connect(sends.local_addr().unwrap()).unwrap();
    receives.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    (sends.into(), receives.into())
}

/// Sends `length` bytes as datagrams of `size`, and receives once.
fn once(pair: &(OwnedFd, OwnedFd), length: usize, size: usize) -> Brought {
    let sent: Vec<u8> = (0..length).map(|place| place as u8).collect();
    send_segments(&pair.0, &sent, size, None).unwrap();
    let mut into = vec![0; 70_000];
    let (length, size, from) = receive_segments(&pair.1, &mut into).unwrap();
    assert_eq!(into[..length], sent);
    assert!(from.is_some());
    (length, size)
}

/// Asks for a message with each datagram that the kernel writes before the one about their length.
fn ask_for(descriptor: &OwnedFd, option: libc::c_int, value: libc::c_int) {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option is read from `value`, which lives until the call has returned, and has that length.
    let answer = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(descriptor.as_raw_fd(), libc::SOL_SOCKET, option, value, length)
    };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
}

#[test]
fn what_was_sent_together_comes_together_and_tells_its_length() {
    for place in ["127.0.0.1", "::1"] {
        let pair = pair(place);
        assert!(join_segments(&pair.1, true));
        let cases = [(300, 100), (250, 100), (64, 1), (54 * 1200, 1200), (53 * 1200 + 1, 1200)];
        for (length, size) in cases {
            assert_eq!(once(&pair, length, size), (length, size), "{place}");
        }
        // One alone has its own length, be there one or not.
        assert_eq!(once(&pair, 100, 100), (100, 100));
        SockRef::from(&pair.0).send(&[]).unwrap();
        assert_eq!(receive_segments(&pair.1, &mut [0; 10]).unwrap().1, 0);
        // They come one by one to whoever does not want them together.
        assert!(!join_segments(&pair.1, false));
        send_segments(&pair.0, &[7; 250], 100, None).unwrap();
        for length in [100, 100, 50] {
            assert_eq!(receive_segments(&pair.1, &mut [0; 300]).unwrap().0, length);
        }
    }
}

#[test]
fn other_messages_of_the_kernel_do_not_hide_the_length() {
    let pair = pair("127.0.0.1");
    assert!(join_segments(&pair.1, true));
    // The times of arrival by the kernel's clock, in two forms, and how many datagrams were dropped.
    let everything = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    for (option, value) in [
        (libc::SO_RXQ_OVFL, 1),
        (libc::SO_TIMESTAMP, 1),
        (libc::SO_TIMESTAMPNS, 1),
        (libc::SO_TIMESTAMPING, everything as libc::c_int),
    ] {
        ask_for(&pair.1, option, value);
        assert_eq!(once(&pair, 250, 100), (250, 100), "option {option}");
    }
}

#[test]
fn messages_that_are_cut_off_or_of_another_kind_say_nothing() {
    let message = |kind: i32, length: usize, size: i32| {
        let mut message = [0; SPACE];
        message[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
        message[size_of::<usize>()..][..4].copy_from_slice(&SOL_UDP.to_ne_bytes());
        message[size_of::<usize>() + 4..][..4].copy_from_slice(&kind.to_ne_bytes());
        message[HEAD..][..4].copy_from_slice(&size.to_ne_bytes());
        message
    };
    let whole = message(UDP_GRO, HEAD + 4, 1200);
    assert_eq!(joined_size(&whole), Some(1200));
    assert_eq!(joined_size(&[message(7, HEAD + 4, 9), whole].concat()), Some(1200));
    assert_eq!(joined_size(&[0; ROOM]), None);
    assert_eq!(joined_size(&[]), None);
    for length in [0, HEAD - 1, HEAD, HEAD + 3, SPACE + 1, usize::MAX] {
        assert_eq!(joined_size(&message(UDP_GRO, length, 1200)), None, "{length}");
    }
    for size in [0, -1] {
        assert_eq!(joined_size(&message(UDP_GRO, HEAD + 4, size)), None);
    }
}

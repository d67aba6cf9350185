//! Nothing is left of connections that fail, stall or are given up: no descriptor, no timer, no object.

use std::cell::RefCell;
use std::future::{Future, IntoFuture};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::task::Poll;

use tidegate_reactor::LoopHandle;
use tidegate_testkit::{
    Callback, Event, Log, Recorder, alone, open_descriptors, run, turns, until, watched,
};
use tidegate_tls::{ClientTls, ServerTls, TlsError};
use tidegate_transports::{create_connection, create_server};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{keep_reports, record, tls_error};

/// A long-lived echo beside bad peers, over TCP.
#[test]
fn a_server_goes_on_beside_bad_peers() {
    watched(|| {
        let _alone = alone();
        let authority = Authority::new();
        let before = open_descriptors();
        run(async {
            let reports = keep_reports(&LoopHandle::current()?);
            let logs = Rc::new(RefCell::new(Vec::new()));
            let kept = logs.clone();
            let echo = move || {
                let recorder = Recorder::new();
                kept.borrow_mut().push(recorder.log());
                recorder.on(Callback::DataReceived, |transport| {
                    transport.write(b"answer");
                })
            };
            let server = create_server(echo, ("127.0.0.1", 0)).tls(authority.server()).await?;
            let address = server.sockets()[0].sockname().as_inet().expect("an internet address");
            let client = Recorder::new();
            let log = client.log();
            let bystander = create_connection(move || client, address)
                .tls(authority.client(), "localhost")
                .await?;
            let bad: [&[u8]; 6] = [
                b"GET / HTTP/1.1\r\n\r\n",
                &[0x80; 1000],
                &record(22, &[1; 100]),
                &record(21, &[2, 40]),
                &record(22, &[0; 16_000]).repeat(4),
                b"",
            ];
            for (number, bytes) in bad.iter().enumerate() {
                let mut peer = TcpStream::connect(address)?;
                peer.set_nonblocking(true)?;
                // The server may have ended it before all is written.
                let _ = peer.write_all(bytes);
                peer.shutdown(Shutdown::Write)?;
                until(|| is_over(&peer)).await;
                bystander.write(b"alive?");
                log.received_at_least(6 * (number + 1)).await;
            }
            // TLS-17: protocols were made, and none was called.
            assert_eq!(logs.borrow().len(), 1 + bad.len());
            for log in &logs.take()[1..] {
                log.until(Log::is_abandoned).await;
                log.assert(&[]);
            }
            bystander.close();
            log.lost().await;
            log.assert(&[Event::Made, Event::data("answer".repeat(bad.len())), Event::Lost(None)]);
            server.close();
            server.wait_closed().await;
            assert_eq!(*reports.borrow(), [""; 0]);
            assert_eq!(LoopHandle::current()?.statistics().timers, 0);
            Ok::<(), io::Error>(())
        })
        .unwrap();
        assert_eq!(open_descriptors(), before);
    });
}

/// Whether a connection has ended, without waiting.
fn is_over(mut stream: &TcpStream) -> bool {
    match stream.read(&mut [0; 1000]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn a_connection_may_be_given_up_at_every_poll() {
    watched(|| {
        let _alone = alone();
        let authority = Authority::new();
        let before = open_descriptors();
        run(async {
            let handle = LoopHandle::current()?;
            let reports = keep_reports(&handle);
            let server =
                create_server(Recorder::new, ("127.0.0.1", 0)).tls(authority.server()).await?;
            let address = server.sockets()[0].sockname().as_inet().expect("an internet address");
            let (timers, held) = (handle.statistics().timers, open_descriptors());
            for polls in 0.. {
                let recorder = Recorder::new();
                let log = recorder.log();
                let connecting = create_connection(move || recorder, address);
                let connecting = connecting.tls(authority.client(), "localhost");
                let mut connecting = Box::pin(connecting.into_future());
                let mut left = polls;
                let opened = std::future::poll_fn(|context| {
                    if left == 0 {
                        return Poll::Ready(None);
                    }
                    left -= 1;
                    connecting.as_mut().poll(context).map(Some)
                });
                let opened = opened.await;
                let done = opened.is_some();
                if let Some(transport) = opened {
                    transport?.abort();
                }
                // C-11 TLS-15 TLS-18
                drop(connecting);
                until(|| log.is_abandoned()).await;
                until(|| server.statistics().open == 0).await;
                assert!(log.grammar().is_ok(), "{log}");
                assert_eq!(handle.statistics().timers, timers, "after {polls} polls");
                until(|| open_descriptors() == held).await;
                if done {
                    assert!(polls > 2, "there is a handshake to be given up");
                    break;
                }
            }
            assert_eq!(*reports.borrow(), [""; 0]);
            server.close();
            server.wait_closed().await;
            Ok::<(), io::Error>(())
        })
        .unwrap();
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn stalled_handshakes_make_room_for_others() {
    watched(|| {
        let _alone = alone();
        let authority = Authority::new();
        let before = open_descriptors();
        run(async {
            let handle = LoopHandle::current()?;
            let reports = keep_reports(&handle);
            let server = create_server(Recorder::new, ("127.0.0.1", 0))
                .max_opening(3)
                .tls(authority.server())
                .await?;
            let address = server.sockets()[0].sockname().as_inet().expect("an internet address");
            let mut stalled = Vec::new();
            for number in 1..=6 {
                stalled.push(TcpStream::connect(address)?);
                until(|| server.statistics().accepted == number).await;
                assert_eq!(server.statistics().opening, 3.min(number as usize));
            }
            // The ones that waited longest have ended, the others wait.
            for (number, peer) in stalled.iter().enumerate() {
                peer.set_nonblocking(true)?;
                match number < 3 {
                    true => until(|| is_over(peer)).await,
                    false => assert!(!is_over(peer)),
                }
            }
            let recorder = Recorder::new();
            let log = recorder.log();
            let transport = create_connection(move || recorder, address)
                .tls(authority.client(), "localhost")
                .await?;
            until(|| server.statistics().opening == 2).await;
            transport.close();
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            drop(stalled);
            until(|| server.statistics().open == 0).await;
            // TLS-18
            assert_eq!(handle.statistics().timers, 0);
            assert_eq!(*reports.borrow(), [""; 0]);
            server.close();
            server.wait_closed().await;
            Ok::<(), io::Error>(())
        })
        .unwrap();
        assert_eq!(open_descriptors(), before);
    });
}

#[test]
fn debug_mode_tells_of_failed_handshakes() {
    watched(|| {
        let authority = Authority::new();
        for debug in [false, true] {
            run(async {
                let handle = LoopHandle::current()?;
                let reports = keep_reports(&handle);
                handle.set_debug(debug);
                let server =
                    create_server(Recorder::new, ("127.0.0.1", 0)).tls(authority.server()).await?;
                let address = server.sockets()[0].sockname().as_inet().expect("an address");
                let other = Authority::new().client();
                let failed =
                    create_connection(Recorder::new, address).tls(other, "localhost").await;
                assert!(matches!(tls_error(&failed.unwrap_err()), TlsError::Certificate(..)));
                until(|| server.statistics().accepted == 1 && server.statistics().open == 0).await;
                turns(3).await;
                // TLS-17
                let reports = reports.borrow();
                match debug {
                    false => assert_eq!(*reports, [""; 0]),
                    true => {
                        let fits = reports.iter().any(|report| report.contains("unknown_ca"));
                        assert!(fits, "{reports:?}");
                    }
                }
                server.close();
                Ok::<(), io::Error>(())
            })
            .unwrap();
        }
    });
}

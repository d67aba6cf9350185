//! Connecting and serving over sockets: what handlers are, what becomes of their errors, and which options there are.

#![cfg(not(windows))]

use std::cell::{Cell, RefCell};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use tidegate_protocols::WriteLimits;
use tidegate_reactor::{LoopHandle, spawn};
use tidegate_streams::{
    DEFAULT_LIMIT, Handler, LimitError, StreamLimit, StreamReader, StreamWriter, open_connection,
    start_server,
};
use tidegate_testkit::{alone, open_descriptors, run, watched};
use tidegate_transports::Server;

mod support;
use support::{LOOPBACK, address_of, ended, inner, keep_reports, messages, until};

/// More than the buffers of a connection to ourselves take.
const MUCH: usize = 8 * 1024 * 1024;

const UNHANDLED: &str = "Unhandled exception in client_connected_cb";

/// A client of the standard library.
fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(address_of(server)).expect("the server listens")
}

/// Calls something that blocks, on another thread.
async fn elsewhere<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let handle = LoopHandle::current().expect("a loop");
    handle.run_in_executor(call).await.expect("a thread")
}

/// Everything that a server sends until it ends.
async fn everything(mut client: TcpStream) -> io::Result<Vec<u8>> {
    elsewhere(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|_| all)
    })
    .await
}

#[test]
fn every_option_of_a_connection_is_passed_on() {
    run(async {
        // W-01
        let listener = TcpListener::bind(LOOPBACK)?;
        let address = listener.local_addr()?;
        let limits = WriteLimits::new(Some(100), Some(10)).expect("10 is below 100");
        let (reader, writer) =
            open_connection(address).limit(7).write_buffer_limits(limits).await?;
        assert_eq!(reader.limit(), 7);
        assert_eq!(writer.transport().get_write_buffer_limits(), limits);
        assert_eq!(listener.accept()?.1, writer.sockname().unwrap().as_inet().unwrap());
        let taken = open_connection(address).local_addr(address).await;
        assert_eq!(taken.expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        let (reader, writer) = open_connection(()).sock(TcpStream::connect(address)?).await?;
        assert_eq!(reader.limit(), DEFAULT_LIMIT);
        assert_eq!(listener.accept()?.1, writer.sockname().unwrap().as_inet().unwrap());
        let refused = open_connection(address).sock(TcpStream::connect(address)?).await;
        assert_eq!(refused.expect_err("a contradiction").kind(), io::ErrorKind::InvalidInput);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn every_option_of_a_server_is_passed_on() {
    run(async {
        // W-01
        let limits = WriteLimits::new(Some(100), Some(10)).expect("10 is below 100");
        let served = Rc::new(RefCell::new(Vec::new()));
        let keep = served.clone();
        let handler = move |reader, writer| keep.borrow_mut().push((reader, writer));
        let listener = TcpListener::bind(LOOPBACK)?;
        let address = listener.local_addr()?;
        let server =
            start_server(handler, ()).limit(7).sock(listener).write_buffer_limits(limits).await?;
        assert_eq!(address_of(&server), address);
        let client = connect(&server);
        until(|| !served.borrow().is_empty()).await;
        {
            let served = served.borrow();
            let (reader, writer): &(StreamReader, StreamWriter) = &served[0];
            assert_eq!(reader.limit(), 7);
            assert_eq!(writer.transport().get_write_buffer_limits(), limits);
            assert_eq!(writer.peername().unwrap().as_inet(), client.local_addr().ok());
        }
        let late = start_server(|_, _| (), LOOPBACK).start_serving(false).await?;
        assert!(!late.is_serving());
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_limit_of_zero_is_refused_before_anything_is_done() {
    watched(|| {
        let _alone = alone();
        run(async {
            // R-01, W-01
            let server = start_server(|_, _| (), LOOPBACK).await?;
            let before = open_descriptors();
            let check = |refused: io::Result<()>| {
                let error = refused.expect_err("a limit of zero");
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert_eq!(inner(&error), Some(&LimitError));
                assert_eq!(error.to_string(), "Limit cannot be <= 0");
                assert_eq!(open_descriptors(), before);
            };
            let target = address_of(&server);
            check(open_connection(target).limit(0).await.map(drop));
            let sock = TcpStream::connect(target)?;
            check(open_connection(()).sock(sock).limit(0).await.map(drop));
            check(start_server(|_, _| (), LOOPBACK).limit(0).await.map(drop));
            let sock = TcpListener::bind(LOOPBACK)?;
            check(start_server(|_, _| (), ()).sock(sock).limit(0).await.map(drop));
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

#[test]
fn every_descriptor_is_closed_again() {
    watched(|| {
        let _alone = alone();
        run(async {
            let before = open_descriptors();
            let server = start_server(echo, LOOPBACK).await?;
            for _ in 0..3 {
                let (mut reader, writer) = open_connection(address_of(&server)).await?;
                writer.write(b"a line\n");
                assert_eq!(reader.readline().await?, "a line\n");
                drop(writer);
                until(|| reader.at_eof()).await;
            }
            server.close();
            server.wait_closed().await;
            drop(server);
            until(|| open_descriptors() == before).await;
            Ok::<(), io::Error>(())
        })
        .unwrap();
    });
}

/// Answers each line with itself.
async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    loop {
        let line = reader.readline().await?;
        if line.is_empty() {
            return writer.close().await;
        }
        writer.write(&line);
        writer.drain().await?;
    }
}

/// Asks an echo for a few lines.
async fn check_echo<M: 'static>(handler: impl Handler<M>) -> io::Result<()> {
    let reports = keep_reports();
    let server = start_server(handler, LOOPBACK).await?;
    let mut clients = Vec::new();
    for _ in 0..2 {
        clients.push(open_connection(address_of(&server)).await?);
    }
    for line in ["one\n", "two\n", "three\n"] {
        for (reader, writer) in &mut clients {
            writer.write(line.as_bytes());
            assert_eq!(reader.readline().await?, line);
        }
    }
    for (mut reader, writer) in clients {
        writer.write_eof()?;
        assert_eq!(reader.readline().await?, "");
        writer.close().await?;
    }
    assert!(messages(&reports).is_empty());
    Ok(())
}

#[test]
fn a_handler_is_a_function_or_answers_a_future() {
    run(async {
        // W-20
        check_echo(echo).await?;
        check_echo(async |reader, writer| echo(reader, writer).await).await?;
        check_echo(|reader, writer| async {
            echo(reader, writer).await.expect("a client that ends well");
        })
        .await?;
        check_echo(|reader, writer| {
            spawn(echo(reader, writer)).expect("a loop");
        })
        .await
    })
    .unwrap();
}

#[test]
fn a_handler_is_kept_for_as_long_as_it_runs() {
    run(async {
        // W-20: nobody but the loop has the task, also after the loss
        let ended = Rc::new(Cell::new(false));
        let end = ended.clone();
        let handler = move |mut reader: StreamReader, writer: StreamWriter| {
            let end = end.clone();
            async move {
                reader.read_to_end().await?;
                writer.close().await?;
                support::turns(5).await;
                end.set(true);
                Ok::<(), io::Error>(())
            }
        };
        let server = start_server(handler, LOOPBACK).await?;
        let client = connect(&server);
        support::turns(5).await;
        assert!(!ended.get());
        drop(client);
        until(|| ended.get()).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

/// A handler that ends in an error, for one client: it is reported, and everything written arrives.
async fn check_failure<M: 'static>(handler: impl Handler<M>, text: &str) -> io::Result<()> {
    let reports = keep_reports();
    let server = start_server(handler, LOOPBACK).await?;
    let client = connect(&server);
    let address = client.local_addr()?;
    until(|| !reports.borrow().is_empty()).await;
    assert_eq!(everything(client).await?.len(), MUCH, "{text}");
    assert_eq!(messages(&reports), [UNHANDLED]);
    let reports = reports.borrow();
    let report = &reports[0];
    assert_eq!(report.get("peer"), Some(&*address.to_string()));
    assert_eq!(report.get("transport"), Some(&*format!("transport to {address}")));
    assert_eq!(report.cause().expect("the error").to_string(), text);
    Ok(())
}

#[test]
fn what_a_handler_fails_with_is_reported_and_closes_the_connection() {
    run(async {
        // W-21
        check_failure(
            async |_reader, writer: StreamWriter| {
                writer.write(&[b'x'; MUCH]);
                Err(io::Error::new(io::ErrorKind::InvalidData, "no such thing"))
            },
            "no such thing",
        )
        .await?;
        check_failure(
            async |_reader, writer: StreamWriter| {
                writer.write(&[b'x'; MUCH]);
                Err("an error of another type")
            },
            "an error of another type",
        )
        .await?;
        let panics = async |_reader, writer: StreamWriter| {
            writer.write(&[b'x'; MUCH]);
            support::turns(2).await;
            assert!(writer.is_closing(), "on purpose");
        };
        check_failure(panics, "panicked: on purpose").await?;
        // A clone elsewhere does not keep the connection.
        let kept = Rc::new(RefCell::new(Vec::new()));
        let keep = kept.clone();
        let handler = move |_reader, writer: StreamWriter| {
            keep.borrow_mut().push(writer.clone());
            async move {
                writer.write(&[b'x'; MUCH]);
                Err("with a clone elsewhere")
            }
        };
        check_failure(handler, "with a clone elsewhere").await?;
        until(|| kept.borrow()[0].is_closing()).await;
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_handler_that_fails_is_reported_once_in_debug_mode_too() {
    run(async {
        // W-21
        let reports = keep_reports();
        LoopHandle::current()?.set_debug(true);
        let handler = async |_reader, _writer| Err::<(), _>("no such thing");
        let server = start_server(handler, LOOPBACK).await?;
        let client = connect(&server);
        assert!(everything(client).await?.is_empty());
        support::turns(3).await;
        // A machine that is busy may make a callback slow, which debug mode tells as well.
        let messages: Vec<_> =
            messages(&reports).into_iter().filter(|text| !text.starts_with("Executing")).collect();
        assert_eq!(messages, [UNHANDLED]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_failure_of_one_client_is_not_that_of_another() {
    run(async {
        // W-21
        let reports = keep_reports();
        let handler = async |mut reader: StreamReader, writer: StreamWriter| {
            let line = reader.readline().await?;
            if line == "fail\n" {
                return Err(io::Error::other("as asked"));
            }
            writer.write(&line);
            writer.close().await
        };
        let server = start_server(handler, LOOPBACK).await?;
        let (mut good, good_writer) = open_connection(address_of(&server)).await?;
        let (mut bad, bad_writer) = open_connection(address_of(&server)).await?;
        bad_writer.write(b"fail\n");
        assert_eq!(bad.readline().await?, "");
        good_writer.write(b"fine\n");
        assert_eq!(good.readline().await?, "fine\n");
        assert_eq!(messages(&reports), [UNHANDLED]);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_plain_handler_that_panics_ends_its_connection() {
    run(async {
        // replaced: W-22
        let reports = keep_reports();
        let handler = |reader: StreamReader, writer: StreamWriter| {
            let kept = (reader, writer.clone());
            // The streams go elsewhere, and would keep the connection.
            spawn(async move {
                std::future::pending::<()>().await;
                drop(kept);
            })
            .expect("a loop");
            assert!(writer.is_closing(), "on purpose");
        };
        let server = start_server(handler, LOOPBACK).await?;
        let client = connect(&server);
        assert_eq!(everything(client).await.unwrap_or_default(), b"");
        assert_eq!(messages(&reports), ["Fatal error: protocol.connection_made() call failed."]);
        let cause = reports.borrow()[0].cause().expect("the panic").to_string();
        assert!(cause.contains("on purpose"), "{cause}");
        // The server goes on.
        let client = connect(&server);
        assert_eq!(everything(client).await.unwrap_or_default(), b"");
        assert_eq!(reports.borrow().len(), 2);
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_handler_that_returns_closes_its_connection() {
    run(async {
        async fn check(debug: bool, expected: &[&str]) -> io::Result<()> {
            LoopHandle::current()?.set_debug(debug);
            let reports = keep_reports();
            let handler = async |_reader, writer: StreamWriter| {
                writer.write(&[b'x'; MUCH]);
            };
            let server = start_server(handler, LOOPBACK).await?;
            let client = connect(&server);
            let address = client.local_addr()?;
            assert_eq!(everything(client).await?.len(), MUCH);
            assert_eq!(messages(&reports), expected);
            for report in reports.borrow().iter() {
                assert_eq!(report.get("peer"), Some(&*address.to_string()));
            }
            Ok(())
        }
        // W-23
        check(false, &[]).await?;
        check(true, &["unclosed StreamWriter: it was dropped, which closes it"]).await
    })
    .unwrap();
}

#[test]
fn a_clone_of_the_writer_keeps_the_connection() {
    run(async {
        // W-23
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let handler = move |_reader, writer: StreamWriter| {
            let keep = keep.clone();
            async move { *keep.borrow_mut() = Some(writer.clone()) }
        };
        let server = start_server(handler, LOOPBACK).await?;
        let (mut reader, _writer) = open_connection(address_of(&server)).await?;
        until(|| kept.borrow().is_some()).await;
        support::turns(5).await;
        let writer = kept.take().expect("it was kept");
        assert!(!writer.is_closing());
        writer.write(b"later");
        assert_eq!(reader.read(100).await?, "later");
        drop(writer);
        assert_eq!(reader.read(100).await?, "");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_reader_that_is_dropped_is_kept_by_nobody() {
    run(async {
        // W-24
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let handler = move |reader: StreamReader, writer: StreamWriter| {
            let feeder = reader.feeder();
            *keep.borrow_mut() = Some((reader, feeder, writer));
        };
        let server = start_server(handler, LOOPBACK).limit(1024).await?;
        let mut client = connect(&server);
        until(|| kept.borrow().is_some()).await;
        let (reader, _feeder, writer) = kept.take().expect("a client");
        client.write_all(&[b'x'; 10_000])?;
        // Whoever has the reader has what came.
        until(|| !writer.transport().is_reading()).await;
        drop(reader);
        let mut client = elsewhere(move || {
            client.write_all(&vec![b'x'; MUCH])?;
            Ok::<_, io::Error>(client)
        })
        .await?;
        writer.write(b"still here");
        writer.flush().await?;
        let mut answer = [0; 10];
        client.read_exact(&mut answer)?;
        assert_eq!(&answer, b"still here");
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn the_streams_of_a_plain_handler_may_go_anywhere() {
    run(async {
        // W-20, W-24: they stay alive with whoever has them
        let (give, given) = std::sync::mpsc::channel();
        let handler = move |reader, writer| give.send((reader, writer)).expect("the test waits");
        let server = start_server(handler, LOOPBACK).await?;
        let (mut reader, writer) = open_connection(address_of(&server)).await?;
        writer.write(b"a line\n");
        let mut taken = None;
        until(|| {
            taken = given.try_recv().ok();
            taken.is_some()
        })
        .await;
        let (mut peer_reader, peer_writer): (StreamReader, StreamWriter) = taken.expect("a client");
        let task = spawn(async move {
            let line = peer_reader.readline().await?;
            peer_writer.write(&line);
            peer_writer.close().await
        });
        assert_eq!(reader.readline().await?, "a line\n");
        ended(task?).await
    })
    .unwrap();
}

//! Nobody who waits is forgotten, and nobody keeps the others from being served: the corners.

#![cfg(not(windows))]

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::{AsyncWrite, AsyncWriteExt};
use tidegate_protocols::{Flow, Protocol, Transport};
use tidegate_reactor::{sleep, spawn};
use tidegate_streams::{StreamReader, StreamWriter, open_connection};
use tidegate_testkit::run;

/// Streams on one end of a pair of sockets, and the other end.
async fn streams() -> (StreamReader, StreamWriter, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = open_connection(()).sock(ours).await.unwrap();
    (reader, writer, theirs)
}

/// Writes until the system refuses a little, and the flow is open still.
fn leave_a_little(writer: &StreamWriter) {
    while writer.get_write_buffer_size() == 0 {
        writer.write(&[0; 1000]);
        drop(writer.flush());
    }
    assert_eq!(writer.flow(), Flow::Open);
}

/// Reads what there is, in a thread, until the end.
fn read_all(mut peer: UnixStream) -> thread::JoinHandle<usize> {
    thread::spawn(move || peer.read_to_end(&mut Vec::new()).unwrap())
}

#[test]
fn a_flush_that_waits_outlives_a_write_that_need_not() {
    run(async {
        let (_reader, mut writer, peer) = streams().await;
        leave_a_little(&writer);
        let mut written = false;
        let mut reading = Some(peer);
        let flushed = poll_fn(|context| {
            let flushed = Pin::new(&mut writer).poll_flush(context);
            if !written {
                written = true;
                assert!(flushed.is_pending());
                assert!(Pin::new(&mut writer).poll_write(context, b"x").is_ready());
                reading.take().map(read_all);
            }
            flushed
        });
        flushed.await.unwrap();
        assert_eq!(writer.get_write_buffer_size(), 0);
    });
}

#[test]
fn a_write_that_waits_outlives_a_flush_that_waits_too() {
    run(async {
        let (_reader, mut writer, peer) = streams().await;
        while writer.write(&[0; 65536]) == Flow::Open {}
        let mut reading = Some(peer);
        poll_fn(|context| {
            let room = Pin::new(&mut writer).poll_write(context, b"x");
            if let Some(peer) = reading.take() {
                assert!(room.is_pending());
                assert!(Pin::new(&mut writer).poll_flush(context).is_pending());
                read_all(peer);
            }
            room
        })
        .await
        .unwrap();
    });
}

/// A waker that panics.
struct Rude;

impl Wake for Rude {
    fn wake(self: Arc<Self>) {
        panic!("on purpose: a waker");
    }
}

#[test]
fn a_waker_that_panics_leaves_nobody_else_asleep() {
    run(async {
        let (mut reader, writer, _peer) = streams().await;
        while writer.write(&[0; 65536]) == Flow::Open {}
        let clone = writer.clone();
        let drain = spawn(async move { clone.drain().await }).unwrap();
        sleep(Duration::ZERO).await.unwrap();
        {
            let rude = Waker::from(Arc::new(Rude));
            let mut read = pin!(reader.read(1));
            assert!(read.as_mut().poll(&mut Context::from_waker(&rude)).is_pending());
        }
        writer.abort();
        drain.await.unwrap().unwrap();
    });
}

#[test]
fn a_drain_behind_the_end_of_writing_waits_for_what_was_written() {
    run(async {
        // W-10
        let (_reader, writer, peer) = streams().await;
        while writer.write(&[0; 65536]) == Flow::Open {}
        sleep(Duration::ZERO).await.unwrap();
        writer.write_eof().unwrap();
        let mut drain = pin!(writer.drain());
        assert!(drain.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        read_all(peer);
        drain.await.unwrap();
    });
}

/// Notes how much it received.
struct Next(Rc<Cell<usize>>);

impl Protocol for Next {
    fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
        self.0.set(self.0.get() + data.len());
        Ok(())
    }
}

#[test]
fn another_protocol_takes_the_connection_over_and_the_streams_leave_it_alone() {
    run(async {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let limit = tidegate_streams::StreamLimit::limit(open_connection(()), 10);
        let (mut reader, writer) = limit.sock(ours).await.unwrap();
        let transport = writer.transport().clone();
        peer.write_all(&[b'a'; 100]).unwrap();
        // More than twice the limit: the reader has paused the transport.
        while transport.is_reading() {
            sleep(Duration::ZERO).await.unwrap();
        }

        let received = Rc::new(Cell::new(0));
        transport.set_protocol(Next(received.clone()));
        peer.write_all(b"hello").unwrap();
        while received.get() < 5 {
            sleep(Duration::ZERO).await.unwrap();
        }

        // What had come before is the streams'; then they say what has happened.
        assert_eq!(reader.read(1000).await.unwrap().len(), 100);
        let error = reader.read(1000).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        assert_eq!(writer.drain().await.unwrap_err().kind(), io::ErrorKind::NotConnected);

        transport.pause_reading();
        drop((reader, writer));
        assert!(!transport.is_reading(), "the reader has no say any more");
        assert!(!transport.is_closing(), "nor has the writer");
    });
}

#[test]
fn a_task_that_writes_to_a_fast_reader_makes_room_for_others() {
    run(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (_reader, mut writer) = open_connection(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().unwrap();
        let reading = thread::spawn(move || swallow(peer));

        // It ends when somebody else is served beside it, and never if nobody is.
        let served = Rc::new(Cell::new(false));
        let other = served.clone();
        let writing = spawn(async move {
            while !served.get() {
                writer.write_all(&[0; 100]).await.unwrap();
            }
        });
        spawn(async move { other.set(true) }).unwrap();
        writing.unwrap().await.unwrap();
        reading.join().unwrap();
    });
}

/// Reads until the end.
fn swallow(mut peer: TcpStream) {
    let mut buffer = vec![0; 1 << 20];
    while peer.read(&mut buffer).is_ok_and(|length| length > 0) {}
}

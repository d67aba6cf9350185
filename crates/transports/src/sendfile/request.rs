//! One file on its way to whoever has the turn: natively, or piece by piece.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::task::{Poll, ready};

use tidegate_protocols::{Turn, Waiter};
use tidegate_reactor::{LoopHandle, budget};

use super::{SendfileError, is_of_the_connection, is_regular};

/// The most that one call of the system sends; others have their turn before the next.
const CHUNK: u64 = 1024 * 1024;

/// The most that the fallback holds in memory.
const PIECE: u64 = 64 * 1024;

/// What is to be sent of which file.
#[derive(Debug)]
pub(crate) struct Request<'f> {
    pub(crate) file: BorrowedFd<'f>,
    pub(crate) offset: u64,
    /// Up to the end if none.
    pub(crate) count: Option<u64>,
    pub(crate) fallback: bool,
}

impl<'f> Request<'f> {
    pub(crate) fn new(file: BorrowedFd<'f>) -> Request<'f> {
        Request { file, offset: 0, count: None, fallback: true }
    }

    /// Refuses what cannot be sent, before anything has happened.
    pub(crate) fn check(&self) -> Result<(), SendfileError> {
        if self.count == Some(0) {
            return Err(SendfileError::ZeroCount);
        }
        match rustix::fs::tell(self.file) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::SPIPE) => Err(SendfileError::NotSeekable),
            Err(error) => Err(SendfileError::Failed { sent: 0, error: error.into() }),
        }
    }

    /// Sends the file, and answers how many bytes that were.
    pub(crate) async fn send(&self, turn: &dyn Turn) -> Result<u64, SendfileError> {
        let mut progress = Progress { request: self, sent: 0 };
        if is_regular(self.file) && progress.send_natively(turn).await?.is_some() {
            return Ok(progress.sent);
        }
        if !self.fallback {
            return Err(SendfileError::NotAvailable);
        }
        progress.send_in_pieces(turn).await?;
        Ok(progress.sent)
    }
}

/// How far a file was sent. Dropped, it leaves the file's position there.
struct Progress<'r, 'f> {
    request: &'r Request<'f>,
    sent: u64,
}

/// There is nothing left to send.
struct AtEnd;

impl Progress<'_, '_> {
    /// Where in the file to go on, and with how many bytes, of which at most `most` are wanted.
    fn next(&self, most: u64) -> (u64, usize) {
        let offset = self.request.offset + self.sent;
        let left = self.request.count.map_or(most, |count| count - self.sent);
        // No file reaches further, and the system refuses to look.
        let there = (i64::MAX as u64).saturating_sub(offset);
        let length = usize::try_from(left.min(most).min(there)).expect("a chunk fits into memory");
        (offset, length)
    }

    /// Lets the system send; none if it does not, of all things, want to begin.
    async fn send_natively(&mut self, turn: &dyn Turn) -> Result<Option<AtEnd>, SendfileError> {
        let waiter = Waiter::new();
        loop {
            let (offset, length) = self.next(CHUNK);
            if length == 0 {
                return Ok(Some(AtEnd));
            }
            let sent = poll_fn(|context| {
                ready!(budget::poll_proceed(context));
                turn.poll_send_file(self.request.file, offset, length, &waiter, context)
            });
            match sent.await {
                Ok(0) => return Ok(Some(AtEnd)),
                Ok(sent) => {
                    self.sent += sent as u64;
                    if sent as u64 == CHUNK {
                        make_room().await;
                    }
                }
                Err(error) if self.sent == 0 && !is_of_the_connection(&error) => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Reads on the pool, and sends what was read.
    async fn send_in_pieces(&mut self, turn: &dyn Turn) -> Result<AtEnd, SendfileError> {
        let handle = LoopHandle::current().map_err(|error| self.failed(error.into()))?;
        let file = self.request.file.try_clone_to_owned().map_err(|error| self.failed(error))?;
        let file = Arc::new(File::from(file));
        let waiter = Waiter::new();
        let mut memory = Vec::new();
        loop {
            let (offset, length) = self.next(PIECE);
            if length == 0 {
                return Ok(AtEnd);
            }
            let file = file.clone();
            memory.resize(length, 0);
            let read = handle.run_in_executor(move || {
                let read = read_at(&file, &mut memory, offset);
                (memory, read)
            });
            let (filled, read) = match read.await {
                Ok((filled, Ok(read))) => (filled, read),
                Ok((_, Err(error))) => return Err(self.failed(error)),
                Err(error) => return Err(self.failed(error.into())),
            };
            memory = filled;
            if read == 0 {
                return Ok(AtEnd);
            }
            let mut piece = &memory[..read];
            while !piece.is_empty() {
                let taken = poll_fn(|context| {
                    ready!(budget::poll_proceed(context));
                    turn.poll_write(piece, &waiter, context)
                });
                let taken = taken.await.map_err(|error| self.failed(error))?;
                self.sent += taken as u64;
                piece = &piece[taken..];
            }
        }
    }

    fn failed(&self, error: io::Error) -> SendfileError {
        SendfileError::Failed { sent: self.sent, error }
    }
}

impl Drop for Progress<'_, '_> {
    fn drop(&mut self) {
        if self.sent > 0 {
            // It has told its position before; should it not be movable, the bytes are sent all the same.
            let to = rustix::fs::SeekFrom::Start(self.request.offset + self.sent);
            let _moved = rustix::fs::seek(self.request.file, to);
        }
    }
}

/// One positioned read, made again if a signal came in between.
fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(into, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Lets everyone else have a turn.
async fn make_room() {
    let mut made = false;
    poll_fn(|context| {
        if std::mem::replace(&mut made, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::os::fd::AsFd;
    use std::task::{Context, Waker};

    use super::*;

    /// Takes everything it is given.
    struct Greedy;

    impl Turn for Greedy {
        fn poll_write(
            &self,
            data: &[u8],
            _: &Waiter,
            _: &mut Context<'_>,
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(data.len()))
        }

        fn poll_send_file(
            &self,
            _: BorrowedFd<'_>,
            _: u64,
            count: usize,
            _: &Waiter,
            _: &mut Context<'_>,
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(count))
        }
    }

    #[test]
    fn room_is_made_after_each_full_chunk() {
        let file = File::open(std::env::current_exe().unwrap()).unwrap();
        let request = Request { count: Some(3 * CHUNK + 1), ..Request::new(file.as_fd()) };
        let mut sending = std::pin::pin!(request.send(&Greedy));
        let context = &mut Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(sending.as_mut().poll(context).is_pending());
        }
        let sent = sending.as_mut().poll(context).map(|sent| sent.unwrap());
        assert_eq!(sent, Poll::Ready(3 * CHUNK + 1));
    }
}

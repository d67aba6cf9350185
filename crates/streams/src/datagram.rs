//! Datagrams seen from a task: an endpoint that is awaited.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_protocols::{
    Address, Cause, DatagramFlush, DatagramProtocol, DatagramTransport, Destination, Flow, Waiter,
    Waiters,
};
use tidegate_reactor::budget;
use tidegate_transports::{CreateDatagramEndpoint, DatagramFactory};

use crate::errors::LimitError;
use crate::open::{DEFAULT_LIMIT, StreamLimit};

/// What each datagram counts besides its bytes, as it does for the flow.
const HEADER: usize = 8;

/// Opens a datagram endpoint for tasks.
///
/// The answer is a builder; await it. It has every option of [`CreateDatagramEndpoint`] and, by [`StreamLimit`], the
/// [`limit`](StreamLimit::limit) of what was received and not read yet. asyncio has no counterpart.
///
/// # Errors
///
/// Those of [`create_datagram_endpoint`](tidegate_transports::create_datagram_endpoint), and a [`LimitError`].
///
/// # Cancel safety
///
/// Dropping the future closes everything.
///
/// # Examples
///
/// ```
/// use std::io;
/// use tidegate_streams::open_datagram;
///
/// tidegate_reactor::run(async {
///     let server = open_datagram().local_addr(("127.0.0.1", 0)).await?;
///     let address = server.local_addr().and_then(|own| own.as_inet()).expect("it is bound");
///     let client = open_datagram().remote_addr(address).await?;
///
///     client.send(b"hello").await?;
///     let (data, from) = server.recv().await?;
///     server.send_to(&data, &from).await?;
///     assert_eq!(client.recv().await?.0, "hello");
///     client.close().await?;
///     server.close().await
/// })?;
/// # Ok::<(), io::Error>(())
/// ```
pub fn open_datagram() -> OpenDatagram {
    CreateDatagramEndpoint::new(Datagrams { limit: DEFAULT_LIMIT })
}

/// The builder of [`open_datagram`].
pub type OpenDatagram = CreateDatagramEndpoint<Datagrams>;

impl StreamLimit for OpenDatagram {
    fn limit(self, bytes: usize) -> Self {
        self.with_factory(|datagrams| datagrams.limit = bytes)
    }
}

/// What [`open_datagram`] makes of its endpoint.
#[derive(Debug)]
pub struct Datagrams {
    limit: usize,
}

impl DatagramFactory for Datagrams {
    type Opened = DatagramStream;
    type Kept = DatagramStream;

    fn check(&self) -> io::Result<()> {
        Ok(LimitError::check(self.limit)?)
    }

    fn make(self) -> (Box<dyn DatagramProtocol>, DatagramStream) {
        let mailbox = Rc::new(Mailbox::new(self.limit));
        (Box::new(Postman(Rc::clone(&mailbox))), DatagramStream(mailbox))
    }

    fn opened(stream: DatagramStream, _transport: DatagramTransport) -> DatagramStream {
        stream
    }
}

/// A datagram endpoint that is awaited.
///
/// What was received and not read yet counts its bytes, and 8 more for each datagram. Above twice the limit (64 KiB
/// unless [set](StreamLimit::limit)) the endpoint stops receiving, and at the limit it goes on; what comes meanwhile
/// waits in the system's buffer, which drops what it has no room for.
///
/// An error of the system, such as that nobody received an earlier datagram, is answered once, by the next
/// [`recv`](DatagramStream::recv) that comes to it or by the next send. The endpoint goes on. All methods take a share,
/// so several tasks can use one; dropping it closes the endpoint, after what waits was sent.
pub struct DatagramStream(Rc<Mailbox>);

impl DatagramStream {
    /// Waits for the next datagram, and answers it and who sent it.
    ///
    /// # Errors
    ///
    /// An error of the system that came in between; the endpoint goes on. Once it has ended and everything was read:
    /// the cause, or [`NotConnected`](io::ErrorKind::NotConnected), each time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no datagram.
    pub async fn recv(&self) -> io::Result<(Bytes, Address)> {
        let waiter = Waiter::new();
        poll_fn(|context| self.0.poll_recv(&waiter, context)).await
    }

    /// Sends to the remote address, once sending is welcome; see [`send_to`](DatagramStream::send_to).
    ///
    /// # Errors
    ///
    /// As for [`send_to`](DatagramStream::send_to).
    ///
    /// # Cancel safety
    ///
    /// As for [`send_to`](DatagramStream::send_to).
    pub async fn send(&self, data: &[u8]) -> io::Result<()> {
        self.send_to(data, None).await
    }

    /// Sends `data` as one datagram, once sending is welcome: at once, unless more than the high limit waits.
    ///
    /// It has then been accepted, as [`sendto`](DatagramTransport::sendto) does; what a step sends leaves together.
    ///
    /// # Errors
    ///
    /// A [`SendtoError`](tidegate_protocols::SendtoError), an error of the system that came before, or that the endpoint
    /// has ended. The datagram was not sent then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready sends nothing.
    pub async fn send_to<'a>(&self, data: &[u8], to: impl Into<Destination<'a>>) -> io::Result<()> {
        let (waiter, to) = (Waiter::new(), to.into());
        poll_fn(|context| self.0.poll_send(data, to, &waiter, context)).await
    }

    /// Offers everything to the system now; awaited, it waits until all is taken.
    pub fn flush(&self) -> DatagramFlush {
        self.transport().flush()
    }

    /// Closes at once: what was accepted is still sent, and nothing more is received. Awaited, it waits for the end.
    ///
    /// # Errors
    ///
    /// The cause, if the endpoint ended in another way.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub fn close(&self) -> impl Future<Output = io::Result<()>> + use<> {
        self.transport().close();
        let closed = self.transport().closed();
        async move { closed.await.map_or(Ok(()), |cause| Err(cause.into())) }
    }

    /// The own address.
    pub fn local_addr(&self) -> Option<Address> {
        self.transport().sockname()
    }

    /// The address to which [`send`](DatagramStream::send) sends.
    pub fn remote_addr(&self) -> Option<Address> {
        self.transport().peername()
    }

    /// The transport below, with everything it offers.
    pub fn transport(&self) -> &DatagramTransport {
        self.0.transport.get().expect("a stream is given away when its endpoint was greeted")
    }
}

impl Drop for DatagramStream {
    fn drop(&mut self) {
        if let Some(transport) = self.0.transport.get() {
            transport.close();
        }
    }
}

impl fmt::Debug for DatagramStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramStream")
            .field("transport", &self.0.transport.get())
            .finish_non_exhaustive()
    }
}

/// What came and was not read yet.
enum Letter {
    Datagram(Bytes, Address),
    Error(io::Error),
}

impl Letter {
    fn size(&self) -> usize {
        match self {
            Letter::Datagram(data, _) => data.len() + HEADER,
            Letter::Error(_) => HEADER,
        }
    }
}

/// What a stream and its protocol share.
struct Mailbox {
    letters: RefCell<VecDeque<Letter>>,
    /// What the letters count.
    size: Cell<usize>,
    errors: Cell<usize>,
    limit: usize,
    /// This has stopped the receiving.
    full: Cell<bool>,
    transport: OnceCell<DatagramTransport>,
    /// How it ended.
    lost: Cell<Option<Cause>>,
    arrived: Waiters,
    resumed: Waiters,
}

impl Mailbox {
    fn new(limit: usize) -> Mailbox {
        Mailbox {
            letters: RefCell::default(),
            size: Cell::new(0),
            errors: Cell::new(0),
            limit,
            full: Cell::new(false),
            transport: OnceCell::new(),
            lost: Cell::new(None),
            arrived: Waiters::new(),
            resumed: Waiters::new(),
        }
    }

    fn put(&self, letter: Letter) {
        self.size.set(self.size.get() + letter.size());
        if matches!(letter, Letter::Error(_)) {
            self.errors.set(self.errors.get() + 1);
            self.resumed.wake_all();
        }
        self.letters.borrow_mut().push_back(letter);
        if self.size.get() > self.limit.saturating_mul(2)
            && let Some(transport) = self.transport.get()
        {
            self.full.set(true);
            transport.pause_reading();
        }
        self.arrived.wake_all();
    }

    /// A letter was taken out.
    fn read(&self, letter: &Letter) {
        self.size.set(self.size.get() - letter.size());
        if matches!(letter, Letter::Error(_)) {
            self.errors.set(self.errors.get() - 1);
        }
        if self.size.get() <= self.limit
            && self.full.replace(false)
            && let Some(transport) = self.transport.get()
        {
            transport.resume_reading();
        }
    }

    fn poll_recv(
        &self,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Bytes, Address)>> {
        if self.letters.borrow().is_empty() {
            if let Some(error) = self.loss() {
                return Poll::Ready(Err(error));
            }
            self.arrived.register(waiter, context.waker());
            return Poll::Pending;
        }
        ready!(budget::poll_proceed(context));
        let letter = self.letters.borrow_mut().pop_front();
        let Some(letter) = letter else { return Poll::Pending };
        self.read(&letter);
        Poll::Ready(match letter {
            Letter::Datagram(data, from) => Ok((data, from)),
            Letter::Error(error) => Err(error),
        })
    }

    fn poll_send(
        &self,
        data: &[u8],
        to: Destination<'_>,
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.take_error() {
            return Poll::Ready(Err(error));
        }
        // Nor is a stream that was left behind told when sending goes on.
        if let Some(error) = self.loss() {
            return Poll::Ready(Err(error));
        }
        let transport = self.transport.get().expect("a stream is given away after the greeting");
        if transport.flow() == Flow::Paused {
            self.resumed.register(waiter, context.waker());
            return Poll::Pending;
        }
        ready!(budget::poll_proceed(context));
        Poll::Ready(match transport.sendto(data, to) {
            Ok(Flow::Closed) => Err(self.loss().unwrap_or_else(ended)),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }

    /// The first error that nobody has been answered.
    fn take_error(&self) -> Option<io::Error> {
        if self.errors.get() == 0 {
            return None;
        }
        let letter = {
            let mut letters = self.letters.borrow_mut();
            let place = letters.iter().position(|letter| matches!(letter, Letter::Error(_)))?;
            letters.remove(place)?
        };
        self.read(&letter);
        match letter {
            Letter::Error(error) => Some(error),
            Letter::Datagram(..) => None,
        }
    }

    fn loss(&self) -> Option<io::Error> {
        let lost = self.lost.take();
        let error = lost.clone().map(io::Error::from);
        self.lost.set(lost);
        error
    }

    fn lose(&self, cause: Cause) {
        self.lost.set(Some(cause));
        self.arrived.wake_all();
        self.resumed.wake_all();
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the endpoint is closed")
}

/// Fills a mailbox.
struct Postman(Rc<Mailbox>);

impl DatagramProtocol for Postman {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        let _set_once = self.0.transport.set(transport.clone());
    }

    fn datagram_received(
        &mut self,
        _transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        self.0.put(Letter::Datagram(Bytes::copy_from_slice(data), from.clone()));
        Ok(())
    }

    fn error_received(
        &mut self,
        _transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        self.0.put(Letter::Error(error));
        Ok(())
    }

    fn resume_writing(&mut self, _transport: &DatagramTransport) {
        self.0.resumed.wake_all();
    }

    fn connection_lost(&mut self, _transport: &DatagramTransport, cause: Option<Cause>) {
        self.0.lose(cause.unwrap_or_else(|| ended().into()));
    }
}

/// Whoever gives the endpoint another protocol leaves its stream behind: it must not wait for ever.
impl Drop for Postman {
    fn drop(&mut self) {
        if self.0.loss().is_none() {
            let text = "the endpoint was given another protocol, or its loop was closed";
            self.0.lose(io::Error::new(io::ErrorKind::NotConnected, text).into());
        }
    }
}

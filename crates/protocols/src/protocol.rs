//! What a program writes: the callbacks of one connection.

use std::any::{Any, type_name};
use std::io;

use crate::incoming::empty_buffer;
use crate::{Cause, Incoming, Transport};

/// The callbacks of one connection. Each has a default, so a protocol writes down what it cares for.
///
/// A protocol is an ordinary value with `&mut self` callbacks. The connection owns it; the program keeps
/// what it needs of it by sharing (see [below](#sharing)). One value serves one connection.
///
/// The asyncio counterparts are `asyncio.Protocol` and `asyncio.BufferedProtocol` (protocols.py), in one.
/// Unlike there, each callback is given the transport, so that none has to be stored.
///
/// # The life of a connection
///
/// ```text
///   connection_made
///   ( data_received | get_buffer buffer_updated )*     with pause_writing and resume_writing, which
///   eof_received?                                      strictly alternate, anywhere between the
///   connection_lost                                    first and the last
/// ```
///
/// `connection_made` comes first and once, `connection_lost` last and once, whatever happens between: a
/// close, an abort, an error, the end of the stream, or a callback that fails. Nothing is received after
/// the program has closed or aborted, while reading is paused, or after `eof_received`. A connection that
/// is lost while it is paused gets no `resume_writing`.
///
/// Two ends know no callback: a loop that is closed drops its protocols, and so does a connection whose
/// opening failed before `connection_made`. What must happen in any case belongs into `Drop`.
///
/// A protocol that takes over later ([`Transport::set_protocol`]) enters in the middle: it gets whatever is
/// still to come, and no second `connection_made`.
///
/// # The law
///
/// **Calls go down at any time. Callbacks come up only from the loop, one at a time.** No method of a
/// [`Transport`] ever calls a protocol: what a call leads to arrives later, on a fresh stack. So a callback
/// may call every method of every transport, its own included, and the program may hold any borrow while it
/// does.
///
/// # What ends a connection
///
/// | what happens | the cause that `connection_lost` is given |
/// |---|---|
/// | [`close`](Transport::close), [`abort`](Transport::abort) | none |
/// | the peer ends, and `eof_received` answers [`AtEof::Close`] | none, once everything is sent |
/// | the system answers an error to a read or a write | that error |
/// | a callback answers `Err` | that error |
/// | a callback panics | an error with the text of the panic |
/// | [`fail`](Transport::fail) | the one given |
///
/// Errors of the operating system (those with a number) are common ends and told to the protocol alone;
/// anything else is reported to the loop's exception handler too. A failing callback ends its own
/// connection only, and the protocol still gets its `connection_lost`: the loop and all other connections go
/// on. A panic in `connection_lost` itself, or in the protocol's destructor, is reported and has nothing
/// left to end.
///
/// # Flow control
///
/// Writing never blocks; what the system does not take waits in memory. When *more than* the high limit of
/// bytes waits (64 KiB unless [set](Transport::set_write_buffer_limits)), `pause_writing` follows as soon
/// as the step (the callback or task step that wrote) has ended; when *at most* the low limit (16 KiB) is
/// left, `resume_writing`. [`write`](Transport::write) answers the same at once, as a
/// [`Flow`](crate::Flow). What a protocol writes in spite of it is still sent, but nothing bounds the
/// memory it takes then. The other direction is
/// [`pause_reading`](Transport::pause_reading) and [`resume_reading`](Transport::resume_reading).
///
/// # Examples
///
/// An echo that reads no faster than its peer does:
///
/// ```
/// use std::io;
/// use tidegate_protocols::{Protocol, Transport};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
///         transport.write(data);
///         Ok(())
///     }
///     fn pause_writing(&mut self, transport: &Transport) {
///         transport.pause_reading();
///     }
///     fn resume_writing(&mut self, transport: &Transport) {
///         transport.resume_reading();
///     }
/// }
/// ```
///
/// Messages are the protocol's to find, since data comes in pieces of any size. An answer of `Err` is the
/// way out of a peer that does not keep to the rules:
///
/// ```
/// use std::io;
/// use tidegate_protocols::{AtEof, Protocol, Transport};
///
/// /// Answers each line with its length.
/// #[derive(Default)]
/// struct Lengths {
///     line: Vec<u8>,
/// }
///
/// impl Protocol for Lengths {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
///         let mut pieces = data.split(|byte| *byte == b'\n');
///         let last = pieces.next_back().unwrap_or_default();
///         for piece in pieces {
///             self.line.extend_from_slice(piece);
///             transport.write(format!("{}\n", self.line.len()).as_bytes());
///             self.line.clear();
///         }
///         self.line.extend_from_slice(last);
///         if self.line.len() > 1024 {
///             return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
///         }
///         Ok(())
///     }
///     fn eof_received(&mut self, _: &Transport) -> io::Result<AtEof> {
///         if self.line.is_empty() { Ok(AtEof::Close) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
///     }
/// }
/// ```
///
/// # Sharing
///
/// A protocol that the program looks at too is shared as an `Rc<RefCell<P>>`, which is a protocol itself:
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use tidegate_protocols::{Cause, Protocol, Transport};
///
/// #[derive(Default)]
/// struct Presence {
///     connected: bool,
/// }
///
/// impl Protocol for Presence {
///     fn connection_made(&mut self, _: &Transport) {
///         self.connected = true;
///     }
///     fn connection_lost(&mut self, _: &Transport, _: Option<Cause>) {
///         self.connected = false;
///     }
/// }
///
/// let presence = Rc::new(RefCell::new(Presence::default()));
/// let for_the_connection: Box<dyn Protocol> = Box::new(presence.clone());
/// assert!(!presence.borrow().connected);
/// # drop(for_the_connection);
/// ```
///
/// A share that is found borrowed when a callback is due (because a borrow is held across an `.await`, say)
/// ends its connection with an error that says so; that callback is then left out, be it `connection_lost`.
#[expect(unused_variables, reason = "the defaults do nothing, and the names are for the reader")]
pub trait Protocol: Any {
    /// The connection stands; asyncio's `connection_made`.
    ///
    /// Reading starts when this has returned, unless it has [paused](Transport::pause_reading) or closed.
    ///
    /// It cannot answer an error: a protocol that will not have this connection calls
    /// [`Transport::fail`] with the reason, or [`Transport::abort`] without one.
    fn connection_made(&mut self, transport: &Transport) {}

    /// These bytes came, at least one and at most 256 KiB; asyncio's `data_received`.
    ///
    /// Where one message ends and the next begins is the protocol's to find: the network cuts and joins what
    /// the peer wrote as it likes.
    ///
    /// # Errors
    ///
    /// One that is answered ends the connection, with it as the cause.
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// The peer has sent everything; asyncio's `eof_received`. It comes at most once.
    ///
    /// The answer decides what follows: closing (the default), or writing on until the protocol closes.
    ///
    /// # Errors
    ///
    /// One that is answered ends the connection, with it as the cause.
    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        Ok(AtEof::Close)
    }

    /// More than the high limit waits to be sent: hold back; asyncio's `pause_writing`.
    fn pause_writing(&mut self, transport: &Transport) {}

    /// At most the low limit is left: go on; asyncio's `resume_writing`. It may write or close.
    fn resume_writing(&mut self, transport: &Transport) {}

    /// The connection is gone and nothing follows; asyncio's `connection_lost`.
    ///
    /// `cause` is none after a clean end: a close, an abort, the end of the stream. That everything was sent means that
    /// the system has taken it, not that the peer has read it. The socket is closed as
    /// soon as this returns, and the protocol is dropped. `transport` still answers what is
    /// [known](Transport::peername) of the connection.
    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {}

    /// Memory of the protocol's own to receive into, instead of [`data_received`](Protocol::data_received);
    /// asyncio's `BufferedProtocol.get_buffer`.
    ///
    /// It is asked before each read. A protocol that answers with a buffer gets
    /// [`buffer_updated`](Protocol::buffer_updated) with how much of it was filled, if anything came at all.
    /// `size_hint` is a recommended size in bytes; none says nothing (asyncio's -1). An empty buffer ends the
    /// connection with the error "get_buffer() returned an empty buffer".
    ///
    /// # Examples
    ///
    /// ```
    /// use std::io;
    /// use tidegate_protocols::{Protocol, Transport};
    ///
    /// /// Collects records of 512 bytes without a copy.
    /// struct Records {
    ///     record: [u8; 512],
    ///     filled: usize,
    ///     count: usize,
    /// }
    ///
    /// impl Protocol for Records {
    ///     fn get_buffer(&mut self, _size_hint: Option<usize>) -> Option<&mut [u8]> {
    ///         Some(&mut self.record[self.filled..])
    ///     }
    ///     fn buffer_updated(&mut self, _: &Transport, length: usize) -> io::Result<()> {
    ///         self.filled += length;
    ///         if self.filled == self.record.len() {
    ///             self.count += 1;
    ///             self.filled = 0;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    fn get_buffer(&mut self, size_hint: Option<usize>) -> Option<&mut [u8]> {
        None
    }

    /// The first `length` bytes of the buffer of the last [`get_buffer`](Protocol::get_buffer) have been
    /// filled; asyncio's `BufferedProtocol.buffer_updated`.
    ///
    /// # Errors
    ///
    /// One that is answered ends the connection, with it as the cause.
    fn buffer_updated(&mut self, transport: &Transport, length: usize) -> io::Result<()> {
        Ok(())
    }

    /// Makes one read and hands it on: the only one of the receiving callbacks that transports call.
    ///
    /// As provided, it reads into [`get_buffer`](Protocol::get_buffer)'s memory if there is any and calls
    /// [`buffer_updated`](Protocol::buffer_updated), else [`data_received`](Protocol::data_received) with a
    /// buffer of the loop's. Most protocols leave it alone. Layers override it to read into memory of their
    /// own, and protocols that stand for another forward it. It must read exactly once: one that returns
    /// `Ok` without having read ends the connection with an error.
    ///
    /// It has no counterpart in asyncio, where the transport makes this choice.
    ///
    /// # Errors
    ///
    /// One that is answered ends the connection, with it as the cause. The end of the stream and errors of
    /// the read are none of this one's: [`Incoming`] has noted them for the transport.
    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        incoming.set_stage("get_buffer");
        let filled = match self.get_buffer(None) {
            // asyncio: selector_events.py raises this in place of get_buffer, before it reads.
            Some([]) => return Err(empty_buffer()),
            Some(buffer) => incoming.read(buffer),
            None => {
                incoming.set_stage("data_received");
                return match incoming.shared() {
                    Some(data) => self.data_received(transport, data),
                    None => Ok(()),
                };
            }
        };
        match filled {
            Some(length) => {
                incoming.set_stage("buffer_updated");
                self.buffer_updated(transport, length)
            }
            None => Ok(()),
        }
    }

    /// What reports call the protocol: the name of its type.
    ///
    /// A protocol that stands for another forwards it.
    fn type_name(&self) -> &'static str {
        type_name::<Self>()
    }
}

/// What follows when the peer has sent everything: what
/// [`eof_received`](Protocol::eof_received) answers.
///
/// asyncio's `eof_received` answers false for the first and true for the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEof {
    /// The connection closes, once everything is sent.
    #[default]
    Close,
    /// It stays open for writing, until the protocol closes it.
    ///
    /// [`write_eof`](Transport::write_eof) does not do that: once both directions have ended, somebody still
    /// has to call [`close`](Transport::close), or the connection stays.
    KeepWriting,
}

#[cfg(test)]
mod tests;

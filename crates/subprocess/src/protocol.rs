//! What a program writes: the callbacks of one child.

use std::any::{Any, type_name};
use std::io;
use std::os::fd::RawFd;

use tidegate_protocols::Cause;

use crate::SubprocessTransport;

/// The callbacks of one child. Each has a default, so a protocol writes down what it cares for.
///
/// The transport owns it, and the program keeps what it needs of it by sharing: an `Rc<RefCell<P>>` is a protocol
/// itself. The asyncio counterpart is `asyncio.SubprocessProtocol` (protocols.py), whose callbacks are given no
/// transport.
///
/// # The life of a child
///
/// ```text
///   connection_made
///   for each pipe:  pipe_data_received*  pipe_connection_lost       in any order with one another,
///   process_exited                                                  with pause_writing and resume_writing between
///   connection_lost
/// ```
///
/// `connection_made` comes first and once, before the call that started the child answers. `connection_lost` comes last
/// and once: when the exit was told *and* every pipe has told its end. These two have no order between them: what a
/// child has written may be read after its exit was told, and a grandchild that has inherited a pipe keeps that pipe,
/// and with it `connection_lost`, from ending. To know that the child itself has ended there is `process_exited`.
///
/// A pipe is numbered as in the child: 0 is its standard input, 1 its output, 2 its standard error.
///
/// # What ends it
///
/// The exit of the child and the end of its pipes; [`close`](SubprocessTransport::close), which kills a child that still
/// runs; and a callback that answers an error or panics. That is reported to the loop's exception handler, unless it is
/// an error of the operating system; the child is killed, its pipes are closed, and `connection_lost` has that cause.
///
/// # Flow control
///
/// Standard input has limits like every transport that is written to: above the high one `pause_writing` follows, at
/// the low one `resume_writing`. What a child writes and the protocol
/// [does not read](tidegate_protocols::ReadTransport::pause_reading) stays in the system's pipe, and the child waits
/// when that is full.
///
/// # Examples
///
/// ```
/// use std::io;
/// use std::os::fd::RawFd;
/// use tidegate_subprocess::{SubprocessProtocol, SubprocessTransport};
///
/// #[derive(Default)]
/// struct Gather {
///     output: Vec<u8>,
/// }
///
/// impl SubprocessProtocol for Gather {
///     fn pipe_data_received(
///         &mut self,
///         _: &SubprocessTransport,
///         fd: RawFd,
///         data: &[u8],
///     ) -> io::Result<()> {
///         if fd == 1 {
///             self.output.extend_from_slice(data);
///         }
///         Ok(())
///     }
/// }
/// ```
#[expect(unused_variables, reason = "the defaults do nothing, and the names are for the reader")]
pub trait SubprocessProtocol: Any {
    /// The child was started, and its pipes stand; asyncio's `connection_made`.
    ///
    /// Reading starts when this has returned.
    fn connection_made(&mut self, transport: &SubprocessTransport) {}

    /// The child wrote these bytes, at least one, to its descriptor `fd`; asyncio's `pipe_data_received`.
    ///
    /// # Errors
    ///
    /// One that is answered kills the child and ends the transport, with it as the cause.
    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        Ok(())
    }

    /// The pipe to or from the child's descriptor `fd` is gone; asyncio's `pipe_connection_lost`.
    ///
    /// `cause` is none where it was closed, on either side. For standard input it is a broken pipe if something that was
    /// written could not be sent any more.
    ///
    /// # Errors
    ///
    /// One that is answered kills the child and ends the transport, with it as the cause.
    fn pipe_connection_lost(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        cause: Option<Cause>,
    ) -> io::Result<()> {
        Ok(())
    }

    /// More than the high limit waits to be written to the child's descriptor `fd`, which is 0: hold back; asyncio's
    /// `pause_writing`.
    fn pause_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {}

    /// At most the low limit is left: go on; asyncio's `resume_writing`. It may write or close.
    fn resume_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {}

    /// The child has ended; asyncio's `process_exited`. [`SubprocessTransport::get_returncode`] says how.
    ///
    /// # Errors
    ///
    /// One that is answered ends the transport, with it as the cause.
    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        Ok(())
    }

    /// The child has ended, its pipes are gone, and nothing follows; asyncio's `connection_lost`.
    ///
    /// `cause` is none unless a callback has failed or [`SubprocessTransport::fail`] was called. The protocol is dropped
    /// when this has returned.
    fn connection_lost(&mut self, transport: &SubprocessTransport, cause: Option<Cause>) {}

    /// What reports call the protocol: the name of its type.
    ///
    /// A protocol that stands for another forwards it.
    fn type_name(&self) -> &'static str {
        type_name::<Self>()
    }
}

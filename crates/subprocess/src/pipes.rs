//! The pipes to and from a child: transports of their own, whose protocol tells the child's.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::rc::Rc;

use tidegate_protocols::{Cause, Protocol, ReadTransport, Transport, WriteLimits, WriteTransport};
use tidegate_transports::PipeEnds;
use tidegate_transports::stream::{self, StreamOptions};

use crate::process::Process;

/// The transport of a pipe to or from a child, as
/// [`get_pipe_transport`](crate::SubprocessTransport::get_pipe_transport) answers it.
///
/// ```
/// # fn example(transport: &tidegate_subprocess::SubprocessTransport) {
/// use tidegate_subprocess::PipeTransport;
///
/// match transport.get_pipe_transport(0) {
///     Some(PipeTransport::Write(stdin)) => drop(stdin.write(b"hello")),
///     Some(PipeTransport::Read(_)) => unreachable!("standard input is written to"),
///     None => println!("standard input is not piped"),
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub enum PipeTransport {
    /// The child's output or standard error.
    Read(ReadTransport),
    /// The child's input.
    Write(WriteTransport),
}

impl PipeTransport {
    /// The transport, if it is one to read from.
    pub fn read(self) -> Option<ReadTransport> {
        match self {
            PipeTransport::Read(pipe) => Some(pipe),
            PipeTransport::Write(_) => None,
        }
    }

    /// The transport, if it is one to write to.
    pub fn write(self) -> Option<WriteTransport> {
        match self {
            PipeTransport::Write(pipe) => Some(pipe),
            PipeTransport::Read(_) => None,
        }
    }

    /// As [`Transport::close`].
    pub fn close(&self) {
        match self {
            PipeTransport::Read(pipe) => pipe.close(),
            PipeTransport::Write(pipe) => pipe.close(),
        }
    }

    /// As [`Transport::abort`].
    pub fn abort(&self) {
        match self {
            PipeTransport::Read(pipe) => pipe.abort(),
            PipeTransport::Write(pipe) => pipe.abort(),
        }
    }

    /// As [`Transport::is_closing`].
    pub fn is_closing(&self) -> bool {
        match self {
            PipeTransport::Read(pipe) => pipe.is_closing(),
            PipeTransport::Write(pipe) => pipe.is_closing(),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.clone() {
            PipeTransport::Read(pipe) => pipe.into(),
            PipeTransport::Write(pipe) => pipe.into(),
        }
    }
}

/// Makes a transport of our end of a pipe.
///
/// # Errors
///
/// What the loop says to one more descriptor.
pub(crate) fn open(
    process: &Rc<Process>,
    fd: RawFd,
    end: OwnedFd,
    limits: WriteLimits,
) -> io::Result<()> {
    let handle = &process.handle;
    let options = StreamOptions {
        limits,
        attached: Some((process.clone(), usize::try_from(fd).unwrap_or_default())),
        ..StreamOptions::default()
    };
    let protocol = Box::new(PipeProtocol::new(process, fd));
    let pipe = if fd == 0 {
        let wire = |watcher| PipeEnds::write_only(handle, end, watcher);
        PipeTransport::Write(WriteTransport::new(stream::open(handle, wire, protocol, options)?))
    } else {
        let wire = |watcher| PipeEnds::read_only(handle, end, watcher);
        PipeTransport::Read(ReadTransport::new(stream::open(handle, wire, protocol, options)?))
    };
    process.add_pipe(fd, pipe);
    Ok(())
}

/// The protocol of a pipe; asyncio's `ReadSubprocessPipeProto` and `WriteSubprocessPipeProto`.
///
/// The child's protocol is at home when it is called: who has that out has this out as well.
struct PipeProtocol {
    process: Rc<Process>,
    fd: RawFd,
}

impl PipeProtocol {
    fn new(process: &Rc<Process>, fd: RawFd) -> PipeProtocol {
        process.set_telling(fd, true);
        PipeProtocol { process: Rc::clone(process), fd }
    }
}

impl Drop for PipeProtocol {
    fn drop(&mut self) {
        self.process.set_telling(self.fd, false);
    }
}

impl Protocol for PipeProtocol {
    fn data_received(&mut self, _: &Transport, data: &[u8]) -> io::Result<()> {
        self.process.callback("pipe_data_received", |protocol, transport| {
            protocol.pipe_data_received(transport, self.fd, data)
        });
        Ok(())
    }

    fn pause_writing(&mut self, _: &Transport) {
        self.process.callback("pause_writing", |protocol, transport| {
            protocol.pause_writing(transport, self.fd);
            Ok(())
        });
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.process.callback("resume_writing", |protocol, transport| {
            protocol.resume_writing(transport, self.fd);
            Ok(())
        });
    }

    fn connection_lost(&mut self, _: &Transport, cause: Option<Cause>) {
        self.process.callback("pipe_connection_lost", |protocol, transport| {
            protocol.pipe_connection_lost(transport, self.fd, cause)
        });
    }
}

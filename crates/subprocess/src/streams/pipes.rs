//! The protocol of a child whose pipes are streams: it gives each of them to a reader or a writer.

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use tidegate_protocols::{AtEof, Cause, Incoming, Protocol, ReadTransport, Transport};
use tidegate_streams::{StreamReader, StreamReaderProtocol, StreamWriter};

use crate::{SubprocessProtocol, SubprocessTransport};

/// The streams of a child, from when its pipes stand until its [`Process`](super::Process) takes them.
#[derive(Default)]
pub(super) struct Handed {
    pub(super) stdin: Cell<Option<StreamWriter>>,
    pub(super) stdout: Cell<Option<StreamReader>>,
    pub(super) stderr: Cell<Option<StreamReader>>,
}

/// The protocol of the child; asyncio's `SubprocessStreamProtocol`.
///
/// The pipes are given protocols of their own before they read anything, so what a child writes reaches its reader by no
/// detour, and as any other connection does.
pub(super) struct TaskProtocol {
    limit: usize,
    handed: Option<Rc<Handed>>,
    /// How many of the child's output and standard error have not ended.
    outputs: Rc<Cell<usize>>,
}

impl TaskProtocol {
    /// `limit` was checked.
    pub(super) fn new(limit: usize, handed: Rc<Handed>) -> TaskProtocol {
        TaskProtocol { limit, handed: Some(handed), outputs: Rc::default() }
    }

    fn reader(&self, child: &SubprocessTransport, pipe: &ReadTransport) -> Option<StreamReader> {
        let (reader, streams) = StreamReaderProtocol::reading(pipe, self.limit).ok()?;
        self.outputs.set(self.outputs.get() + 1);
        let outputs = Rc::clone(&self.outputs);
        pipe.set_protocol(OutputPipe { streams, child: child.clone(), outputs });
        Some(reader)
    }
}

impl SubprocessProtocol for TaskProtocol {
    fn connection_made(&mut self, child: &SubprocessTransport) {
        // Not kept: whoever has given up awaiting the child wants none of its streams.
        let Some(handed) = self.handed.take() else { return };
        if let Some(pipe) = child.stdin() {
            let (writer, streams) = StreamReaderProtocol::writing(&pipe);
            pipe.set_protocol(streams);
            handed.stdin.set(Some(writer));
        }
        handed.stdout.set(child.stdout().and_then(|pipe| self.reader(child, &pipe)));
        handed.stderr.set(child.stderr().and_then(|pipe| self.reader(child, &pipe)));
    }

    fn process_exited(&mut self, child: &SubprocessTransport) -> io::Result<()> {
        close_if_over(child, &self.outputs);
        Ok(())
    }

    /// A pipe has other protocols from the beginning, so this is about none.
    fn pipe_data_received(
        &mut self,
        _: &SubprocessTransport,
        _: RawFd,
        _: &[u8],
    ) -> io::Result<()> {
        Ok(())
    }
}

/// Closes the transport of a child that has ended when nothing can come from it any more: whoever has inherited its
/// input is not waited for. asyncio: `_maybe_close_transport`.
fn close_if_over(child: &SubprocessTransport, outputs: &Cell<usize>) {
    if outputs.get() == 0 && child.get_returncode().is_some() {
        child.close();
    }
}

/// The protocol of a pipe from the child: that of its reader, which tells of the end too.
struct OutputPipe {
    streams: StreamReaderProtocol,
    child: SubprocessTransport,
    outputs: Rc<Cell<usize>>,
}

impl Protocol for OutputPipe {
    fn connection_made(&mut self, transport: &Transport) {
        self.streams.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.streams.data_received(transport, data)
    }

    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        self.streams.receive(transport, incoming)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        self.streams.eof_received(transport)
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        self.streams.connection_lost(transport, cause);
        self.outputs.set(self.outputs.get() - 1);
        close_if_over(&self.child, &self.outputs);
    }
}

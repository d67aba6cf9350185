//! The conformance suite over pairs of pipes: whole and a byte at a time, plain and under a layer.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;

use tidegate_protocols::layer::Transparent;
use tidegate_protocols::{Protocol, Transport};
use tidegate_reactor::LoopHandle;
use tidegate_testkit::Dribble;
use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, UnderLayer, run_all};
use tidegate_transports::PipeEnds;
use tidegate_transports::stream::{self, StreamOptions};

/// Two pipes, one for each way.
struct Pipes {
    bytes_at_a_time: Option<usize>,
}

impl Pipes {
    fn open(
        &self,
        read: OwnedFd,
        write: OwnedFd,
        protocol: Box<dyn Protocol>,
    ) -> io::Result<Transport> {
        let handle = LoopHandle::current()?;
        let wire = |watcher| {
            let ends = PipeEnds::both(&handle, read, write, watcher)?;
            Ok(Dribble::new(ends, self.bytes_at_a_time))
        };
        stream::open(&handle, wire, protocol, StreamOptions::default())
    }
}

impl Ground for Pipes {
    fn name(&self) -> String {
        match self.bytes_at_a_time {
            None => "pipes".to_owned(),
            Some(bytes) => format!("pipes, at most {bytes} bytes at a time"),
        }
    }

    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
        let connected = || {
            let ((heard, says), (hears, said)) = (small_pipe()?, small_pipe()?);
            let left = self.open(heard.into(), said.into(), left)?;
            Ok((left, self.open(hears.into(), says.into(), right)?))
        };
        let connected = connected();
        Box::pin(async { connected })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            addresses: false,
            bytes_at_a_time: self.bytes_at_a_time,
            ..Capabilities::default()
        }
    }
}

/// A pipe with little room, so that what is written soon waits.
fn small_pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let pipe = io::pipe()?;
    room::shrink(&pipe.1)?;
    Ok(pipe)
}

/// Where the room can be chosen.
#[cfg(target_os = "linux")]
mod room {
    pub(crate) fn shrink(pipe: impl std::os::fd::AsFd) -> std::io::Result<()> {
        rustix::pipe::fcntl_setpipe_size(pipe, 4096)?;
        Ok(())
    }
}

/// Where it cannot.
#[cfg(not(target_os = "linux"))]
mod room {
    pub(crate) fn shrink(_: impl std::os::fd::AsFd) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn pipes_conform() {
    run_all(Pipes { bytes_at_a_time: None });
}

#[test]
fn pipes_conform_a_byte_at_a_time() {
    run_all(Pipes { bytes_at_a_time: Some(1) });
}

#[test]
fn pipes_conform_under_a_layer() {
    run_all(UnderLayer::new(Pipes { bytes_at_a_time: None }, || Transparent));
}

#[test]
fn pipes_conform_under_a_layer_a_byte_at_a_time() {
    run_all(UnderLayer::new(Pipes { bytes_at_a_time: Some(1) }, || Transparent));
}

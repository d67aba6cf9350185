//! A child's output, gathered by a protocol: `cargo run --example subprocess_date`.
//!
//! It is asyncio's "Loop.subprocess_exec() and SubprocessProtocol": the child is asked for the date.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use tidegate::prelude::*;
use tidegate_examples::no_arguments;

/// Gathers what the child writes.
#[derive(Default)]
struct Date {
    output: Vec<u8>,
}

impl SubprocessProtocol for Date {
    fn pipe_data_received(
        &mut self,
        _: &SubprocessTransport,
        fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        println!("pipe_data_received: {} bytes from descriptor {fd}", data.len());
        self.output.extend_from_slice(data);
        Ok(())
    }

    // These two come in either order; what the child has written may be read after its end was noticed.
    fn pipe_connection_lost(
        &mut self,
        _: &SubprocessTransport,
        fd: RawFd,
        _: Option<tidegate::Cause>,
    ) -> io::Result<()> {
        println!("pipe_connection_lost: descriptor {fd}");
        Ok(())
    }

    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        println!("process_exited: {:?}", transport.get_returncode());
        Ok(())
    }
}

fn main() -> io::Result<()> {
    no_arguments("Asks a child for the date");
    tidegate::run(async {
        // One share goes to the child, the other stays here.
        let date = Rc::new(RefCell::new(Date::default()));
        let share = Rc::clone(&date);
        let child = subprocess_exec(|| share, "date").arg("+%Y-%m-%d").env("TZ", "UTC");
        let transport = child.stdin(Stdio::Inherit).stderr(Stdio::Inherit).await?;

        // When its end was told and the pipe's, nothing more can come.
        transport.closed().await;
        let output = &date.borrow().output;
        println!("the date is {}", String::from_utf8_lossy(output).trim_end());
        Ok(())
    })
}

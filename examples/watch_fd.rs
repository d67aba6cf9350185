//! A plain file descriptor is watched with `add_reader`, without any transport or protocol:
//! `cargo run --example watch_fd`.
//!
//! It is asyncio's "Watch a file descriptor for read events". Anything that can be polled will do: a socket, a pipe, a
//! terminal, a descriptor from another library.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use tidegate::prelude::*;
use tidegate_examples::no_arguments;

fn main() -> io::Result<()> {
    no_arguments("Watches a plain file descriptor");
    tidegate::run(async {
        let handle = LoopHandle::current()?;
        let (watched, mut other_end) = UnixStream::pair()?;
        let watched = Rc::new(watched);
        // The callback keeps the promise, and the task waits for the future.
        let (promise, received) = create_future();

        let reader = Rc::clone(&watched);
        handle.add_reader(&*watched, move || {
            // The loop says that there is something to read. Reading it is our own business, and so is doing it once:
            // as long as data waits, or the end of the stream, the callback is called in every turn.
            let mut buffer = [0; 100];
            let outcome = (&*reader).read(&mut buffer).map(|length| buffer[..length].to_vec());
            // It is refused if the task was told before, or has been dropped meanwhile.
            let _ = promise.set_result(outcome);
        })?;
        println!("watching a descriptor");

        // In place of a peer somewhere else, the loop itself sends something in its next turn.
        handle.call_soon(move || {
            other_end.write_all(b"abc").expect("three bytes fit into an empty socket");
        })?;

        let data = received.await??;
        println!("received {:?}", String::from_utf8_lossy(&data));

        // Before the descriptor is closed its callbacks have to go.
        handle.remove_reader(&*watched)?;
        println!("no longer watching it");
        Ok(())
    })
}

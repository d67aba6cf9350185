//! An echo server on all cores, with a loop in a thread for each:
//! `cargo run --release --example multicore_echo -- [HOST:PORT] [--threads COUNT] [--reuse-port]`.
//!
//! It shows how a connection moves from one loop to another: the main thread accepts, takes each connection out of
//! its own loop (`detach`) and mails it to one of the others, which goes on with it (`adopt`). So every thread has its
//! share, however the clients come. With `--reuse-port` nothing moves: each thread has a server of its own on the
//! same port, and the system deals the clients out.
//!
//! Talk to it with `cargo run --example streams_echo_client`. Ctrl-C ends it: each thread says how many it has served.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use clap::Parser;
use tidegate::prelude::*;
use tidegate::{Detached, adopt};
use tidegate::{EventLoop, Remote};
use tidegate_examples::{host_and_port, told};

/// Sends back what each client says, on all cores.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port, default_value = "127.0.0.1:8888")]
    address: (String, u16),
    /// How many threads serve; one for each core unless set.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Each thread accepts for itself, and the system deals the clients out.
    #[arg(long)]
    reuse_port: bool,
}

fn main() -> ExitCode {
    told(serve(Arguments::parse()))
}

fn serve(arguments: Arguments) -> io::Result<()> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let count = arguments.threads.map_or_else(cores, usize::from);

    let mut workers = Workers::default();
    let served = if arguments.reuse_port {
        share_the_port(arguments.address, count, &mut workers)
    } else {
        accept_for_all(arguments.address, count, &mut workers)
    };
    workers.stop()?;
    match served {
        // Ctrl-C is how this program ends.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        ended => ended,
    }
}

/// Accepts in this thread, and hands each connection to the next of the others.
fn accept_for_all(address: (String, u16), count: usize, workers: &mut Workers) -> io::Result<()> {
    for _ in 0..count {
        workers.start(None)?;
    }
    let rota = Rc::new(Rota { remotes: workers.remotes(), next: Cell::new(0) });
    tidegate::run(async {
        let server = create_server(move || Usher(Rc::clone(&rota)), address).await?;
        for socket in server.sockets() {
            println!("serving on {} in {count} threads", socket.sockname());
        }
        server.serve_forever().await
    })
}

/// Lets each thread accept for itself.
fn share_the_port(address: (String, u16), count: usize, workers: &mut Workers) -> io::Result<()> {
    let mut place = address;
    let mut served = None;
    for _ in 0..count {
        served = workers.start(Some(place.clone()))?;
        // If any port will do, the first thread finds one for all.
        place.1 = served.map_or(place.1, |address| address.port());
    }
    tidegate::run(async {
        if let Some(address) = served {
            println!("serving on {address} in {count} threads");
        }
        // Here is nothing to do but to wait for Ctrl-C.
        std::future::pending().await
    })
}

/// Whose turn it is.
struct Rota {
    remotes: Vec<Remote>,
    next: Cell<usize>,
}

/// The protocol of a connection in the thread that accepts: it leaves as soon as it is made.
struct Usher(Rc<Rota>);

impl Protocol for Usher {
    fn connection_made(&mut self, transport: &Transport) {
        let Rota { remotes, next } = &*self.0;
        match transport.detach() {
            Ok(detached) => {
                let remote = &remotes[next.get()];
                next.set((next.get() + 1) % remotes.len());
                // A thread that has stopped takes nobody any more: then the connection is closed.
                let _ = remote.call_soon_threadsafe(move || go_on(detached));
            }
            Err(error) => {
                eprintln!("a client cannot be handed on: {error}");
                transport.abort();
            }
        }
    }
}

/// Goes on with a connection, in the thread that it was sent to.
fn go_on(detached: Detached) {
    let adopted = spawn(async {
        if let Err(error) = adopt(|| Echo, detached).await {
            eprintln!("a client cannot be taken over: {error}");
        }
    });
    adopted.expect("this is called by a running loop");
}

thread_local! {
    /// How many connections this thread has served.
    static SERVED: Cell<u64> = const { Cell::new(0) };
}

/// There is one of these for each connection, in the thread that serves it.
struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, _transport: &Transport) {
        SERVED.set(SERVED.get() + 1);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

/// The threads that serve, each with a loop of its own.
#[derive(Default)]
struct Workers(Vec<(Remote, JoinHandle<io::Result<u64>>)>);

/// What a thread tells when its loop stands: how to reach it, and where it serves if it accepts for itself.
type Ready = (Remote, Option<SocketAddr>);

impl Workers {
    /// Starts one more, with a server of its own if it is given an address; answers where that listens.
    fn start(&mut self, address: Option<(String, u16)>) -> io::Result<Option<SocketAddr>> {
        let (sender, ready) = mpsc::channel();
        let thread = thread::spawn(move || work(address, &sender));
        match ready.recv() {
            Ok((remote, served)) => {
                self.0.push((remote, thread));
                Ok(served)
            }
            // It has ended instead, and says why.
            Err(_) => Err(join(thread).err().unwrap_or_else(|| io::Error::other("no loop"))),
        }
    }

    fn remotes(&self) -> Vec<Remote> {
        self.0.iter().map(|(remote, _)| remote.clone()).collect()
    }

    /// Stops them all, and tells what each has done.
    fn stop(self) -> io::Result<()> {
        for (remote, _) in &self.0 {
            // `stop` is for the loop that runs there. One that is closed already needs none.
            let _ = remote.call_soon_threadsafe(|| {
                LoopHandle::current().expect("this is called by a running loop").stop();
            });
        }
        for (number, (_, thread)) in self.0.into_iter().enumerate() {
            println!("thread {} has served {} connections", number + 1, join(thread)?);
        }
        Ok(())
    }
}

/// Runs a loop until it is stopped; answers how many connections it has served.
fn work(address: Option<(String, u16)>, ready: &Sender<Ready>) -> io::Result<u64> {
    let event_loop = EventLoop::new()?;
    let mut served = None;
    if let Some(address) = address {
        let server = event_loop.run_until_complete(async {
            create_server(|| Echo, address).reuse_port(true).await
        })??;
        served = server.sockets()[0].sockname().as_inet();
    }
    // Whoever started this waits for it.
    let _ = ready.send((event_loop.handle().remote(), served));
    event_loop.run_forever()?;
    // Closes the server, and the connections that are left.
    event_loop.close()?;
    Ok(SERVED.get())
}

fn join(thread: JoinHandle<io::Result<u64>>) -> io::Result<u64> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")))
}

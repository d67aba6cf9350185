//! Many datagrams to one peer: `datagrams receive --port P` and `datagrams send --to ADDRESS --megabytes N`.
//!
//! The receiver acknowledges every [`PER_ACKNOWLEDGEMENT`] datagrams that were delivered, and the sender keeps at most
//! [`WINDOW`] of them on the way, so that hardly any is lost. Each side prints a line of JSON with what it did and the
//! processor time it took, user and system, from the first datagram on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rustix::time::{ClockId, clock_gettime};
use tidegate_protocols::{Address, DatagramProtocol, DatagramTransport};
use tidegate_reactor::LoopHandle;
use tidegate_transports::create_datagram_endpoint;

/// How long each datagram is.
const LENGTH: usize = 1200;
/// After how many of them the receiver says how many there were.
const PER_ACKNOWLEDGEMENT: u64 = 54;
/// How many of them may be on the way.
const WINDOW: u64 = 108;
/// After this much silence those on the way are taken for lost.
const PATIENCE: Duration = Duration::from_millis(50);
/// How often the end is said, since that may be lost too.
const FAREWELLS: u32 = 5;

/// Sends or receives datagrams of 1,200 bytes, and says what that cost.
#[derive(Parser)]
#[command(name = "datagrams")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Receives on 127.0.0.1; prints READY and the address once it does.
    Receive {
        /// Where; port 0 is any free one.
        #[arg(long, default_value = "0")]
        port: u16,
    },
    /// Sends.
    Send {
        /// Where to.
        #[arg(long)]
        to: SocketAddr,
        /// How many megabytes.
        #[arg(long, default_value = "2000")]
        megabytes: u64,
    },
}

fn main() -> io::Result<()> {
    match Arguments::parse().role {
        Role::Receive { port } => tidegate_reactor::run(async move {
            let receiver = create_datagram_endpoint(Receiver::default);
            let transport = receiver.local_addr(("127.0.0.1", port)).await?;
            println!("READY");
            println!("listening on {}", transport.sockname().expect("it is bound"));
            transport.closed().await.map_or(Ok(()), |cause| Err(cause.into()))
        }),
        Role::Send { to, megabytes } => tidegate_reactor::run(async move {
            let total = megabytes * 1_000_000 / LENGTH as u64;
            let sender = create_datagram_endpoint(move || Sender::new(total));
            let transport = sender.remote_addr(to).await?;
            transport.closed().await.map_or(Ok(()), |cause| Err(cause.into()))
        }),
    }
}

/// The processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Counts what comes, and says so now and then.
#[derive(Default)]
struct Receiver {
    delivered: u64,
    started: f64,
}

impl DatagramProtocol for Receiver {
    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        if data.len() != LENGTH {
            if !transport.is_closing() {
                let (delivered, spent) = (self.delivered, processor_time() - self.started);
                println!("{{\"delivered\": {delivered}, \"cpu_s\": {spent:.4}}}");
                transport.close();
            }
            return Ok(());
        }
        if self.delivered == 0 {
            self.started = processor_time();
        }
        self.delivered += 1;
        if self.delivered.is_multiple_of(PER_ACKNOWLEDGEMENT) {
            transport.sendto(&self.delivered.to_ne_bytes(), from)?;
        }
        Ok(())
    }
}

/// Keeps a window of datagrams on the way.
struct Sender {
    total: u64,
    sent: u64,
    /// How many of those sent are delivered or lost.
    settled: u64,
    lost: u64,
    /// As it was when somebody last looked for silence.
    seen: u64,
    datagram: [u8; LENGTH],
    started: f64,
}

impl Sender {
    fn new(total: u64) -> Sender {
        let started = processor_time();
        Sender { total, sent: 0, settled: 0, lost: 0, seen: 0, datagram: [0; LENGTH], started }
    }

    fn pour(&mut self, transport: &DatagramTransport) -> io::Result<()> {
        while self.sent < self.total && self.sent - self.settled < WINDOW {
            self.datagram[..8].copy_from_slice(&self.sent.to_ne_bytes());
            transport.sendto(&self.datagram, None)?;
            self.sent += 1;
        }
        if self.sent == self.total && !transport.is_closing() {
            let (sent, spent) = (self.sent, processor_time() - self.started);
            println!("{{\"sent\": {sent}, \"cpu_s\": {spent:.4}}}");
            say_farewell(transport.clone(), FAREWELLS)?;
        }
        Ok(())
    }

    /// Takes what is on the way for lost, if nothing was heard for a while.
    fn look_for_silence(&mut self, transport: &DatagramTransport) -> io::Result<()> {
        if self.settled == self.seen && self.sent > self.settled {
            self.lost += self.sent - self.settled;
            self.settled = self.sent;
        }
        self.seen = self.settled;
        if self.sent == self.total {
            return Ok(());
        }
        self.pour(transport)?;
        watch(transport)
    }
}

impl DatagramProtocol for Sender {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        if let Err(error) = self.pour(transport).and_then(|()| watch(transport)) {
            transport.fail(error.into());
        }
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        _from: &Address,
    ) -> io::Result<()> {
        let delivered = data.try_into().map(u64::from_ne_bytes).map_err(io::Error::other)?;
        self.settled = self.settled.max(delivered + self.lost).min(self.sent);
        if self.sent < self.total { self.pour(transport) } else { Ok(()) }
    }
}

fn watch(transport: &DatagramTransport) -> io::Result<()> {
    let transport = transport.clone();
    LoopHandle::current()?.call_later(PATIENCE, move || {
        let looked =
            transport.with_protocol(|sender: &mut Sender| sender.look_for_silence(&transport));
        if let Ok(Err(error)) = looked {
            transport.fail(error.into());
        }
    })?;
    Ok(())
}

/// Says the end, after what is on the way had time to arrive.
fn say_farewell(transport: DatagramTransport, times: u32) -> io::Result<()> {
    LoopHandle::current()?.call_later(PATIENCE, move || {
        let _gone = transport.sendto(b".", None);
        match times {
            0 | 1 => transport.close(),
            _ => drop(say_farewell(transport.clone(), times - 1)),
        }
    })?;
    Ok(())
}

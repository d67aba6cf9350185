//! The program `datagrams` on tokio's `UdpSocket`: `datagrams-tokio receive`, `datagrams-tokio send ADDRESS MEGABYTES`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

const LENGTH: usize = 1200;
const PER_ACKNOWLEDGEMENT: u64 = 54;
const WINDOW: u64 = 108;
const PATIENCE: Duration = Duration::from_millis(50);
const FAREWELLS: u32 = 5;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["receive"] => runtime.block_on(receive()),
        ["send", to, megabytes] => {
            let to = to.parse().map_err(io::Error::other)?;
            let megabytes: u64 = megabytes.parse().map_err(io::Error::other)?;
            runtime.block_on(send(to, megabytes * 1_000_000 / LENGTH as u64))
        }
        _ => Err(io::Error::other("receive, or send ADDRESS MEGABYTES")),
    }
}

/// The processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn receive() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("READY");
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = vec![0; 65_536];
    let (mut delivered, mut started) = (0_u64, 0.0);
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        if length != LENGTH {
            let spent = processor_time() - started;
            println!("{{\"delivered\": {delivered}, \"cpu_s\": {spent:.4}}}");
            return Ok(());
        }
        if delivered == 0 {
            started = processor_time();
        }
        delivered += 1;
        if delivered.is_multiple_of(PER_ACKNOWLEDGEMENT) {
            socket.send_to(&delivered.to_ne_bytes(), from).await?;
        }
    }
}

async fn send(to: SocketAddr, total: u64) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(to).await?;
    let started = processor_time();
    let mut datagram = [0; LENGTH];
    let (mut sent, mut settled, mut lost) = (0_u64, 0_u64, 0_u64);
    while sent < total {
        while sent < total && sent - settled < WINDOW {
            datagram[..8].copy_from_slice(&sent.to_ne_bytes());
            socket.send(&datagram).await?;
            sent += 1;
        }
        let mut acknowledged = [0; 8];
        match timeout(PATIENCE, socket.recv(&mut acknowledged)).await {
            Ok(received) => {
                received?;
                settled = settled.max(u64::from_ne_bytes(acknowledged) + lost).min(sent);
            }
            Err(_) => {
                lost += sent - settled;
                settled = sent;
            }
        }
    }
    println!("{{\"sent\": {sent}, \"cpu_s\": {:.4}}}", processor_time() - started);
    for _ in 0..FAREWELLS {
        sleep(PATIENCE).await;
        let _gone = socket.send(b".").await;
    }
    Ok(())
}

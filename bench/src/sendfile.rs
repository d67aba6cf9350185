//! How much processor time a server spends on a file that it sends, beside a loop in C:
//! `sendfile [--rounds N] [--bytes N] [--pin]`.
//!
//! It builds `bench/c/sendfile.c` with `cc`, starts a fresh server of each kind in turn, reads everything it sends, and
//! prints the seconds a GiB of each round, then the median of the ratios. Linux only: it reads `/proc`.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::Parser;

/// Compares the processor time of two servers that send a file.
#[derive(Parser)]
struct Arguments {
    /// How often both take their turn.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// How long the file is.
    #[arg(long, default_value_t = 1 << 30)]
    bytes: u64,
    /// Keeps the servers on processor 0 (`taskset`); run this program on another.
    #[arg(long)]
    pin: bool,
}

fn main() -> io::Result<()> {
    let Arguments { rounds, bytes, pin } = Arguments::parse();
    let peer = std::env::current_exe()?.with_file_name("peer");
    let in_c = build_c()?;
    let length = bytes.to_string();
    let ours = ["--port", "0", "--api", "streams", "--mode", "stream", "--sendfile", &length];
    let mut ratios = Vec::new();
    for round in 0..rounds {
        // The first of each round has the caches of the last: so they take turns in that, too.
        let ours = || measure(&peer, &ours, bytes, pin);
        let theirs = || measure(&in_c, &["0", &length], bytes, pin);
        let (ours, theirs) = if round % 2 == 0 {
            let ours = ours()?;
            (ours, theirs()?)
        } else {
            let theirs = theirs()?;
            (ours()?, theirs)
        };
        println!("round {round}: tidegate {ours:.4} s/GiB, C {theirs:.4} s/GiB");
        ratios.push(ours / theirs);
    }
    ratios.sort_by(f64::total_cmp);
    let quartile = |part: usize| ratios.get(ratios.len() * part / 4).copied().unwrap_or(f64::NAN);
    println!("tidegate / C: {:.3} ({:.3} to {:.3})", quartile(2), quartile(1), quartile(3));
    Ok(())
}

/// The program in C, built beside this one.
fn build_c() -> io::Result<PathBuf> {
    let built = std::env::current_exe()?.with_file_name("sendfile-in-c");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/sendfile.c");
    let status = Command::new("cc").arg("-O2").arg("-o").args([&built, &source]).status()?;
    if !status.success() {
        return Err(io::Error::other("cc has failed"));
    }
    Ok(built)
}

/// Seconds of processor time for each GiB that a fresh server sends.
fn measure(program: &Path, arguments: &[&str], bytes: u64, pin: bool) -> io::Result<f64> {
    let mut line: Vec<OsString> = Vec::new();
    if pin {
        line.extend(["taskset", "-c", "0"].map(OsString::from));
    }
    line.push(program.into());
    line.extend(arguments.iter().map(OsString::from));
    let process = Command::new(&line[0]).args(&line[1..]).stdout(Stdio::piped()).spawn()?;
    let mut server = Server(process);
    let output = server.0.stdout.take().expect("it is piped");
    let address = BufReader::new(output)
        .lines()
        .find_map(|line| Some(line.ok()?.strip_prefix("listening on ")?.to_owned()))
        .ok_or_else(|| io::Error::other("the server does not say where it listens"))?;

    // A first one that does not count.
    drain(&address, bytes)?;
    let before = server.processor_time()?;
    drain(&address, bytes)?;
    let spent = server.processor_time()? - before;
    Ok(spent as f64 / 1e9 * (1_u64 << 30) as f64 / bytes as f64)
}

/// Reads everything that the server sends, which must be so much.
fn drain(address: &str, bytes: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let (mut read, mut memory) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut memory)? {
            0 if read == bytes => return Ok(()),
            0 => return Err(io::Error::other(format!("{read} bytes instead of {bytes}"))),
            length => read += length as u64,
        }
    }
}

/// A server that is ended when it is dropped.
struct Server(Child);

impl Server {
    /// In nanoseconds, of all its threads.
    fn processor_time(&self) -> io::Result<u64> {
        let mut sum = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split(' ').next().and_then(|first| first.parse::<u64>().ok());
            sum += first.ok_or_else(|| io::Error::other("/proc/PID/schedstat has no number"))?;
        }
        Ok(sum)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It serves until it is killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

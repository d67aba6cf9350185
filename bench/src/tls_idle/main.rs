//! What an idle TLS connection costs a server in memory, beside tokio-rustls: `tls_idle [--connections N]`.
//!
//! Each server is a process of its own (`tls_idle serve`, `tls-idle-tokio` of the folder `peers`) and answers each line
//! on its standard input with what it has allocated; the clients are here.

mod allocated;
mod served;
mod server;

use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidegate::prelude::*;
use tidegate_tls::{Client, ClientTls};

/// These are there before the measured ones, so that what is allocated once does not count.
const FIRST: usize = 500;

/// How long nothing is sent before memory is looked at.
const SILENCE: Duration = Duration::from_secs(1);

/// The descriptors that are needed for other things.
const OTHER_DESCRIPTORS: u64 = 100;

/// Measures the memory of idle TLS connections, on the server's side, and prints a table.
#[derive(Parser)]
#[command(name = "tls_idle", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How many connections are opened, besides 500 first ones.
    #[arg(long, default_value_t = 4000)]
    connections: usize,
    /// The cryptography of all servers.
    #[arg(long, default_value = "aws-lc-rs")]
    tls: Cryptography,
    /// Each connection is sent 64 bytes, and sends them back, before it is idle.
    #[arg(long)]
    echo: bool,
    /// The server on tokio-rustls.
    #[arg(long, value_name = "PATH", default_value = "bench/peers/target/release/tls-idle-tokio")]
    beside: PathBuf,
}

#[derive(Subcommand)]
enum Part {
    /// One of the servers.
    Serve {
        /// The cryptography.
        #[arg(long)]
        tls: Cryptography,
        /// By which of the library's interfaces.
        #[arg(long)]
        api: Api,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Cryptography {
    /// rustls on `ring`.
    Ring,
    /// rustls on `aws-lc-rs`.
    AwsLcRs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Api {
    /// Callbacks.
    Protocol,
    /// Readers and writers.
    Streams,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Serve { tls, api }) = arguments.part {
        return server::serve(tls, api);
    }
    allow_descriptors(arguments.connections)?;
    let this = std::env::current_exe()?;
    let cryptography = name_of(arguments.tls);
    let rows: [(&str, &Path, &[&str]); 4] = [
        ("tidegate", &this, &["serve", "--tls", cryptography, "--api", "protocol"]),
        ("tidegate-streams", &this, &["serve", "--tls", cryptography, "--api", "streams"]),
        ("tokio-rustls, one buffer for all", &arguments.beside, &[cryptography, "0"]),
        ("tokio-rustls, 4 KiB for each", &arguments.beside, &[cryptography, "4096"]),
    ];
    let mut reference = None;
    println!("| server | allocated bytes/connection | RSS bytes/connection | tidegate's part |");
    println!("|---|---:|---:|---:|");
    for (name, program, words) in rows {
        if !program.exists() {
            println!("| {name} | {} is not there | | |", program.display());
            continue;
        }
        let Growth { allocated, resident } = measure(program, words, &arguments)
            .map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
        let own = *reference.get_or_insert(allocated);
        let ratio = own / allocated;
        println!("| {name} | {allocated:.0} | {resident:.0} | {ratio:.2} |");
    }
    Ok(())
}

fn name_of(cryptography: Cryptography) -> &'static str {
    match cryptography {
        Cryptography::Ring => "ring",
        Cryptography::AwsLcRs => "aws-lc-rs",
    }
}

/// Each connection is a descriptor here and another one in the server, which inherits the limit.
fn allow_descriptors(connections: usize) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let needed = (FIRST + connections) as u64 + OTHER_DESCRIPTORS;
    match limit.maximum {
        Some(most) if most < needed => Err(io::Error::other(format!(
            "{needed} descriptors are needed, and {most} are allowed (ulimit -n)"
        ))),
        _ => Ok(()),
    }
}

/// By how much a server grows for each connection, in bytes.
struct Growth {
    /// What it has of `malloc`.
    allocated: f64,
    /// What the system has given it.
    resident: f64,
}

fn measure(program: &Path, words: &[&str], arguments: &Arguments) -> io::Result<Growth> {
    let mut server = Served::start(program, words)?;
    tidegate::run(async {
        let client = Client::builder().danger_accept_any_certificate().build()?;
        let mut open = Vec::new();
        let mut looks = Vec::new();
        for count in [FIRST, arguments.connections] {
            for _ in 0..count {
                open.push(connect(server.address, &client, arguments.echo).await?);
            }
            // The handshake ends later on the server's side than on ours.
            while server.look()?.connections < open.len() {
                sleep(Duration::from_millis(10)).await?;
            }
            sleep(SILENCE).await?;
            looks.push(server.look()?);
        }
        let count = arguments.connections as f64;
        Ok(Growth {
            allocated: (looks[1].allocated - looks[0].allocated) as f64 / count,
            resident: (looks[1].resident - looks[0].resident) as f64 / count,
        })
    })
}

async fn connect(
    address: SocketAddr,
    client: &Client,
    echo: bool,
) -> io::Result<(StreamReader, StreamWriter)> {
    let opened = open_connection(address).tls(client.clone(), "localhost").await?;
    let (mut reader, writer) = opened;
    if echo {
        writer.write(&[b'.'; 64]);
        reader.readexactly(64).await?;
    }
    Ok((reader, writer))
}

/// A server in a process of its own; it ends with its standard input.
struct Served {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// What a server says of itself.
struct Look {
    connections: usize,
    allocated: i64,
    resident: i64,
}

impl Served {
    fn start(program: &Path, words: &[&str]) -> io::Result<Served> {
        let mut process = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = process.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").and_then(|text| text.parse().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("no server: {line:?}")))?;
        Ok(Served { process, questions, answers, address })
    }

    fn look(&mut self) -> io::Result<Look> {
        self.questions.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let numbers: Vec<i64> = line.split_whitespace().flat_map(str::parse).collect();
        match numbers[..] {
            [connections, allocated, resident] => {
                Ok(Look { connections: connections as usize, allocated, resident })
            }
            _ => Err(io::Error::other(format!("not three numbers: {line:?}"))),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.process.kill();
        let _code = self.process.wait();
    }
}

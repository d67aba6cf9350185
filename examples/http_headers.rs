//! The status line and the headers that a web server answers a HEAD request with, read line by line:
//! `cargo run --example http_headers -- URL`.
//!
//! Try it with `cargo run --example hyper_server`, then `cargo run --example http_headers -- http://127.0.0.1:8888/`.
//! It is asyncio's "Get HTTP headers".
//!
//! With https:// the server has to prove who it is (`--root-certificates FILE` says to whom), and to end its answer
//! properly: an end without close_notify is an error, since somebody may have cut the answer short, unless
//! `--accept-truncation` is given.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use tidegate::prelude::*;
use tidegate_examples::{host_and_port, told};
use tidegate_tls as tls;
use tls::{ClientTls, TlsError};

/// Prints the status line and the headers that a web server answers with.
#[derive(Parser)]
#[command(name = "http_headers")]
struct Arguments {
    /// What to ask for: http://HOST[:PORT][/PATH][?QUERY], or the same with https.
    url: Url,
    /// The certificates of those who are believed, as a PEM file, instead of the system's.
    #[arg(long, value_name = "FILE")]
    root_certificates: Option<PathBuf>,
    /// Takes an end without close_notify for the end of the answer.
    #[arg(long)]
    accept_truncation: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let secured = arguments.root_certificates.is_some() || arguments.accept_truncation;
    if secured && !arguments.url.is_secure {
        let complaint = "--root-certificates and --accept-truncation are for https://";
        Arguments::command().error(ErrorKind::ArgumentConflict, complaint).exit();
    }
    told(ask(arguments).map_err(with_advice))
}

fn ask(Arguments { url, root_certificates, accept_truncation }: Arguments) -> io::Result<()> {
    let client = match url.is_secure {
        true => Some(client(root_certificates, accept_truncation)?),
        false => None,
    };
    tidegate::run(async {
        let connection = open_connection((url.host, url.port));
        let (mut reader, writer) = match client {
            // An empty name is the host's.
            Some(client) => connection.tls(client, "").await?,
            None => connection.await?,
        };
        // In HTTP 1.0 the server closes the connection when it has answered.
        let request =
            format!("HEAD {} HTTP/1.0\r\nHost: {}\r\n\r\n", url.path_and_query, url.authority);
        writer.write(request.as_bytes());

        let status = reader.readline().await?;
        if !status.starts_with(b"HTTP/") {
            let advice = match url.is_secure {
                true => "",
                false => "\n(https:// is for servers that speak TLS)",
            };
            let answer = status.escape_ascii();
            let text = format!("the server does not speak HTTP: \"{answer}\"{advice}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut line = status;
        // An empty line ends the headers, and so does the end of the stream.
        while !line.trim_ascii_end().is_empty() {
            println!("{}", printable(line.trim_ascii_end()));
            line = reader.readline().await?;
        }

        // Whatever follows is of no interest; in TLS it has an end that can be told from a cut.
        if url.is_secure {
            reader.read_to_end().await?;
        }
        writer.close().await
    })
}

/// What stands in a line; what is not text, or would move the cursor of a terminal, is escaped.
fn printable(line: &[u8]) -> String {
    let mut printable = String::new();
    for chunk in line.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character.is_control() {
                true => printable.extend(character.escape_default()),
                false => printable.push(character),
            }
        }
        printable.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    printable
}

fn client(roots: Option<PathBuf>, accept_truncation: bool) -> io::Result<tls::Client> {
    let mut builder = tls::Client::builder();
    if let Some(file) = roots {
        builder = builder.root_certificates(file);
    }
    if accept_truncation {
        builder = builder.accept_truncation();
    }
    Ok(builder.build()?)
}

/// Says what can be done about an error.
fn with_advice(error: io::Error) -> io::Error {
    let advice = match TlsError::of(&error) {
        Some(TlsError::Certificate(..)) => "--root-certificates FILE says whom to believe",
        Some(TlsError::Truncated) => "--accept-truncation takes it for an end",
        Some(TlsError::NotTls) => "http:// is for servers that do not speak TLS",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}\n({advice})"))
}

/// The parts of a URL that are needed to ask for it.
#[derive(Clone)]
struct Url {
    is_secure: bool,
    host: String,
    port: u16,
    /// Host and port as they stand in the URL.
    authority: String,
    path_and_query: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err("a URL has no blanks in it".to_owned());
        }
        let (scheme, rest) = text.split_once("://").ok_or("http://HOST is expected")?;
        let (is_secure, usual_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return Err(format!("{scheme}:// is not http:// nor https://")),
        };

        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        if authority.contains('@') {
            return Err("names and passwords are not supported".to_owned());
        }
        let has_port = authority.rfind(':') > authority.rfind(']');
        let (host, port) = if has_port {
            host_and_port(authority)?
        } else {
            host_and_port(&format!("{authority}:{usual_port}"))?
        };
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }

        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        let path_and_query = format!("{slash}{path_and_query}");
        Ok(Url { is_secure, host, port, authority: authority.to_owned(), path_and_query })
    }
}

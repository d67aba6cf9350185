//! The status line and the headers that a web server answers a HEAD request with, read line by line:
//! `cargo run --example http_headers -- URL`.
//!
//! Try it with `cargo run --example hyper_server`, then `cargo run --example http_headers -- http://127.0.0.1:8888/`.
//! It is asyncio's "Get HTTP headers".

use std::io;
use std::str::FromStr;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::host_and_port;

/// Prints the status line and the headers that a web server answers with.
#[derive(Parser)]
struct Arguments {
    /// What to ask for: http://HOST[:PORT][/PATH][?QUERY].
    url: Url,
}

fn main() -> io::Result<()> {
    let Arguments { url } = Arguments::parse();
    tidegate::run(async {
        let (mut reader, writer) = open_connection((url.host, url.port)).await?;
        // In HTTP 1.0 the server closes the connection when it has answered.
        let request =
            format!("HEAD {} HTTP/1.0\r\nHost: {}\r\n\r\n", url.path_and_query, url.authority);
        writer.write(request.as_bytes());

        loop {
            let line = reader.readline().await?;
            let line = String::from_utf8_lossy(&line);
            let header = line.trim_end();
            // An empty line ends the headers, and so does the end of the stream.
            if header.is_empty() {
                break;
            }
            println!("{}", header.escape_debug());
        }

        // Whatever follows is of no interest.
        writer.close().await
    })
}

/// The parts of a URL that are needed to ask for it.
#[derive(Clone)]
struct Url {
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
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => return Err("https:// comes with TLS, which is not there yet".to_owned()),
            _ => return Err(format!("{scheme}:// is not http://")),
        }

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
            host_and_port(&format!("{authority}:80"))?
        };
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }

        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        let path_and_query = format!("{slash}{path_and_query}");
        Ok(Url { host, port, authority: authority.to_owned(), path_and_query })
    }
}

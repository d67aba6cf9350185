//! STARTTLS: a mail is handed over in a connection that begins in clear and goes on in TLS; both sides are here:
//! `cargo run --example starttls_smtp`.
//!
//! The server is a protocol and goes on in TLS inside of a callback; the client is a task over streams. With an address
//! the server is there alone, for other clients: `cargo run --example starttls_smtp -- 127.0.0.1:2525`, and then
//! `openssl s_client -starttls smtp -connect 127.0.0.1:2525 -CAfile FILE`, with the file that it names.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use tidegate::prelude::*;
use tidegate_examples::{OwnCertificate, host_and_port, told};
use tidegate_tls as tls;
use tls::{Upgrade, start_tls};

/// Hands a mail over, in a connection that goes on in TLS.
#[derive(Parser)]
struct Arguments {
    /// Serves there and sends nothing; port 0 is any free one.
    #[arg(value_name = "HOST:PORT", value_parser = host_and_port)]
    address: Option<(String, u16)>,
}

fn main() -> ExitCode {
    told(play(Arguments::parse()))
}

fn play(arguments: Arguments) -> io::Result<()> {
    let own = OwnCertificate::make()?;
    let secured = tls::Server::from_pem_files(own.chain(), own.key())?;
    let client = tls::Client::builder().root_certificates(own.chain()).build()?;
    tidegate::run(async {
        let alone = arguments.address.is_some();
        let address = arguments.address.unwrap_or(("127.0.0.1".to_owned(), 0));
        let server = create_server(move || Mail::new(secured.clone()), address).await?;
        if alone {
            for socket in server.sockets() {
                println!("serving on {}", socket.sockname());
            }
            println!("its certificate is in {}", own.chain().display());
            return server.serve_forever().await;
        }
        let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");
        send(address, client).await?;
        server.close();
        server.wait_closed().await;
        Ok(())
    })
}

/// The server's side of a connection.
struct Mail {
    tls: tls::Server,
    /// What has come of a line.
    begun: Vec<u8>,
    is_secure: bool,
    /// The lines of a mail are coming.
    is_mail: bool,
}

impl Mail {
    fn new(tls: tls::Server) -> Mail {
        Mail { tls, begun: Vec::new(), is_secure: false, is_mail: false }
    }

    fn line(&mut self, transport: &Transport, line: &str) -> io::Result<()> {
        let answer = match line.split_whitespace().next().map(str::to_ascii_uppercase).as_deref() {
            _ if self.is_mail && line == "." => {
                self.is_mail = false;
                "250 accepted"
            }
            _ if self.is_mail => return Ok(()),
            Some("EHLO") if self.is_secure => "250 hello",
            Some("EHLO") => "250-hello\r\n250 STARTTLS",
            Some("QUIT") => {
                transport.write(b"221 bye\r\n");
                transport.close();
                return Ok(());
            }
            Some("STARTTLS") if !self.is_secure => {
                transport.write(b"220 go ahead\r\n");
                // Nothing that is written from here on leaves in clear. What somebody has put behind the client's last
                // word in clear is an error, which ends this connection.
                let unread = mem::take(&mut self.begun);
                start_tls(transport, Upgrade::from(&self.tls).unread(&unread))?;
                self.is_secure = true;
                return Ok(());
            }
            _ if !self.is_secure => "530 STARTTLS first",
            Some("MAIL" | "RCPT") => "250 fine",
            Some("DATA") => {
                self.is_mail = true;
                "354 go on, and end with a dot"
            }
            _ => "500 what?",
        };
        transport.write(format!("{answer}\r\n").as_bytes());
        Ok(())
    }
}

impl Protocol for Mail {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(b"220 mail.example\r\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.begun.extend_from_slice(data);
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.line(transport, String::from_utf8_lossy(&line).trim_end())?;
        }
        Ok(())
    }

    fn connection_lost(&mut self, _transport: &Transport, cause: Option<Cause>) {
        match cause {
            None => println!("server: the connection is closed"),
            Some(cause) => println!("server: the connection is lost: {cause}"),
        }
    }
}

/// The client's side.
async fn send(address: SocketAddr, client: tls::Client) -> io::Result<()> {
    let (reader, writer) = open_connection(address).await?;
    let mut talk = Talk { reader, writer };
    talk.hears("220").await?;
    let features = talk.asks("EHLO client.example", "250").await?;
    if !features.iter().any(|line| line.ends_with("STARTTLS")) {
        return Err(io::Error::other("the server cannot go on in TLS"));
    }
    talk.asks("STARTTLS", "220").await?;

    // The same reader and writer go on, in TLS.
    talk.writer.start_tls(&mut talk.reader, (&client, "localhost")).await?;
    if let Some(cipher) = talk.writer.get_extra_info::<tls::Cipher>() {
        println!("--- {}, {} ---", cipher.version, cipher.name);
    }

    // What was said in clear may have been anybody's, and does not count.
    talk.asks("EHLO client.example", "250").await?;
    talk.asks("MAIL FROM:<moon@sky.example>", "250").await?;
    talk.asks("RCPT TO:<tide@sea.example>", "250").await?;
    talk.asks("DATA", "354").await?;
    talk.asks("Subject: rise\r\n\r\nIt is time.\r\n.", "250").await?;
    talk.asks("QUIT", "221").await?;
    talk.writer.close().await
}

/// A conversation, which is printed as it goes.
struct Talk {
    reader: StreamReader,
    writer: StreamWriter,
}

impl Talk {
    /// Says something, and hears the answer.
    async fn asks(&mut self, text: &str, expected: &str) -> io::Result<Vec<String>> {
        for line in text.lines() {
            println!("client: {line}");
        }
        self.writer.write(format!("{text}\r\n").as_bytes());
        self.hears(expected).await
    }

    /// Hears an answer with this number: all lines but the last have a hyphen behind it.
    async fn hears(&mut self, expected: &str) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.reader.readline().await?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            println!("server: {}", line.escape_debug());
            if !line.starts_with(expected) {
                return Err(io::Error::other(format!("{expected} was expected, not {line:?}")));
            }
            let is_last = !line[expected.len()..].starts_with('-');
            lines.push(line);
            if is_last {
                return Ok(lines);
            }
        }
    }
}

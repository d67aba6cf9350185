//! TLS: an echo, a conversation that begins in clear, a stream that was cut short, and a server that nobody vouches for.

use std::io;
use std::net::SocketAddr;

use tidegate::prelude::*;
use tidegate_examples::OwnCertificate;
use tidegate_tls as tls;
use tls::{ClientTls, ServerTls, TlsError, Upgrade, start_tls};

use super::transcript::Transcript;

const MESSAGE: &[u8] = b"A still tongue.";

/// The name that all certificates here are for.
const NAME: &str = "localhost";

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    let own = OwnCertificate::make()?;
    let server = tls::Server::from_pem_files(own.chain(), own.key())?;
    let client = tls::Client::builder().root_certificates(own.chain()).build()?;
    echo(transcript, &server, &client).await?;
    upgrade(transcript, &server, &client).await?;
    truncation(transcript, &server, &client).await?;
    refusal(transcript, &server).await
}

async fn echo(transcript: &Transcript, tls: &tls::Server, client: &tls::Client) -> io::Result<()> {
    transcript.scene(
        "An echo over TLS",
        "As the first scene, and nobody on the way can read it. connection_made comes after the handshake.",
    );

    let (server, address) = serve(transcript, tls).await?;
    let protocol = transcript.narrated("client", Client::default());
    let transport = create_connection(|| protocol, address).tls(client.clone(), NAME).await?;
    let cipher = transport.get_extra_info::<tls::Cipher>();
    if let Some(cipher) = &cipher {
        transcript.note("client", format!("it is {}, {}", cipher.version, cipher.name));
    }
    let cause = transport.closed().await;
    server.close();
    server.wait_closed().await;

    transcript.check("the newest version was agreed on", {
        cipher.is_some_and(|cipher| cipher.version == tls::Version::Tls13)
    });
    transcript.check("the connection ended without an error", cause.is_none());
    transcript.check_callbacks("client", &["connection_made", "data_received", "connection_lost"]);
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    Ok(())
}

/// A server whose protocol sends back what comes.
async fn serve(transcript: &Transcript, tls: &tls::Server) -> io::Result<(Server, SocketAddr)> {
    let stage = transcript.clone();
    let factory = move || stage.narrated("server", Echo);
    let server = create_server(factory, ("127.0.0.1", 0)).tls(tls.clone()).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");
    Ok((server, address))
}

async fn upgrade(
    transcript: &Transcript,
    tls: &tls::Server,
    client: &tls::Client,
) -> io::Result<()> {
    transcript.scene(
        "STARTTLS",
        "It begins in clear. The server goes on in TLS inside of a callback, the client from a task.",
    );

    let (stage, secured) = (transcript.clone(), tls.clone());
    let factory = move || stage.narrated("server", Upgrading { tls: secured.clone() });
    let server = create_server(factory, ("127.0.0.1", 0)).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");

    let (mut reader, writer) = open_connection(address).await?;
    writer.write(b"STARTTLS\n");
    let answer = reader.readline().await?;
    transcript.note("client", format!("in clear: {:?}", String::from_utf8_lossy(&answer)));
    writer.start_tls(&mut reader, (client, NAME)).await?;
    writer.write(b"password\n");
    let secret = reader.readline().await?;
    transcript.note("client", format!("in TLS: {:?}", String::from_utf8_lossy(&secret)));
    writer.close().await?;
    server.close();
    server.wait_closed().await;

    transcript.check("the password came back", secret == "password\n");
    // There is one connection, whatever it goes on in.
    let server_heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("server", &server_heard);
    Ok(())
}

async fn truncation(
    transcript: &Transcript,
    tls: &tls::Server,
    client: &tls::Client,
) -> io::Result<()> {
    transcript.scene(
        "A stream that is cut short",
        "The server goes away without the last word of TLS, as if somebody had cut the line. The lenient client does\n   \
         not mind.",
    );

    let stage = transcript.clone();
    let factory = move || stage.narrated("server", CutsShort);
    let server = create_server(factory, ("127.0.0.1", 0)).tls(tls.clone()).await?;
    let address = server.sockets()[0].sockname().as_inet().expect("an address of TCP");

    let strict = transcript.narrated("strict", Listener);
    let strict = create_connection(|| strict, address).tls(client.clone(), NAME).await?;
    let cut = strict.closed().await.map(io::Error::from);
    let lenient = transcript.narrated("lenient", Listener);
    let tolerant = client.clone().with_truncation_accepted();
    let lenient = create_connection(|| lenient, address).tls(tolerant, NAME).await?;
    let minded = lenient.closed().await;
    server.close();
    server.wait_closed().await;

    let told = cut.is_some_and(|error| TlsError::of(&error) == Some(&TlsError::Truncated));
    transcript.check("the strict client was told of it, behind what had come", told);
    transcript.check("the lenient one took it for the end", minded.is_none());
    transcript.check_callbacks("strict", &["connection_made", "data_received", "connection_lost"]);
    let heard = ["connection_made", "data_received", "eof_received", "connection_lost"];
    transcript.check_callbacks("lenient", &heard);
    Ok(())
}

async fn refusal(transcript: &Transcript, tls: &tls::Server) -> io::Result<()> {
    transcript.scene(
        "A refused certificate",
        "The client trusts somebody else. Neither of the protocols hears of the connection.",
    );

    let (server, address) = serve(transcript, tls).await?;
    let other = OwnCertificate::make()?;
    let client = tls::Client::builder().root_certificates(other.chain()).build()?;
    let protocol = transcript.narrated("client", Client::default());
    let answer = create_connection(|| protocol, address).tls(client, NAME).await;
    let refused = match &answer {
        Ok(_) => false,
        Err(error) => {
            transcript.note("client", format!("create_connection answers: {error}"));
            matches!(TlsError::of(error), Some(TlsError::Certificate(..)))
        }
    };
    server.close();
    server.wait_closed().await;

    transcript.check("the certificate was refused", refused);
    transcript.check_callbacks("client", &[]);
    transcript.check_callbacks("server", &[]);
    Ok(())
}

/// Sends back what comes.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }
}

/// Says something, and closes when it has heard it again.
#[derive(Default)]
struct Client {
    heard: usize,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(MESSAGE);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.heard += data.len();
        if self.heard == MESSAGE.len() {
            transport.close();
        }
        Ok(())
    }
}

/// Goes on in TLS when it is asked to, and sends back everything else.
struct Upgrading {
    tls: tls::Server,
}

impl Protocol for Upgrading {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        match data.strip_prefix(b"STARTTLS\n") {
            Some(unread) => {
                transport.write(b"go ahead\n");
                start_tls(transport, Upgrade::from(&self.tls).unread(unread))?;
            }
            None => drop(transport.write(data)),
        }
        Ok(())
    }
}

/// Says the half of something, and is gone.
struct CutsShort;

impl Protocol for CutsShort {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(&MESSAGE[..8]);
        transport.abort();
    }
}

/// Hears.
struct Listener;

impl Protocol for Listener {}

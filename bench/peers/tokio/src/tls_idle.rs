//! The server of `tls_idle` on tokio-rustls: `tls-idle-tokio aws-lc-rs|ring BUFFER`.
//!
//! BUFFER is how many bytes each connection has to read into; with 0 all of them share one, which is the least that is
//! possible on tokio.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::ready;

use rustls::ServerConfig;
use rustls::crypto::{aws_lc_rs, ring};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[path = "../../../src/tls_idle/allocated.rs"]
mod allocated;
#[path = "../../../src/tls_idle/served.rs"]
mod served;

use served::{OPEN, announce};

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [cryptography, buffer] = &words[..] else {
        return Err(io::Error::other("aws-lc-rs|ring BUFFER"));
    };
    let acceptor = TlsAcceptor::from(configured(cryptography)?);
    let buffer: usize = buffer.parse().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            match buffer {
                0 => tokio::spawn(shared(acceptor, stream)),
                _ => tokio::spawn(owning(acceptor, stream, buffer)),
            };
        }
    })
}

fn configured(cryptography: &str) -> io::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = match cryptography {
        "ring" => ring::default_provider(),
        _ => aws_lc_rs::default_provider(),
    };
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![cert.into()], key)
        });
    config.map(Arc::new).map_err(io::Error::other)
}

/// The handshake is no part of the task that waits: a task is as large as its largest state.
async fn opened(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<Box<TlsStream<TcpStream>>> {
    let stream = acceptor.accept(stream).await?;
    OPEN.fetch_add(1, Ordering::Relaxed);
    Ok(Box::new(stream))
}

async fn shared(acceptor: TlsAcceptor, stream: TcpStream) -> io::Result<()> {
    let mut stream = Box::pin(opened(acceptor, stream)).await?;
    loop {
        let read = poll_fn(|context| {
            SHARED.with_borrow_mut(|shared| {
                let mut buffer = ReadBuf::new(shared);
                ready!(Pin::new(&mut stream).poll_read(context, &mut buffer))?;
                io::Result::Ok(buffer.filled().to_vec()).into()
            })
        });
        let data = read.await?;
        if data.is_empty() {
            return Ok(());
        }
        stream.write_all(&data).await?;
        stream.flush().await?;
    }
}

async fn owning(acceptor: TlsAcceptor, stream: TcpStream, size: usize) -> io::Result<()> {
    let mut stream = Box::pin(opened(acceptor, stream)).await?;
    let mut buffer = vec![0; size];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
        stream.flush().await?;
    }
}

//! The server of ours: it sends back what comes.

use std::io;
use std::sync::atomic::Ordering;

use tidegate::prelude::*;
use tidegate_tls::rustls::pki_types::PrivateKeyDer;
use tidegate_tls::{Provider, ServerTls};

use super::served::{OPEN, announce};
use super::{Api, Cryptography};

const BACKLOG: u32 = 4096;

pub(crate) fn serve(cryptography: Cryptography, api: Api) -> io::Result<()> {
    let tls = configured(cryptography)?;
    tidegate::run(async {
        let server = match api {
            Api::Protocol => {
                create_server(|| Echo, ("127.0.0.1", 0)).backlog(BACKLOG).tls(tls).await?
            }
            Api::Streams => start_server(echo, ("127.0.0.1", 0)).backlog(BACKLOG).tls(tls).await?,
        };
        announce(server.sockets()[0].sockname().as_inet().expect("an address of TCP"));
        server.serve_forever().await
    })
}

fn configured(cryptography: Cryptography) -> io::Result<tidegate_tls::Server> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.map_err(io::Error::other)?;
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = match cryptography {
        Cryptography::Ring => Provider::ring(),
        Cryptography::AwsLcRs => Provider::aws_lc_rs(),
    };
    let server = tidegate_tls::Server::builder().certificate(vec![cert.into()], key);
    Ok(server.provider(provider).build()?)
}

struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, _transport: &Transport) {
        OPEN.fetch_add(1, Ordering::Relaxed);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        transport.write(data);
        Ok(())
    }
}

async fn echo(mut reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    OPEN.fetch_add(1, Ordering::Relaxed);
    loop {
        let data = reader.read(4096).await?;
        if data.is_empty() {
            return Ok(());
        }
        writer.write(&data);
        writer.drain().await?;
    }
}

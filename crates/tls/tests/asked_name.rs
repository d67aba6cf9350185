//! The name that a client has asked a server for, as the server's end tells it.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use tidegate_protocols::{Protocol, Transport};
use tidegate_testkit::run;
use tidegate_tls::rustls::ServerConfig;
use tidegate_tls::rustls::pki_types::pem::PemObject;
use tidegate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_tls::{
    Client, ClientTls, Provider, Server, ServerTls, SessionReused, TlsConfig, TlsName, Version,
};
use tidegate_transports::{connect_accepted_socket, create_connection};

mod authority;
use authority::Authority;

struct Idle;
impl Protocol for Idle {}

/// Both ends of a connection to `name`.
async fn connected(client: &Client, server: &Server, name: &str) -> (Transport, Transport) {
    let (left, right) = UnixStream::pair().expect("a pair of sockets");
    let accepted = connect_accepted_socket(|| Idle, right).tls(server.clone());
    let accepted = tidegate_reactor::spawn(async move { accepted.await }).expect("a loop");
    let client = create_connection(|| Idle, ()).sock(left).tls(client.clone(), name).await;
    let client = client.expect("a handshake");
    (client, accepted.await.expect("a task").expect("a handshake"))
}

/// The name that the server tells, when a client asks for `name`.
async fn asked(client: &Client, server: &Server, name: &str) -> Option<TlsName> {
    let (left, right) = connected(client, server, name).await;
    let asked = right.get_extra_info();
    assert!(matches!(right.get_extra_info(), Some(TlsConfig::Server(_))));
    assert!(matches!(left.get_extra_info(), Some(TlsConfig::Client(_))));
    left.close();
    assert!(left.closed().await.is_none());
    assert!(right.closed().await.is_none());
    // It stays.
    assert_eq!(right.get_extra_info(), asked);
    asked
}

fn name(name: &str) -> Option<TlsName> {
    Some(TlsName(name.to_owned()))
}

#[test]
fn a_server_tells_the_name_that_was_asked_for() {
    run(async {
        let authority = Authority::new();
        let one = authority.certificate(&["one.test"]);
        let two = authority.certificate(&["two.test", "127.0.0.1"]);
        let server = Server::builder()
            .certificate_files(one.chain, one.key)
            .certificate_files(two.chain, two.key)
            .build()
            .expect("a server");
        let client = authority.client();
        // TLS-05
        assert_eq!(asked(&client, &server, "one.test").await, name("one.test"));
        assert_eq!(asked(&client, &server, "two.test").await, name("two.test"));
        // Also if it goes on with an earlier session.
        let (left, right) = connected(&client, &server, "two.test").await;
        assert_eq!(left.get_extra_info(), Some(SessionReused(true)));
        assert_eq!(right.get_extra_info(), name("two.test"));
        // Addresses are not asked for.
        let by_address = authority.certificate(&["127.0.0.1"]);
        let plain = Server::from_pem_files(by_address.chain, by_address.key).expect("a server");
        assert_eq!(asked(&client, &plain, "127.0.0.1").await, None);
        let silent = authority.client_builder().enable_sni(false).build();
        let silent = silent.expect("a client");
        assert_eq!(asked(&silent, &server, "one.test").await, None);
        for version in [Version::Tls12, Version::Tls13] {
            let client = authority.client_builder().versions(version..=version).build();
            let client = client.expect("a client");
            assert_eq!(asked(&client, &server, "one.test").await, name("one.test"));
        }
        Ok::<(), io::Error>(())
    })
    .unwrap();
}

#[test]
fn a_configuration_of_rustls_tells_it_too() {
    run(async {
        let authority = Authority::new();
        let pem = authority.certificate(&["one.test"]);
        let chain = CertificateDer::pem_file_iter(&pem.chain).expect("a file");
        let chain = chain.collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_file(&pem.key).expect("a key");
        let provider = Provider::default().crypto().clone();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let config = Arc::new(config);
        let server = Server::from_config(config.clone());
        // Whether it is shared or not, it stays as it is.
        assert_eq!(Arc::strong_count(&config), 1);
        assert_eq!(asked(&authority.client(), &server, "one.test").await, name("one.test"));
        let server = Server::from_config(config);
        assert_eq!(asked(&authority.client(), &server, "one.test").await, name("one.test"));
    });
}

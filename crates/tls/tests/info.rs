//! What a connection can tell of itself, and what the two sides choose by it: names, protocols, earlier sessions.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use tidegate_protocols::{PeerName, Transport};
use tidegate_reactor::LoopHandle;
use tidegate_testkit::memory::{Line, PairOptions};
use tidegate_testkit::{Event, Log, Recorder, run, turns, until, watched};
use tidegate_tls::rustls::pki_types::CertificateDer;
use tidegate_tls::rustls::pki_types::pem::PemObject;
use tidegate_tls::{
    Alpn, Cipher, Client, ClientLayer, ClientTls, Compression, PeerCertificates, Provider, Server,
    ServerLayer, ServerTls, SessionReused, TlsError, TlsName, Version,
};
use tidegate_transports::{create_connection, create_server};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{connect, play};

/// Both ends, open.
struct Ends {
    client: Transport,
    server: Transport,
    logs: [Log; 2],
    _line: Line,
}

async fn open(client: &Client, name: &str, server: &Server) -> Ends {
    let (left, right) = (Recorder::new(), Recorder::new());
    let logs = [left.log(), right.log()];
    let (line, mut ours, mut theirs) = connect(
        PairOptions::default(),
        (ClientLayer::new(client.clone(), name), left),
        (ServerLayer::new(server.clone()), right),
    );
    let client = ours.outcome().await.expect("a handshake");
    let server = theirs.outcome().await.expect("a handshake");
    // Tickets arrive.
    turns(3).await;
    Ends { client, server, logs, _line: line }
}

impl Ends {
    async fn close(&self) {
        self.client.close();
        self.logs[0].lost().await;
        self.logs[1].lost().await;
    }
}

fn end_entity(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).expect("a certificate").to_vec()
}

#[test]
fn what_was_agreed_on_is_known_even_after_the_loss() {
    let authority = Authority::new();
    let (pem, mine) = (authority.certificate(&["localhost"]), authority.client_certificate("me"));
    let server = Server::builder()
        .certificate_files(&pem.chain, &pem.key)
        .client_certificates_required(authority.roots_pem())
        .alpn(["h2", "http/1.1"])
        .build()
        .unwrap();
    let client = authority
        .client_builder()
        .certificate_files(&mine.chain, &mine.key)
        .alpn(["http/1.1", "h2"])
        .build()
        .unwrap();
    play(async {
        let ends = open(&client, "localhost", &server).await;
        let check = || {
            for (end, shown) in [(&ends.client, &pem), (&ends.server, &mine)] {
                // TLS-05
                let cipher = end.get_extra_info::<Cipher>().expect("a cipher");
                assert!(cipher.name.starts_with("TLS_"), "{cipher:?}");
                assert_eq!(cipher.version, Version::Tls13);
                assert!([128, 256].contains(&cipher.bits));
                let shown_here = end.get_extra_info::<PeerCertificates>().expect("a certificate");
                assert_eq!(shown_here.end_entity(), end_entity(&shown.chain));
                assert_eq!(shown_here.chain().count(), 1);
                // The server's order decides.
                assert_eq!(end.get_extra_info::<Alpn>(), Some(Alpn(b"h2".to_vec())));
                assert_eq!(end.get_extra_info::<SessionReused>(), Some(SessionReused(false)));
                assert_eq!(end.get_extra_info::<Compression>(), None);
            }
            let name = ends.client.get_extra_info::<TlsName>();
            assert_eq!(name, Some(TlsName("localhost".to_owned())));
        };
        check();
        ends.close().await;
        check();
    });
}

#[test]
fn what_was_not_agreed_on_is_not_there() {
    let authority = Authority::new();
    play(async {
        let ends = open(&authority.client(), "localhost", &authority.server()).await;
        assert_eq!(ends.client.get_extra_info::<Alpn>(), None);
        assert_eq!(ends.server.get_extra_info::<Alpn>(), None);
        // TLS-05: a client that shows nothing.
        assert_eq!(ends.server.get_extra_info::<PeerCertificates>(), None);
        assert!(ends.client.get_extra_info::<PeerCertificates>().is_some());
    });
}

#[test]
fn a_protocol_of_one_side_only_is_none_at_all() {
    let authority = Authority::new();
    let asking = authority.client_builder().alpn(["h2"]).build().unwrap();
    let offering = authority.server_builder().alpn(["h2"]).build().unwrap();
    play(async {
        for (client, server) in [(&asking, &authority.server()), (&authority.client(), &offering)] {
            let ends = open(client, "localhost", server).await;
            assert_eq!(ends.client.get_extra_info::<Alpn>(), None);
            assert_eq!(ends.server.get_extra_info::<Alpn>(), None);
            ends.close().await;
        }
    });
}

#[test]
fn protocols_that_do_not_meet_fail_the_handshake() {
    let authority = Authority::new();
    let client = authority.client_builder().alpn(["spdy/3"]).build().unwrap();
    let server = authority.server_builder().alpn(["h2", "http/1.1"]).build().unwrap();
    play(async {
        let (_line, mut ours, mut theirs) = connect(
            PairOptions::default(),
            (ClientLayer::new(client, "localhost"), Recorder::new()),
            (ServerLayer::new(server), Recorder::new()),
        );
        assert!(matches!(theirs.error().await, TlsError::NothingInCommon(_)));
        match ours.error().await {
            TlsError::Alert(alert) => assert_eq!(alert.name(), "no_application_protocol"),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let authority = Authority::new();
    let names = ["one.example", "two.example", "*.three.example"];
    let certificates = names.map(|name| authority.certificate(&[name]));
    let mut server = Server::builder();
    for pem in &certificates {
        server = server.certificate_files(&pem.chain, &pem.key);
    }
    let server = server.build().unwrap();
    let asked = ["one.example", "two.example", "any.three.example"];
    play(async {
        for (name, pem) in asked.into_iter().zip(&certificates) {
            let ends = open(&authority.client(), name, &server).await;
            let shown = ends.client.get_extra_info::<PeerCertificates>().expect("a certificate");
            assert_eq!(shown.end_entity(), end_entity(&pem.chain), "{name}");
            ends.close().await;
        }
        // The first one is for those who ask for nothing, or for somebody else.
        for sends_name in [false, true] {
            let client = authority.client_builder().danger_accept_any_hostname();
            let client = client.enable_sni(sends_name).build().unwrap();
            let ends = open(&client, "four.example", &server).await;
            let shown = ends.client.get_extra_info::<PeerCertificates>().expect("a certificate");
            assert_eq!(shown.end_entity(), end_entity(&certificates[0].chain));
            ends.close().await;
        }
    });
}

#[test]
fn the_second_connection_resumes_the_session_of_the_first() {
    let authority = Authority::new();
    let check = |client: &Client, server: &Server, resumed: bool, version| {
        play(async {
            for second in [false, true] {
                let ends = open(client, "localhost", server).await;
                for end in [&ends.client, &ends.server] {
                    // TLS-05
                    let reused = end.get_extra_info::<SessionReused>();
                    assert_eq!(reused, Some(SessionReused(second && resumed)), "{version}");
                    assert_eq!(end.get_extra_info::<Cipher>().expect("a cipher").version, version);
                }
                // What was shown then is known still.
                assert!(ends.client.get_extra_info::<PeerCertificates>().is_some());
                ends.close().await;
            }
        });
    };
    for version in [Version::Tls12, Version::Tls13] {
        let client = || authority.client_builder().versions(version..=version);
        let server = || authority.server_builder();
        let remembering = server().build().unwrap();
        check(&client().build().unwrap(), &remembering, true, version);
        check(&client().resumption(0).build().unwrap(), &remembering, false, version);
        let tickets = server().session_tickets().resumption(0).build().unwrap();
        check(&client().build().unwrap(), &tickets, true, version);
        let forgetful = server().resumption(0).build().unwrap();
        check(&client().build().unwrap(), &forgetful, false, version);
    }
}

#[test]
fn what_is_known_of_the_socket_comes_through() {
    watched(|| {
        let authority = Authority::new();
        run(async {
            let server =
                create_server(Recorder::new, ("127.0.0.1", 0)).tls(authority.server()).await?;
            let address = server.sockets()[0].sockname().as_inet().expect("an internet address");
            let recorder = Recorder::new();
            let log = recorder.log();
            // The host that is connected to is the name, if none is given.
            let transport = create_connection(move || recorder, ("localhost", address.port()))
                .tls(authority.client(), "")
                .await?;
            // TLS-05
            assert_eq!(transport.peername().and_then(|peer| peer.as_inet()), Some(address));
            assert!(transport.get_extra_info::<PeerName>().is_some());
            assert!(transport.sockname().is_some());
            assert!(transport.with_socket(|_| ()).is_some());
            let name = transport.get_extra_info::<TlsName>();
            assert_eq!(name, Some(TlsName("localhost".to_owned())));
            transport.close();
            log.lost().await;
            log.assert(&[Event::Made, Event::Lost(None)]);
            assert!(transport.with_socket(|_| ()).is_none());
            assert!(transport.get_extra_info::<Cipher>().is_some());
            until(|| server.statistics().open == 0).await;
            server.close();
            assert_eq!(LoopHandle::current()?.statistics().timers, 0);
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
    });
}

/// Set for the program that writes the file of keys.
const PART: &str = "TIDEGATE_TLS_KEYS";

#[test]
fn the_keys_of_both_sides_are_in_the_file() {
    let authority = Authority::new();
    if env::var_os(PART).is_some() {
        let client = authority.client_builder().key_log_file().build().unwrap();
        let server = authority.server_builder().key_log_file().build().unwrap();
        return play(async { open(&client, "localhost", &server).await.close().await });
    }
    let file = authority.folder().join("keys.log");
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "the_keys_of_both_sides_are_in_the_file", "--nocapture"])
        .env(PART, "yes")
        .env("SSLKEYLOGFILE", &file)
        .output();
    assert!(watched(|| output.expect("this program")).status.success());
    let keys = fs::read_to_string(file).expect("the file");
    for label in ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"] {
        let mut lines: Vec<_> = keys.lines().filter(|line| line.starts_with(label)).collect();
        // Both sides have the same.
        assert_eq!(lines.len(), 2, "{keys}");
        lines.dedup();
        assert_eq!(lines.len(), 1, "{keys}");
    }
}

/// Every provider that is built in.
fn providers() -> Vec<Provider> {
    let mut providers = vec![Provider::default()];
    providers.extend(other_provider());
    providers
}

#[cfg(all(feature = "ring", feature = "aws-lc-rs"))]
fn other_provider() -> Option<Provider> {
    Some(tidegate_tls::rustls::crypto::ring::default_provider().into())
}

#[cfg(not(all(feature = "ring", feature = "aws-lc-rs")))]
fn other_provider() -> Option<Provider> {
    None
}

#[test]
fn every_provider_speaks_with_every_other() {
    let authority = Authority::new();
    play(async {
        for left in providers() {
            for right in providers() {
                let client = authority.client_builder().provider(left.clone()).build().unwrap();
                let server = authority.server_builder().provider(right).build().unwrap();
                let ends = open(&client, "localhost", &server).await;
                ends.client.write(b"question");
                ends.logs[1].received_at_least(8).await;
                ends.close().await;
                ends.logs[1].assert(&[
                    Event::Made,
                    Event::data("question"),
                    Event::Eof,
                    Event::Lost(None),
                ]);
            }
        }
    });
}

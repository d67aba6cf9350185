//! Certificates that are not accepted: the caller is told which, the peer gets the alert, and nobody else hears of it.

use tidegate_testkit::memory::PairOptions;
use tidegate_testkit::{Event, Log, Recorder};
use tidegate_tls::{
    CertificateProblem, Client, ClientLayer, Server, ServerLayer, TlsError, Version,
};

mod authority;
mod meeting;

use authority::Authority;
use meeting::{connect, handle, play};

/// Has a client meet a server that it does not accept.
fn check_server(client: &Client, server: &Server, problem: CertificateProblem, alert: &str) {
    play(async {
        let (left, right) = (Recorder::new(), Recorder::new());
        let logs = [left.log(), right.log()];
        let (_line, mut ours, mut theirs) = connect(
            PairOptions::default(),
            (ClientLayer::new(client.clone(), "localhost"), left),
            (ServerLayer::new(server.clone()), right),
        );
        // TLS-14
        let error = ours.outcome().await.expect_err("a certificate that is not accepted");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        match TlsError::of(&error) {
            Some(TlsError::Certificate(found, text)) => {
                assert_eq!(*found, problem);
                assert!(error.to_string().contains(text.as_str()));
            }
            other => panic!("{other:?}"),
        }
        match theirs.error().await {
            TlsError::Alert(found) => assert_eq!(found.name(), alert),
            other => panic!("{other:?}"),
        }
        for log in logs {
            log.until(Log::is_abandoned).await;
            // TLS-17
            log.assert(&[]);
        }
        assert_eq!(handle().statistics().timers, 0);
    });
}

#[test]
fn a_server_that_is_not_believed_is_refused_with_the_reason() {
    let authority = Authority::new();
    let of = |pem: authority::Pem| Server::from_pem_files(pem.chain, pem.key).expect("a server");
    let check = |server: &Server, problem, alert| {
        for version in [Version::Tls12, Version::Tls13] {
            let client = authority.client_builder().versions(version..=version).build().unwrap();
            check_server(&client, server, problem, alert);
        }
    };
    let wrong = of(authority.certificate(&["example.org"]));
    check(&wrong, CertificateProblem::WrongName, "bad_certificate");
    let expired = of(authority.expired(&["localhost"]));
    check(&expired, CertificateProblem::Expired, "certificate_expired");
    let unknown = Authority::new();
    check(&unknown.server(), CertificateProblem::UnknownIssuer, "unknown_ca");
}

#[test]
fn an_intermediate_is_believed_for_its_root() {
    let authority = Authority::new();
    let pem = authority.intermediate().certificate(&["localhost"]);
    let server = Server::from_pem_files(pem.chain, pem.key).unwrap();
    play(async {
        let (_line, mut ours, _theirs) = connect(
            PairOptions::default(),
            (ClientLayer::new(authority.client(), "localhost"), Recorder::new()),
            (ServerLayer::new(server), Recorder::new()),
        );
        assert!(ours.outcome().await.is_ok());
    });
}

#[test]
fn checks_can_be_switched_off_one_by_one() {
    let authority = Authority::new();
    let pem = authority.certificate(&["example.org"]);
    let other_name = Server::from_pem_files(pem.chain, pem.key).unwrap();
    let any_name = authority.client_builder().danger_accept_any_hostname().build().unwrap();
    let anyone = Client::builder().danger_accept_any_certificate().build().unwrap();
    // TLS-03: an empty name switches the check of names off.
    for (client, name) in [(&any_name, ""), (&any_name, "localhost"), (&anyone, "")] {
        play(async {
            let (_line, mut ours, _theirs) = connect(
                PairOptions::default(),
                (ClientLayer::new(client.clone(), name), Recorder::new()),
                (ServerLayer::new(other_name.clone()), Recorder::new()),
            );
            assert!(ours.outcome().await.is_ok());
        });
    }
    let unknown = Authority::new().server();
    check_server(&any_name, &unknown, CertificateProblem::UnknownIssuer, "unknown_ca");
}

/// Has a server meet a client that it does not let in.
fn check_client(
    client: &Client,
    server: &Server,
    problem: CertificateProblem,
    alert: &str,
    version: Version,
) {
    play(async {
        let (left, right) = (Recorder::new(), Recorder::new());
        let logs = [left.log(), right.log()];
        let (_line, mut ours, mut theirs) = connect(
            PairOptions::default(),
            (ClientLayer::new(client.clone(), "localhost"), left),
            (ServerLayer::new(server.clone()), right),
        );
        // TLS-14
        match theirs.error().await {
            TlsError::Certificate(found, _) => assert_eq!(found, problem),
            other => panic!("{other:?}"),
        }
        logs[1].until(Log::is_abandoned).await;
        logs[1].assert(&[]);
        // In TLS 1.3 a client is done before the server has looked at its certificate.
        let told = match version {
            Version::Tls13 => {
                ours.outcome().await.expect("a handshake, as far as the client knows");
                logs[0].lost().await;
                // TLS-23
                logs[0].assert(&[
                    Event::Made,
                    Event::Lost(Some(std::io::ErrorKind::ConnectionAborted)),
                ]);
                meeting::tls_error(&logs[0].cause().expect("a cause").into())
            }
            _ => ours.error().await,
        };
        match told {
            TlsError::Alert(found) => assert_eq!(found.name(), alert),
            other => panic!("{other:?}"),
        }
        assert_eq!(handle().statistics().timers, 0);
    });
}

#[test]
fn a_client_that_is_not_known_is_refused_with_the_reason() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.server_builder().client_certificates_required(authority.roots_pem());
    let server = server.build().unwrap();
    let optional = authority.server_builder().client_certificates_optional(authority.roots_pem());
    let optional = optional.build().unwrap();
    for version in [Version::Tls12, Version::Tls13] {
        let builder = || authority.client_builder().versions(version..=version);
        let check = |client: &Client, server: &Server, problem, alert| {
            check_client(client, server, problem, alert, version);
        };
        let silent = builder().build().unwrap();
        check(&silent, &server, CertificateProblem::Missing, "certificate_required");
        let pem = stranger.client_certificate("stranger");
        let strange = builder().certificate_files(pem.chain, pem.key).build().unwrap();
        check(&strange, &server, CertificateProblem::UnknownIssuer, "unknown_ca");
        check(&strange, &optional, CertificateProblem::UnknownIssuer, "unknown_ca");
    }
}

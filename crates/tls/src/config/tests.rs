//! Handshakes in memory: what configurations lead to when two of them meet.

use std::ops::DerefMut;
use std::time::Duration;

use rustls::{
    CertificateError, ClientConnection, ConnectionCommon, Error, HandshakeKind, ProtocolVersion,
    ServerConnection, SideData,
};

use super::{Client, ClientBuilder, NameError, Server, ServerBuilder, Terms, Version};
use crate::Provider;
use crate::authority::{Authority, Pem};

/// Lets the two meet; the error is that of the side that finds one first.
fn meet(
    client: &Client,
    server: &Server,
    name: &str,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = client.server_name(name).expect("a name");
    let mut client = ClientConnection::new(client.rustls().clone(), name)?;
    let mut server = ServerConnection::new(server.rustls().clone())?;
    while client.wants_write() || server.wants_write() {
        carry(&mut client, &mut server)?;
        carry(&mut server, &mut client)?;
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// Takes everything that one side has to say to the other.
fn carry<From: SideData, To: SideData>(
    from: &mut impl DerefMut<Target = ConnectionCommon<From>>,
    to: &mut impl DerefMut<Target = ConnectionCommon<To>>,
) -> Result<(), Error> {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("memory takes everything");
    }
    let mut wire = &wire[..];
    while !wire.is_empty() {
        to.read_tls(&mut wire).expect("memory gives everything");
        to.process_new_packets()?;
    }
    Ok(())
}

/// What a client finds that meets a server with this certificate.
fn check(client: &Client, pem: &Pem, name: &str, expected: Result<(), CertificateError>) {
    let server = Server::from_pem_files(&pem.chain, &pem.key).expect("a server");
    let found = meet(client, &server, name).map(drop);
    assert_eq!(found, expected.map_err(Error::InvalidCertificate), "{client:?} meets {name}");
}

/// What a server answers a client.
fn check_client(server: &Server, client: &Client, expected: Result<(), Error>) {
    assert_eq!(meet(client, server, "localhost").map(drop), expected);
}

fn is_wrong_name(found: Result<(ClientConnection, ServerConnection), Error>) -> bool {
    matches!(found, Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })))
}

#[test]
fn a_server_is_believed_by_those_who_trust_its_authority() {
    let authority = Authority::new();
    let pem = authority.certificate(&["localhost", "127.0.0.1", "::1"]);
    for name in ["localhost", "LOCALHOST.", "127.0.0.1", "::1", "[::1]"] {
        check(&authority.client(), &pem, name, Ok(()));
    }
    let stranger = Authority::new().client();
    check(&stranger, &pem, "localhost", Err(CertificateError::UnknownIssuer));
}

#[test]
fn an_intermediate_authority_is_part_of_the_chain() {
    let authority = Authority::new();
    let pem = authority.intermediate().certificate(&["localhost"]);
    check(&authority.client(), &pem, "localhost", Ok(()));
}

#[test]
fn several_files_of_roots_are_trusted_together() {
    let (one, other) = (Authority::new(), Authority::new());
    let client = one.client_builder().root_certificates(other.roots_pem()).build().unwrap();
    check(&client, &one.certificate(&["localhost"]), "localhost", Ok(()));
    check(&client, &other.certificate(&["localhost"]), "localhost", Ok(()));
}

// TLS-03: the default verifies the name as well as the chain
#[test]
fn a_wrong_name_and_a_past_date_are_refused() {
    let authority = Authority::new();
    let server = authority.server();
    assert!(is_wrong_name(meet(&authority.client(), &server, "example.org")));
    assert!(is_wrong_name(meet(&authority.client(), &server, "127.0.0.2")));

    let expired = authority.expired(&["localhost"]);
    let server = Server::from_pem_files(&expired.chain, &expired.key).unwrap();
    let found = meet(&authority.client(), &server, "localhost").map(drop);
    let expected =
        matches!(found, Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. })));
    assert!(expected, "{found:?}");
}

// TLS-03: an empty server name turns hostname checking off; here the client has to say so
#[test]
fn no_name_is_verified_by_those_who_accept_any() {
    let authority = Authority::new();
    let client = authority.client_builder().danger_accept_any_hostname().build().unwrap();
    let pem = authority.certificate(&["localhost"]);
    check(&client, &pem, "example.org", Ok(()));
    check(&client, &pem, "", Ok(()));

    // Everything else still is.
    let strange = Authority::new().certificate(&["localhost"]);
    check(&client, &strange, "", Err(CertificateError::UnknownIssuer));
    let expired = authority.expired(&["localhost"]);
    let server = Server::from_pem_files(&expired.chain, &expired.key).unwrap();
    let found = meet(&client, &server, "").map(drop);
    assert!(matches!(found, Err(Error::InvalidCertificate(_))), "{found:?}");
}

// TLS-03
#[test]
fn an_empty_name_is_sent_to_nobody_and_refused_by_those_who_verify() {
    let authority = Authority::new();
    let client = authority.client_builder().danger_accept_any_hostname().build().unwrap();
    let (_, server) = meet(&client, &authority.server(), "").unwrap();
    assert_eq!(server.server_name(), None);
    assert_eq!(authority.client().server_name(""), Err(NameError::Empty));
    assert_eq!(Client::from_config(client.rustls().clone()).server_name(""), Err(NameError::Empty));
}

#[test]
fn any_certificate_is_believed_by_those_who_accept_any() {
    let client = Client::builder().danger_accept_any_certificate().build().unwrap();
    let authority = Authority::new();
    check(&client, &authority.certificate(&["localhost"]), "example.org", Ok(()));
    check(&client, &authority.expired(&["localhost"]), "", Ok(()));
    // The later of the two dangers does not take the greater one back.
    let client = Client::builder()
        .danger_accept_any_certificate()
        .danger_accept_any_hostname()
        .build()
        .unwrap();
    check(&client, &authority.certificate(&["localhost"]), "localhost", Ok(()));
}

#[test]
fn the_server_hears_the_name_unless_told_otherwise() {
    let authority = Authority::new();
    let (_, server) = meet(&authority.client(), &authority.server(), "localhost").unwrap();
    assert_eq!(server.server_name(), Some("localhost"));
    let silent = authority.client_builder().enable_sni(false).build().unwrap();
    let (_, server) = meet(&silent, &authority.server(), "localhost").unwrap();
    assert_eq!(server.server_name(), None);
}

#[test]
fn the_certificate_is_chosen_by_the_name() {
    let authority = Authority::new();
    let client = authority.client();
    let add = |builder: ServerBuilder, names: &[&str]| {
        let pem = authority.certificate(names);
        builder.certificate_files(pem.chain, pem.key)
    };
    let builder = add(Server::builder(), &["example.org"]);
    let server = add(builder, &["*.example.net", "localhost"]).build().unwrap();
    for name in ["example.org", "www.example.net", "localhost"] {
        meet(&client, &server, name).map(drop).expect(name);
    }
    assert!(is_wrong_name(meet(&client, &server, "example.net")));
}

#[test]
fn clients_are_asked_for_certificates() {
    let authority = Authority::new();
    let with = |pem: Pem| {
        authority.client_builder().certificate_files(pem.chain, pem.key).build().unwrap()
    };
    let known = with(authority.client_certificate("someone"));
    let strange = with(Authority::new().client_certificate("someone"));
    let silent = authority.client();
    let unknown_issuer = Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));

    let builder = authority.server_builder();
    let required = builder.client_certificates_required(authority.roots_pem()).build().unwrap();
    check_client(&required, &known, Ok(()));
    check_client(&required, &silent, Err(Error::NoCertificatesPresented));
    check_client(&required, &strange, unknown_issuer.clone());

    let builder = authority.server_builder();
    let optional = builder.client_certificates_optional(authority.roots_pem()).build().unwrap();
    check_client(&optional, &known, Ok(()));
    check_client(&optional, &silent, Ok(()));
    check_client(&optional, &strange, unknown_issuer);

    // Nobody is asked by default, and so nobody shows anything.
    let (_, server) = meet(&known, &authority.server(), "localhost").unwrap();
    assert_eq!(server.peer_certificates(), None);
    let (_, server) = meet(&known, &optional, "localhost").unwrap();
    assert_eq!(server.peer_certificates().map(<[_]>::len), Some(1));
}

#[test]
fn both_sides_agree_on_a_protocol() {
    let authority = Authority::new();
    let server = authority.server_builder().alpn(["h2", "http/1.1"]).build().unwrap();
    let agreed = |offered: &[&str]| {
        let client = authority.client_builder().alpn(offered).build().unwrap();
        meet(&client, &server, "localhost")
            .map(|(client, _)| client.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(agreed(&["http/1.1", "h2"]), Ok(Some(b"h2".to_vec())));
    assert_eq!(agreed(&["http/1.1"]), Ok(Some(b"http/1.1".to_vec())));
    assert_eq!(agreed(&[]), Ok(None));
    assert_eq!(agreed(&["smtp"]), Err(Error::NoApplicationProtocol));
}

#[test]
fn the_highest_version_of_both_is_spoken() {
    use Version::{Tls12, Tls13};
    let authority = Authority::new();
    let spoken = |of_client, of_server| {
        let client = authority.client_builder().versions(of_client).build().unwrap();
        let server = authority.server_builder().versions(of_server).build().unwrap();
        let met = meet(&client, &server, "localhost").ok();
        met.and_then(|(client, _)| client.protocol_version())
    };
    let (older, newer) = (Some(ProtocolVersion::TLSv1_2), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(spoken(Tls12..=Tls13, Tls12..=Tls13), newer);
    assert_eq!(spoken(Tls12..=Tls12, Tls12..=Tls13), older);
    assert_eq!(spoken(Tls12..=Tls13, Tls12..=Tls12), older);
    assert_eq!(spoken(Tls13..=Tls13, Tls12..=Tls13), newer);
    assert_eq!(spoken(Tls13..=Tls13, Tls12..=Tls12), None);
}

/// The kinds of handshake of two connections, one after the other.
fn kinds(client: &Client, server: &Server) -> [Option<HandshakeKind>; 2] {
    [(); 2].map(|()| meet(client, server, "localhost").unwrap().0.handshake_kind())
}

#[test]
fn sessions_are_resumed_unless_either_side_forgets_them() {
    let authority = Authority::new();
    let resumed = [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)];
    let full = [Some(HandshakeKind::Full); 2];
    for version in [Version::Tls12, Version::Tls13] {
        let builder = || authority.server_builder().versions(version..=version);
        let fresh = || authority.client();
        let server = builder().build().unwrap();
        assert_eq!(kinds(&fresh(), &server), resumed);
        let forgetful = builder().resumption(0).build().unwrap();
        assert!(!forgetful.rustls().session_storage.can_cache(), "so no session is sent");
        assert_eq!(kinds(&fresh(), &forgetful), full);
        let tickets = builder().resumption(0).session_tickets().build().unwrap();
        assert_eq!(kinds(&fresh(), &tickets), resumed);
        let forgetful = authority.client_builder().resumption(0).build().unwrap();
        assert_eq!(kinds(&forgetful, &server), full);
    }
}

#[test]
fn every_provider_that_is_built_in_does_the_work() {
    let authority = Authority::new();
    let foreign = Provider::from(Provider::default().crypto().as_ref().clone());
    for provider in [Provider::default(), foreign].into_iter().chain(built_in()) {
        let builder = authority.client_builder().provider(provider.clone());
        let client = builder.build().unwrap();
        let builder = authority.server_builder().provider(provider).session_tickets();
        let server = builder.build().unwrap();
        let resumed = [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)];
        assert_eq!(kinds(&client, &server), resumed);
    }
}

#[cfg(all(feature = "aws-lc-rs", feature = "ring"))]
fn built_in() -> Vec<Provider> {
    vec![Provider::aws_lc_rs(), Provider::ring()]
}

#[cfg(not(all(feature = "aws-lc-rs", feature = "ring")))]
fn built_in() -> Vec<Provider> {
    Vec::new()
}

#[test]
fn nothing_is_sent_before_its_time() {
    let authority = Authority::new();
    let (client, server) = (authority.client(), authority.server());
    assert!(!client.rustls().enable_early_data);
    assert_eq!(server.rustls().max_early_data_size, 0);
    assert!(!server.rustls().send_half_rtt_data);
    assert_eq!(client.rustls().max_fragment_size, None);
    assert_eq!(server.rustls().max_fragment_size, None);
}

// TLS-02
#[test]
fn the_limits_are_sixty_and_thirty_seconds_unless_others_are_given() {
    let authority = Authority::new();
    let seconds = Duration::from_secs;
    let defaults = (seconds(60), seconds(30), false);
    let others = (seconds(1), seconds(2), true);

    let of = |t: Terms| (t.handshake_timeout, t.shutdown_timeout, t.accepts_truncation);
    let client = authority.client();
    assert_eq!(of(client.terms()), defaults);
    let builder = authority.client_builder().handshake_timeout(seconds(1));
    let changed = builder.shutdown_timeout(seconds(2)).accept_truncation().build().unwrap();
    assert_eq!(of(changed.terms()), others);
    let ready = Client::from_config(client.rustls().clone());
    assert_eq!(of(ready.terms()), defaults);
    let changed = ready.with_handshake_timeout(seconds(1)).unwrap();
    let changed = changed.with_shutdown_timeout(seconds(2)).unwrap().with_truncation_accepted();
    assert_eq!(of(changed.terms()), others);

    let server = authority.server();
    assert_eq!(of(server.terms()), defaults);
    let builder = authority.server_builder().handshake_timeout(seconds(1));
    let changed = builder.shutdown_timeout(seconds(2)).accept_truncation().build().unwrap();
    assert_eq!(of(changed.terms()), others);
    let ready = Server::from_config(server.rustls().clone());
    assert_eq!(of(ready.terms()), defaults);
    let changed = ready.with_handshake_timeout(seconds(1)).unwrap();
    let changed = changed.with_shutdown_timeout(seconds(2)).unwrap().with_truncation_accepted();
    assert_eq!(of(changed.terms()), others);
}

#[test]
fn the_keys_go_nowhere_unless_asked() {
    let authority = Authority::new();
    let client = |builder: ClientBuilder| {
        format!("{:?}", builder.build().expect("a client").rustls().key_log)
    };
    let server = |builder: ServerBuilder| {
        format!("{:?}", builder.build().expect("a server").rustls().key_log)
    };
    for silent in [client(authority.client_builder()), server(authority.server_builder())] {
        assert!(silent.contains("NoKeyLog"), "{silent}");
    }
    let logged = [
        client(authority.client_builder().key_log_file()),
        server(authority.server_builder().key_log_file()),
    ];
    for logged in logged {
        assert!(logged.contains("KeyLogFile"), "{logged}");
    }
}

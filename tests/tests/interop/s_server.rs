//! `openssl s_server` with a client of ours.

use std::fs;
use std::process::Command;

use tidegate_tls::{Alpn, CertificateProblem, SessionReused, TlsError, Version};

use super::case::cases;
use super::ours::{Ours, client, connect, is_alert, is_much, is_problem, much, refused};
use super::program::Program;
use super::s_client::{heard_close_notify, version_option};
use crate::authority::{Authority, Pem};

cases! { Peer::SServer;
    shakes_hands
    exchanges_8_mib
    agrees_on_a_protocol
    has_no_protocol_in_common
    is_shown_a_certificate
    is_shown_no_certificate
    is_shown_a_certificate_of_a_stranger
    resumes_a_session
    answers_behind_our_half_close
    sends_8_mib_behind_our_half_close
    sees_our_close_notify
    sees_that_an_abort_is_no_end
    closes_its_socket_without_a_word
    is_killed
    is_refused_with_a_wrong_name
    is_refused_with_an_expired_certificate
    is_refused_with_an_unknown_authority
}

async fn shakes_hands(version: Version) {
    let ground = Ground::new();
    let mut server = ground.start(version, &[]).await;
    let mut ours = ground.connect(&server).await;
    ours.speaks(version);
    ours.writer.write(b"good day\n");
    server.program.line("good day").await;
    server.program.tell(b"0\n");
    assert_eq!(ours.line().await, "0\n");
    ours.close().await;
    server.program.ended().await.well(&["DONE"]);
}

async fn exchanges_8_mib(version: Version) {
    let ground = Ground::new();
    let mut server = ground.start(version, &[]).await;
    let mut ours = ground.connect(&server).await;
    // What it prints of the connection comes before what it receives.
    ours.writer.write(b"begin\n");
    server.program.line("begin").await;
    server.program.tell(much());
    let mut program = server.program;
    let printed = tidegate::spawn(async move {
        let printed = program.bytes(much().len()).await;
        (program, printed)
    });
    is_much(&ours.exchange_much().await);
    let (program, printed) = printed.unwrap().await.unwrap();
    is_much(&printed);
    ours.close().await;
    program.ended().await.well(&["DONE"]);
}

async fn agrees_on_a_protocol(version: Version) {
    let ground = Ground::new();
    let server = ground.start(version, &["-alpn", "tide/1,tide/0"]).await;
    let tls = client(&ground.authority, version).alpn(["tide/2", "tide/1"]).build().unwrap();
    let ours = connect(server.port, &tls, "localhost").await.unwrap();
    assert_eq!(ours.writer.get_extra_info(), Some(Alpn(b"tide/1".to_vec())));
    ours.close().await;
    server.program.ended().await.well(&["ALPN protocols selected: tide/1"]);
}

async fn has_no_protocol_in_common(version: Version) {
    let ground = Ground::new();
    let server = ground.start(version, &["-alpn", "ebb"]).await;
    let tls = client(&ground.authority, version).alpn(["tide/1"]).build().unwrap();
    match connect(server.port, &tls, "localhost").await {
        Err(error) => is_alert(refused(Err(error)).await, &["no_application_protocol"]),
        // openssl 1.1 goes on without.
        Ok(ours) => assert_eq!(ours.writer.get_extra_info::<Alpn>(), None),
    }
}

async fn is_shown_a_certificate(version: Version) {
    let (ground, clients) = (Ground::new(), Authority::new());
    let mut server = ground.start_requiring(version, &clients).await;
    let pem = clients.client_certificate("someone");
    let mut ours = ground.showing(version, &server, &pem).await.unwrap();
    server.program.tell(b"0\n");
    assert_eq!(ours.line().await, "0\n");
    ours.writer.write(b"good day\n");
    server.program.line("good day").await;
    ours.close().await;
    server.program.ended().await.well(&["subject=CN = someone"]);
}

async fn is_shown_no_certificate(version: Version) {
    let ground = Ground::new();
    let server = ground.start_requiring(version, &Authority::new()).await;
    let tls = client(&ground.authority, version).build().unwrap();
    let error = refused(connect(server.port, &tls, "localhost").await).await;
    is_alert(error, &["certificate_required", "handshake_failure"]);
    server.program.ended().await.saying(&["peer did not return a certificate"]);
}

async fn is_shown_a_certificate_of_a_stranger(version: Version) {
    let ground = Ground::new();
    let server = ground.start_requiring(version, &Authority::new()).await;
    let pem = Authority::new().client_certificate("a stranger");
    is_alert(refused(ground.showing(version, &server, &pem).await).await, &["unknown_ca"]);
    server.program.ended().await.saying(&["certificate verify failed"]);
}

async fn resumes_a_session(version: Version) {
    let ground = Ground::new();
    let mut server = ground.start(version, &["-naccept", "2"]).await;
    let tls = client(&ground.authority, version).build().unwrap();
    for reused in [false, true] {
        let mut ours = connect(server.port, &tls, "localhost").await.unwrap();
        assert_eq!(ours.writer.get_extra_info(), Some(SessionReused(reused)));
        ours.writer.write(b"good day\n");
        server.program.line("good day").await;
        // In TLS 1.3 the sessions come behind the handshake: who has read this has them.
        server.program.tell(b"0\n");
        assert_eq!(ours.line().await, "0\n");
        ours.close().await;
    }
    server.program.ended().await.well(&["Reused session-id"]);
}

async fn answers_behind_our_half_close(version: Version) {
    let ground = Ground::new();
    let server = ground.start(version, &["-rev"]).await;
    let mut ours = ground.connect(&server).await;
    ours.writer.write(b"spring tide\nneap tide\n");
    ours.writer.write_eof().unwrap();
    assert_eq!(ours.rest().await, b"edit gnirps\nedit paen\n");
    ours.close().await;
    server.program.ended().await.well(&["CONNECTION CLOSED"]);
}

async fn sends_8_mib_behind_our_half_close(version: Version) {
    let ground = Ground::new();
    fs::write(ground.authority.folder().join("much.txt"), much()).unwrap();
    let server = ground.start(version, &["-WWW"]).await;
    let mut ours = ground.connect(&server).await;
    ours.writer.write(b"GET /much.txt HTTP/1.0\r\n\r\n");
    ours.writer.write_eof().unwrap();
    let rest = ours.rest().await;
    let head = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    is_much(&rest[head + 4..]);
    ours.close().await;
    server.program.ended().await.well(&["FILE:much.txt"]);
}

async fn sees_our_close_notify(version: Version) {
    let ground = Ground::new();
    let server = ground.start(version, &["-msg"]).await;
    let ours = ground.connect(&server).await;
    ours.close().await;
    let ended = server.program.ended().await;
    ended.well(&["DONE"]);
    assert!(heard_close_notify(&ended.printed), "{}", ended.printed);
}

async fn sees_that_an_abort_is_no_end(version: Version) {
    let ground = Ground::new();
    let mut server = ground.start(version, &["-msg"]).await;
    let ours = ground.connect(&server).await;
    ours.writer.write(b"good day\n");
    server.program.line("good day").await;
    ours.writer.abort();
    ours.writer.wait_closed().await.unwrap();
    let ended = server.program.ended().await;
    assert!(!heard_close_notify(&ended.printed), "{}", ended.printed);
}

async fn closes_its_socket_without_a_word(version: Version) {
    let ground = Ground::new();
    let mut server = ground.start(version, &[]).await;
    let mut ours = ground.connect(&server).await;
    ours.writer.write(b"good day\n");
    server.program.line("good day").await;
    // The command to quit.
    server.program.tell(b"Q\n");
    assert_eq!(ours.loss().await, TlsError::Truncated);
}

async fn is_killed(version: Version) {
    let ground = Ground::new();
    let mut server = ground.start(version, &[]).await;
    let mut ours = ground.connect(&server).await;
    // When this is printed nothing is unread there, and the system ends the connection without a reset.
    ours.writer.write(b"good day\n");
    server.program.line("good day").await;
    server.program.kill();
    assert_eq!(ours.loss().await, TlsError::Truncated);
}

async fn is_refused_with_a_wrong_name(version: Version) {
    let mut ground = Ground::new();
    ground.pem = ground.authority.certificate(&["elsewhere.example"]);
    is_refused(version, &ground, &ground.authority, CertificateProblem::WrongName, 42).await;
}

async fn is_refused_with_an_expired_certificate(version: Version) {
    let mut ground = Ground::new();
    ground.pem = ground.authority.expired(&["localhost"]);
    is_refused(version, &ground, &ground.authority, CertificateProblem::Expired, 45).await;
}

async fn is_refused_with_an_unknown_authority(version: Version) {
    let (ground, trusted) = (Ground::new(), Authority::new());
    is_refused(version, &ground, &trusted, CertificateProblem::UnknownIssuer, 48).await;
}

async fn is_refused(
    version: Version,
    ground: &Ground,
    trusted: &Authority,
    problem: CertificateProblem,
    alert: u8,
) {
    let server = ground.start(version, &[]).await;
    let tls = client(trusted, version).build().unwrap();
    is_problem(refused(connect(server.port, &tls, "localhost").await).await, problem);
    server.program.ended().await.saying(&[&format!("alert number {alert}\n")]);
}

/// Who issues the server's certificate, and which it is.
struct Ground {
    authority: Authority,
    pem: Pem,
}

/// A server that runs.
struct SServer {
    program: Program,
    port: u16,
    version: Version,
}

impl Ground {
    fn new() -> Ground {
        let authority = Authority::new();
        let pem = authority.certificate(&["localhost"]);
        Ground { authority, pem }
    }

    /// A server for one connection, if the options do not say otherwise.
    async fn start(&self, version: Version, options: &[&str]) -> SServer {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"]);
        command.arg(version_option(version)).current_dir(self.authority.folder());
        command.arg("-cert").arg(&self.pem.chain).arg("-key").arg(&self.pem.key).args(options);
        let mut program = Program::start(&mut command).await;
        let address = program.line("ACCEPT").await;
        let (_, port) = address.rsplit_once(':').expect("the address that it listens on");
        SServer { program, port: port.parse().expect("a port"), version }
    }

    /// A server that lets those in to whom `clients` has given a certificate.
    async fn start_requiring(&self, version: Version, clients: &Authority) -> SServer {
        let roots = clients.roots_pem();
        let roots = roots.to_str().expect("a path of text");
        self.start(version, &["-Verify", "1", "-verify_return_error", "-CAfile", roots]).await
    }

    async fn connect(&self, server: &SServer) -> Ours {
        let tls = client(&self.authority, server.version).build().unwrap();
        connect(server.port, &tls, "localhost").await.unwrap()
    }

    async fn showing(
        &self,
        version: Version,
        server: &SServer,
        pem: &Pem,
    ) -> std::io::Result<Ours> {
        let tls = client(&self.authority, version).certificate_files(&pem.chain, &pem.key);
        connect(server.port, &tls.build().unwrap(), "localhost").await
    }
}

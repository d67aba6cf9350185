//! `openssl s_client` with a server of ours.

use std::path::Path;
use std::process::Command;

use tidegate_tls::{
    Alpn, CertificateProblem, PeerCertificates, Server, SessionReused, TlsError, Version, start_tls,
};

use super::case::cases;
use super::ours::{Serving, is_alert, is_much, is_problem, much, send_much, server};
use super::program::Program;
use crate::authority::{Authority, Pem};

cases! { Peer::SClient;
    shakes_hands
    exchanges_8_mib
    agrees_on_a_protocol
    has_no_protocol_in_common
    shows_a_certificate
    shows_no_certificate
    shows_a_certificate_of_a_stranger
    resumes_a_session
    answers_our_half_close
    half_closes_and_is_still_written_to
    sees_our_close_notify
    sees_that_an_abort_is_no_end
    closes
    is_killed
    starts_tls_in_smtp
    refuses_a_wrong_name
    refuses_an_expired_certificate
    refuses_an_unknown_authority
}

async fn shakes_hands(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let program = start(&serving, version, &authority, &["-ign_eof"]).await;
    let ours = serving.accept().await.unwrap();
    ours.speaks(version);
    assert_eq!(ours.writer.get_extra_info(), Some(SessionReused(false)));
    ours.writer.write(b"good day\n");
    ours.close().await;
    let new = format!("New, {version}, Cipher is");
    program.ended().await.well(&["Verify return code: 0 (ok)", &new, "good day"]);
}

async fn exchanges_8_mib(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let mut program = start(&serving, version, &authority, &["-quiet"]).await;
    let mut ours = serving.accept().await.unwrap();
    program.tell(much());
    let printed = tidegate::spawn(async move {
        let printed = program.bytes(much().len()).await;
        (program, printed)
    });
    is_much(&ours.exchange_much().await);
    let (program, printed) = printed.unwrap().await.unwrap();
    is_much(&printed);
    ours.close().await;
    program.ended().await.well(&[]);
}

async fn agrees_on_a_protocol(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).alpn(["tide/2", "tide/1"]).build().unwrap());
    let program = start(&serving, version, &authority, &["-ign_eof", "-alpn", "tide/1,ebb"]).await;
    let ours = serving.accept().await.unwrap();
    assert_eq!(ours.writer.get_extra_info(), Some(Alpn(b"tide/1".to_vec())));
    ours.close().await;
    program.ended().await.well(&["ALPN protocol: tide/1"]);
}

async fn has_no_protocol_in_common(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).alpn(["tide/1"]).build().unwrap());
    let program = start(&serving, version, &authority, &["-ign_eof", "-alpn", "ebb"]).await;
    assert!(matches!(serving.refusal().await, TlsError::NothingInCommon(_)));
    program.ended().await.badly(&["alert number 120"]);
}

async fn shows_a_certificate(version: Version) {
    let (authority, clients) = (Authority::new(), Authority::new());
    let serving = Serving::new(requiring(&authority, &clients));
    let pem = clients.client_certificate("someone");
    let program = start_with(&serving, version, &authority, &["-ign_eof"], |command| {
        command.arg("-cert").arg(&pem.chain).arg("-key").arg(&pem.key);
    });
    let program = program.await;
    let ours = serving.accept().await.unwrap();
    let shown: PeerCertificates = ours.writer.get_extra_info().unwrap();
    assert_eq!(shown.chain().count(), 1);
    ours.close().await;
    program.ended().await.well(&[]);
}

async fn shows_no_certificate(version: Version) {
    let (authority, clients) = (Authority::new(), Authority::new());
    let serving = Serving::new(requiring(&authority, &clients));
    let program = start(&serving, version, &authority, &["-ign_eof"]).await;
    is_problem(serving.refusal().await, CertificateProblem::Missing);
    program.ended().await.badly(&["alert certificate required"]);
}

async fn shows_a_certificate_of_a_stranger(version: Version) {
    let (authority, clients) = (Authority::new(), Authority::new());
    let serving = Serving::new(requiring(&authority, &clients));
    let pem = Authority::new().client_certificate("a stranger");
    let program = start_with(&serving, version, &authority, &["-ign_eof"], |command| {
        command.arg("-cert").arg(&pem.chain).arg("-key").arg(&pem.key);
    });
    let program = program.await;
    is_problem(serving.refusal().await, CertificateProblem::UnknownIssuer);
    program.ended().await.badly(&["alert unknown ca"]);
}

async fn resumes_a_session(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let session = authority.folder().join("session.pem");
    for (option, reused) in [("-sess_out", false), ("-sess_in", true)] {
        let program = start_with(&serving, version, &authority, &["-ign_eof"], |command| {
            command.arg(option).arg(&session);
        });
        let program = program.await;
        let ours = serving.accept().await.unwrap();
        assert_eq!(ours.writer.get_extra_info(), Some(SessionReused(reused)));
        // In TLS 1.3 the sessions come behind the handshake: who has read this has them.
        ours.writer.write(b"good day\n");
        ours.close().await;
        let word = if reused { "Reused, " } else { "New, " };
        program.ended().await.well(&[&format!("{word}{version}")]);
    }
}

/// s_client takes our end for the end of everything, so that it only answers.
async fn answers_our_half_close(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let program = start(&serving, version, &authority, &["-quiet"]).await;
    let mut ours = serving.accept().await.unwrap();
    program.tell(b"0\n");
    assert_eq!(ours.line().await, "0\n");
    ours.writer.write(b"1\n");
    ours.writer.write_eof().unwrap();
    assert_eq!(ours.rest().await, b"");
    ours.close().await;
    let ended = program.ended().await;
    ended.well(&[]);
    assert_eq!(ended.printed, "1\n");
}

/// s_client ends its own direction first, and then drops what it still receives.
async fn half_closes_and_is_still_written_to(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let mut program = start(&serving, version, &authority, &["-quiet", "-no_ign_eof"]).await;
    let mut ours = serving.accept().await.unwrap();
    program.tell(b"0\n");
    program.end_input();
    assert_eq!(ours.rest().await, b"0\n");
    send_much(ours.writer.clone()).await.unwrap();
    ours.close().await;
    program.ended().await.well(&[]);
}

async fn sees_our_close_notify(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let program = start(&serving, version, &authority, &["-ign_eof", "-msg"]).await;
    let ours = serving.accept().await.unwrap();
    ours.close().await;
    let ended = program.ended().await;
    ended.well(&["closed"]);
    assert!(heard_close_notify(&ended.printed), "{}", ended.printed);
}

async fn sees_that_an_abort_is_no_end(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let program = start(&serving, version, &authority, &["-ign_eof", "-msg"]).await;
    let mut ours = serving.accept().await.unwrap();
    program.tell(b"0\n");
    assert_eq!(ours.line().await, "0\n");
    ours.writer.abort();
    ours.writer.wait_closed().await.unwrap();
    let ended = program.ended().await;
    assert!(!heard_close_notify(&ended.printed), "{}", ended.printed);
}

async fn closes(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let mut program = start(&serving, version, &authority, &["-no_ign_eof"]).await;
    let mut ours = serving.accept().await.unwrap();
    program.tell(b"0\n");
    program.end_input();
    assert_eq!(ours.rest().await, b"0\n");
    ours.close().await;
    program.ended().await.well(&["DONE"]);
}

async fn is_killed(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let mut program = start(&serving, version, &authority, &["-quiet"]).await;
    let mut ours = serving.accept().await.unwrap();
    // When the answer is printed nothing is unread there, and the system ends the connection without a reset.
    ours.writer.write(b"1\n");
    program.line("1").await;
    program.tell(b"0\n");
    assert_eq!(ours.line().await, "0\n");
    program.kill();
    assert_eq!(ours.loss().await, TlsError::Truncated);
}

async fn starts_tls_in_smtp(version: Version) {
    let authority = Authority::new();
    let serving = Serving::new(server(&authority).build().unwrap());
    let program = start(&serving, version, &authority, &["-quiet", "-starttls", "smtp"]).await;
    let mut ours = serving.accept_plain().await;
    ours.writer.write(b"220 localhost ESMTP\r\n");
    assert!(ours.line().await.starts_with("EHLO "));
    ours.writer.write(b"250-localhost\r\n250 STARTTLS\r\n");
    assert_eq!(ours.line().await, "STARTTLS\r\n");
    ours.writer.write(b"220 go ahead\r\n");
    start_tls(ours.writer.transport(), serving.tls()).unwrap().await.unwrap();
    ours.speaks(version);
    program.tell(b"0\n");
    assert_eq!(ours.line().await, "0\n");
    ours.writer.write(b"in secret\n");
    ours.close().await;
    program.ended().await.well(&["in secret\n"]);
}

async fn refuses_a_wrong_name(version: Version) {
    let authority = Authority::new();
    let pem = authority.certificate(&["elsewhere.example"]);
    refuses(version, pem, &authority, "bad_certificate").await;
}

async fn refuses_an_expired_certificate(version: Version) {
    let authority = Authority::new();
    let pem = authority.expired(&["localhost"]);
    refuses(version, pem, &authority, "certificate_expired").await;
}

async fn refuses_an_unknown_authority(version: Version) {
    let authority = Authority::new();
    let pem = authority.certificate(&["localhost"]);
    refuses(version, pem, &Authority::new(), "unknown_ca").await;
}

async fn refuses(version: Version, pem: Pem, trusted: &Authority, alert: &str) {
    let tls = Server::builder().certificate_files(&pem.chain, &pem.key);
    let serving = Serving::new(tls.build().unwrap());
    let strict = ["-ign_eof", "-verify_return_error", "-verify_hostname", "localhost"];
    let program = start(&serving, version, trusted, &strict).await;
    is_alert(serving.refusal().await, &[alert]);
    program.ended().await.badly(&["verify error"]);
}

/// A server that lets those in to whom `clients` has given a certificate.
fn requiring(authority: &Authority, clients: &Authority) -> Server {
    server(authority).client_certificates_required(clients.roots_pem()).build().unwrap()
}

/// Whether what openssl's `-msg` prints has the peer's close_notify.
pub(crate) fn heard_close_notify(printed: &str) -> bool {
    printed.lines().any(|line| line.starts_with("<<<") && line.ends_with("close_notify"))
}

async fn start(
    serving: &Serving,
    version: Version,
    authority: &Authority,
    options: &[&str],
) -> Program {
    start_with(serving, version, authority, options, |_| ()).await
}

async fn start_with(
    serving: &Serving,
    version: Version,
    authority: &Authority,
    options: &[&str],
    more: impl FnOnce(&mut Command),
) -> Program {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{}", serving.port())]);
    command.args(["-servername", "localhost", version_option(version), "-CAfile"]);
    command.arg::<&Path>(&authority.roots_pem()).args(options);
    more(&mut command);
    Program::start(&mut command).await
}

/// How openssl is told to speak one version only.
pub(crate) fn version_option(version: Version) -> &'static str {
    match version {
        Version::Tls12 => "-tls1_2",
        _ => "-tls1_3",
    }
}

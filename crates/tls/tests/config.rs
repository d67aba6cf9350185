//! Configurations that cannot work are refused when they are made, with an error that names what is wrong.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use tidegate_testkit::watched;
use tidegate_tls::rustls::crypto::CryptoProvider;
use tidegate_tls::rustls::pki_types::pem::PemObject;
use tidegate_tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tidegate_tls::{
    Client, ClientBuilder, ConfigError, Origin, Provider, Roots, Server, ServerBuilder, Version,
};

mod authority;

use authority::{Authority, Pem};

/// A private key under the password "secret", in the form of PKCS #8.
const ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgAAAAAAAAAAAICCAAw
-----END ENCRYPTED PRIVATE KEY-----
";

/// The same in OpenSSL's old form.
const ENCRYPTED_OLD: &str = "-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,00000000000000000000000000000000

AAAAAAAAAAAAAAAAAAAAAA==
-----END EC PRIVATE KEY-----
";

const NO_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
AAAA
-----END CERTIFICATE-----
";

const NO_KEY: &str = "-----BEGIN PRIVATE KEY-----
AAAA
-----END PRIVATE KEY-----
";

/// Gives both sides the same pair of files, which both have to refuse alike; answers the error.
fn refused(chain: &Path, key: &Path) -> ConfigError {
    let of_server = Server::from_pem_files(chain, key).expect_err("a server refuses it");
    let builder = Client::builder().danger_accept_any_certificate();
    let of_client = builder.certificate_files(chain, key).build().expect_err("a client refuses it");
    assert_eq!(of_server.to_string(), of_client.to_string());
    of_server
}

/// What a text says when it stands where the chain should.
fn refused_chain(authority: &Authority, text: impl AsRef<[u8]>) -> ConfigError {
    let good = authority.certificate(&["localhost"]);
    refused(&authority.file("chain.pem", text), &good.key)
}

/// What a text says when it stands where the key should.
fn refused_key(authority: &Authority, text: impl AsRef<[u8]>) -> ConfigError {
    let good = authority.certificate(&["localhost"]);
    refused(&good.chain, &authority.file("key.pem", text))
}

/// Matches an error, and sees to it that its text names the file.
macro_rules! assert_names {
    ($error:expr, $pattern:pat, $file:expr) => {{
        let error = $error;
        assert!(matches!(&error, $pattern), "{error:?}");
        assert!(error.to_string().contains($file), "{error}");
    }};
}

#[test]
fn a_missing_file_is_named() {
    let authority = Authority::new();
    let good = authority.certificate(&["localhost"]);
    let missing = authority.folder().join("missing.pem");
    assert_names!(refused(&missing, &good.key), ConfigError::File { .. }, "missing.pem");
    assert_names!(refused(&good.chain, &missing), ConfigError::File { .. }, "missing.pem");
    let error = Client::builder().root_certificates(&missing).build().unwrap_err();
    assert_names!(error, ConfigError::File { .. }, "missing.pem");
    let builder = authority.server_builder();
    let error = builder.client_certificates_optional(missing).build().unwrap_err();
    assert_names!(error, ConfigError::File { .. }, "missing.pem");
}

#[test]
fn a_directory_is_no_file() {
    let authority = Authority::new();
    let good = authority.certificate(&["localhost"]);
    let error = refused(authority.folder(), &good.key);
    let folder = authority.folder().to_str().unwrap();
    assert_names!(error, ConfigError::File { .. }, folder);
    let ConfigError::File { path, error } = refused(&good.chain, authority.folder()) else {
        panic!("a directory is read");
    };
    assert_eq!((path.as_path(), error.kind()), (authority.folder(), io::ErrorKind::IsADirectory));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let authority = Authority::new();
    let good = authority.certificate(&["localhost"]);
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o000)).unwrap();
    // Nothing is forbidden to the superuser.
    if fs::read(&good.key).is_ok() {
        return;
    }
    let error = io::Error::from(refused(&good.chain, &good.key));
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn a_chain_without_a_certificate_is_named() {
    let authority = Authority::new();
    let key = fs::read(authority.certificate(&["localhost"]).key).unwrap();
    for text in [&b""[..], b"\n", b"not PEM", b"\xff\0\xfe", &key] {
        let error = refused_chain(&authority, text);
        assert_names!(error, ConfigError::NoCertificateFound { .. }, "chain.pem");
    }
}

#[test]
fn a_key_file_without_a_key_is_named() {
    let authority = Authority::new();
    let chain = fs::read(authority.certificate(&["localhost"]).chain).unwrap();
    for text in [&b""[..], b"not PEM", b"\xff\0\xfe", &chain] {
        let error = refused_key(&authority, text);
        assert_names!(error, ConfigError::NoPrivateKeyFound { .. }, "key.pem");
    }
}

#[test]
fn an_encrypted_key_is_told_from_a_missing_one() {
    let authority = Authority::new();
    for text in [ENCRYPTED, ENCRYPTED_OLD] {
        let error = refused_key(&authority, text);
        assert_names!(error, ConfigError::EncryptedPrivateKey { .. }, "key.pem");
    }
}

#[test]
fn a_key_of_nobody_is_refused_before_it_is_used() {
    let authority = Authority::new();
    let error = refused_key(&authority, NO_KEY);
    assert_names!(error, ConfigError::UnusablePrivateKey { .. }, "key.pem");
}

#[test]
fn damaged_pem_is_named() {
    let authority = Authority::new();
    let good = authority.certificate(&["localhost"]);
    let chain = fs::read_to_string(&good.chain).unwrap();
    let key = fs::read_to_string(&good.key).unwrap();
    let without_end = |text: &str| text[..text.len() / 2].to_owned();
    let broken = |text: &str| text.replacen("\nM", "\n*", 1);

    for text in [without_end(&chain), broken(&chain), chain.clone() + &without_end(&chain)] {
        let error = refused_chain(&authority, text);
        assert_names!(error, ConfigError::DamagedPem { .. }, "chain.pem");
    }
    for text in [without_end(&key), broken(&key)] {
        let error = refused_key(&authority, text);
        assert_names!(error, ConfigError::DamagedPem { .. }, "key.pem");
    }
}

#[test]
fn a_certificate_that_is_none_is_named_by_its_position() {
    let authority = Authority::new();
    assert_names!(
        refused_chain(&authority, NO_CERTIFICATE),
        ConfigError::UnusableCertificate { position: 1, .. },
        "chain.pem"
    );
    let roots = fs::read_to_string(authority.roots_pem()).unwrap() + NO_CERTIFICATE;
    let roots = authority.file("roots.pem", roots);
    assert_names!(
        Client::builder().root_certificates(roots).build().unwrap_err(),
        ConfigError::UnusableCertificate { position: 2, .. },
        "roots.pem"
    );
}

#[test]
fn a_pair_that_does_not_belong_together_is_named_by_both_files() {
    let authority = Authority::new();
    let (one, other) =
        (authority.certificate(&["a.example"]), authority.certificate(&["b.example"]));
    let error = refused(&one.chain, &other.key);
    assert_names!(&error, ConfigError::KeyMismatch { .. }, one.chain.to_str().unwrap());
    assert_names!(&error, ConfigError::KeyMismatch { .. }, other.key.to_str().unwrap());
    let ConfigError::KeyMismatch { certificate, key } = error else { unreachable!() };
    assert_eq!((certificate.path(), key.path()), (Some(&*one.chain), Some(&*other.key)));
}

#[test]
fn a_chain_in_the_wrong_order_is_told_how_to_stand() {
    let authority = Authority::new();
    let good = authority.intermediate().certificate(&["localhost"]);
    let chain: Vec<_> = read_certificates(&good.chain);
    assert_eq!(chain.len(), 2, "its issuer is part of it");
    let text = fs::read_to_string(&good.chain).unwrap();
    let second = text[1..].find("-----BEGIN").unwrap() + 1;
    let reversed = text[second..].to_owned() + &text[..second];
    let error = refused(&authority.file("reversed.pem", reversed), &good.key);
    assert_names!(error, ConfigError::ChainOrder { position: 2, .. }, "reversed.pem");
}

#[test]
fn both_may_lie_in_one_file_among_other_text() {
    let authority = Authority::new();
    let good = authority.certificate(&["localhost"]);
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let text = format!("a remark\n{}\nanother\n{}", read(&good.key), read(&good.chain));
    for (name, text) in [("both.pem", text.clone()), ("crlf.pem", text.replace('\n', "\r\n"))] {
        let both = authority.file(name, text);
        Server::from_pem_files(&both, &both).expect(name);
    }
}

fn read_certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn read_values(pem: &Pem) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (read_certificates(&pem.chain), PrivateKeyDer::from_pem_file(&pem.key).unwrap())
}

#[test]
fn values_are_checked_as_files_are() {
    let authority = Authority::new();
    let (one, other) =
        (authority.certificate(&["localhost"]), authority.certificate(&["localhost"]));
    let (chain, key) = read_values(&one);
    let (_, other_key) = read_values(&other);

    Server::builder().certificate(chain.clone(), key.clone_key()).build().expect("a pair");
    let roots = read_certificates(&authority.roots_pem());
    let builder = Client::builder().root_certificates(roots);
    builder.certificate(chain.clone(), key.clone_key()).build().expect("a pair");

    let error = Server::builder().certificate(chain, other_key).build().unwrap_err();
    let of_memory = |origin: &Origin| *origin == Origin::Memory && origin.path().is_none();
    assert!(
        matches!(&error, ConfigError::KeyMismatch { certificate, key }
            if of_memory(certificate) && of_memory(key)),
        "{error:?}"
    );
    let error = Server::builder().certificate(Vec::new(), key).build().unwrap_err();
    assert!(matches!(error, ConfigError::NoCertificateFound { origin: Origin::Memory }));
    let error = Client::builder().root_certificates(Vec::new()).build().unwrap_err();
    assert!(matches!(error, ConfigError::NoCertificateFound { origin: Origin::Memory }));
    let broken = Roots::from(vec![CertificateDer::from(vec![1, 2, 3])]);
    let error = Client::builder().root_certificates(broken).build().unwrap_err();
    assert!(matches!(
        error,
        ConfigError::UnusableCertificate { origin: Origin::Memory, position: 1, .. }
    ));
}

// TLS-03: a server needs a real context
#[test]
fn a_server_without_a_certificate_is_refused() {
    let error = Server::builder().build().unwrap_err();
    assert!(matches!(error, ConfigError::NoCertificate), "{error:?}");
}

/// Changes both sides alike; both have to refuse it with this text.
fn check_choice(
    client: impl FnOnce(ClientBuilder) -> ClientBuilder,
    server: impl FnOnce(ServerBuilder) -> ServerBuilder,
    expected: &str,
) {
    // What is wrong without any file is found before any file is read.
    let missing = "/no/such/file.pem";
    let of_client = client(Client::builder().root_certificates(missing)).build().unwrap_err();
    let of_server = server(Server::builder().certificate_files(missing, missing)).build();
    assert_eq!(of_client.to_string(), expected);
    assert_eq!(of_server.unwrap_err().to_string(), expected);
    assert_eq!(io::Error::from(of_client).kind(), io::ErrorKind::InvalidInput);
}

// TLS-02
#[test]
fn a_time_limit_of_nothing_is_refused() {
    let zero = Duration::ZERO;
    let handshake = "ssl_handshake_timeout should be a positive number, got 0";
    let shutdown = "ssl_shutdown_timeout should be a positive number, got 0";
    check_choice(|c| c.handshake_timeout(zero), |s| s.handshake_timeout(zero), handshake);
    check_choice(|c| c.shutdown_timeout(zero), |s| s.shutdown_timeout(zero), shutdown);

    let authority = Authority::new();
    let (client, server) = (authority.client(), authority.server());
    let check = |error: ConfigError, name: &str, text: &str| {
        assert!(
            matches!(error, ConfigError::Timeout { name: n, given: Duration::ZERO } if n == name)
        );
        assert_eq!(error.to_string(), text);
    };
    let error = client.clone().with_handshake_timeout(zero).unwrap_err();
    check(error, "ssl_handshake_timeout", handshake);
    check(client.with_shutdown_timeout(zero).unwrap_err(), "ssl_shutdown_timeout", shutdown);
    let error = server.clone().with_handshake_timeout(zero).unwrap_err();
    check(error, "ssl_handshake_timeout", handshake);
    check(server.with_shutdown_timeout(zero).unwrap_err(), "ssl_shutdown_timeout", shutdown);
}

#[test]
fn a_protocol_has_a_name_of_one_to_255_bytes() {
    let text = |length| format!("ALPN protocols must be 1 to 255 bytes long, got {length} bytes");
    check_choice(|c| c.alpn(["h2", ""]), |s| s.alpn(["h2", ""]), &text(0));
    let long = "x".repeat(256);
    check_choice(|c| c.alpn([&long]), |s| s.alpn([&long]), &text(256));
    let authority = Authority::new();
    authority.client_builder().alpn(["x".repeat(255)]).build().expect("255 bytes");
}

#[test]
fn versions_that_nobody_speaks_are_refused() {
    let none = Version::Tls13..=Version::Tls12;
    let text = "the provider supports no version of TLS from TLSv1.3 to TLSv1.2";
    check_choice(|c| c.versions(none.clone()), |s| s.versions(none.clone()), text);

    // A provider whose cipher suites are all of TLS 1.3 has no TLS 1.2.
    let authority = Authority::new();
    let mut crypto = CryptoProvider::clone(Provider::default().crypto());
    crypto.cipher_suites.retain(|suite| suite.tls13().is_some());
    let newest_only = Provider::from(crypto);
    let older = Version::Tls12..=Version::Tls12;
    let builder = authority.client_builder().provider(newest_only.clone());
    let error = builder.versions(older.clone()).build().unwrap_err();
    assert!(matches!(error, ConfigError::Versions { .. }), "{error:?}");
    let builder = authority.server_builder().provider(newest_only.clone());
    let error = builder.versions(older).build().unwrap_err();
    assert!(matches!(error, ConfigError::Versions { .. }), "{error:?}");
    authority.client_builder().provider(newest_only).build().expect("one version is enough");
}

#[test]
fn an_error_keeps_its_kind_and_its_cause_as_an_error_of_io() {
    let error =
        io::Error::from(Server::from_pem_files("/no/such.pem", "/no/such.key").unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<ConfigError>());
    assert!(matches!(inner, Some(ConfigError::File { .. })), "{error:?}");
    assert!(inner.and_then(|inner| inner.source()).is_some(), "the system's error is the source");

    let authority = Authority::new();
    let error = io::Error::from(refused_chain(&authority, ""));
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let error = refused_key(&authority, NO_KEY);
    assert!(error.source().is_some(), "rustls's error is the source");
}

#[test]
fn a_configuration_can_be_made_on_another_thread() {
    let authority = Authority::new();
    let roots = authority.roots_pem();
    let builder = Client::builder().root_certificates(roots);
    let client = thread::spawn(move || builder.build()).join().unwrap().unwrap();
    let server = authority.server();
    let text = format!("{client:?} {server:?}");
    assert!(text.contains("60s") && text.contains("30s"), "{text}");
}

/// Says in the program that plays a part which one.
const PART: &str = "TIDEGATE_TLS_PART";

/// Runs the test `name` again in a program of its own, in which it plays a part and has these variables.
fn run_again(name: &str, part: &str, variables: &[(&str, &Path)]) {
    let mut program = Command::new(env::current_exe().expect("this program"));
    program
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .envs(variables.iter().copied());
    let output = watched(|| program.output().expect("this program"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{part}: {said}");
}

/// The part to be played, if this program was started for one.
fn part() -> Option<String> {
    env::var(PART).ok()
}

#[test]
fn the_system_is_trusted_unless_other_roots_are_given() {
    match part().as_deref() {
        None => (),
        Some("nobody is trusted") => return nobody_is_trusted(),
        Some(_) => return somebody_is_trusted(),
    }
    let authority = Authority::new();
    let folder = authority.folder().join("nobody");
    fs::create_dir(&folder).unwrap();
    let (empty, roots) = (authority.file("empty.pem", ""), authority.roots_pem());
    let name = "the_system_is_trusted_unless_other_roots_are_given";
    for (part, file) in [("nobody is trusted", empty), ("somebody is trusted", roots)] {
        run_again(name, part, &[("SSL_CERT_FILE", &file), ("SSL_CERT_DIR", &folder)]);
    }
}

fn nobody_is_trusted() {
    let check = |builder: ClientBuilder| {
        let error = builder.build().unwrap_err();
        assert_names!(error, ConfigError::SystemTrust { .. }, "root_certificates");
    };
    check(Client::builder());
    check(Client::builder().system_roots());
    check(Client::builder().danger_accept_any_hostname());
    Client::builder().danger_accept_any_certificate().build().expect("nobody has to be trusted");
    let authority = Authority::new();
    let builder = || authority.client_builder();
    builder().build().expect("one is trusted");
    builder().system_roots().build().expect("one is trusted, if not the system's");
    let builder = builder().system_roots().danger_accept_any_hostname();
    builder.build().expect("one is trusted, if not the system's");
}

fn somebody_is_trusted() {
    Client::new().expect("the system trusts one");
    Client::builder().danger_accept_any_hostname().build().expect("the system trusts one");
}

#[test]
fn keys_are_logged_only_when_asked_for() {
    match part().as_deref() {
        None => (),
        Some("nobody asks") => return drop((Authority::new().client(), Authority::new().server())),
        Some("someone asks") => return keys_are_logged(),
        Some(_) => return keys_cannot_be_logged(),
    }
    let name = "keys_are_logged_only_when_asked_for";
    let authority = Authority::new();
    let log = authority.folder().join("keys.log");
    run_again(name, "nobody asks", &[("SSLKEYLOGFILE", &log)]);
    assert!(!log.exists(), "nobody asked for it");
    run_again(name, "someone asks", &[("SSLKEYLOGFILE", &log)]);
    let mode = fs::metadata(&log).expect("it was asked for").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
    run_again(name, "in vain", &[("SSLKEYLOGFILE", Path::new("/no/such/keys.log"))]);
}

fn keys_are_logged() {
    let authority = Authority::new();
    authority.client_builder().key_log_file().build().expect("a file that can be written");
    authority.server_builder().key_log_file().build().expect("a file that can be written");
}

fn keys_cannot_be_logged() {
    let authority = Authority::new();
    let check = |error: ConfigError| {
        assert_names!(&error, ConfigError::KeyLog { .. }, "/no/such/keys.log");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    };
    check(authority.client_builder().key_log_file().build().unwrap_err());
    check(authority.server_builder().key_log_file().build().unwrap_err());
}

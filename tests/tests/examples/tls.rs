//! The examples that speak TLS: among each other, with openssl, and with servers that cut an answer short.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tidegate_tls::rustls::crypto::aws_lc_rs;
use tidegate_tls::rustls::pki_types::PrivateKeyDer;
use tidegate_tls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::programs::{Serving, check, output, printed, refused, text, watched_with_examples};

/// The echo server with a certificate of its own, and where that is.
fn echo_server() -> (Serving, String) {
    let mut server = Serving::start("tls_echo_server", &["127.0.0.1:0"], "serving on ");
    let line = server.line();
    let file = line.strip_prefix("its certificate is in ").and_then(|rest| rest.split(';').next());
    let file = file.unwrap_or_else(|| panic!("{line:?} names no file")).to_owned();
    let advice = server.line();
    assert!(advice.ends_with(&format!("{} --root-certificates {file}", server.address)));
    (server, file)
}

#[test]
fn the_tls_echo_client_is_answered_by_the_tls_echo_server() {
    watched_with_examples(|| {
        let (mut server, file) = echo_server();
        let address = server.address.to_string();
        for name in ["127.0.0.1", "localhost"] {
            let arguments = [&address, "--root-certificates", &file, "--name", name];
            check(
                &printed("tls_echo_client", &arguments),
                &[
                    "connected: TLSv1.3, TLS_",
                    r#"sent "Hello World!""#,
                    r#"received "Hello World!""#,
                    "the connection is closed",
                ],
            );
            let line = server.line();
            assert!(line.starts_with("connection from 127.0.0.1:"), "{line}");
            assert!(line.contains(": TLSv1.3, TLS_"), "{line}");
            assert_eq!(server.line(), "connection closed");
        }
        // What it made goes with it.
        assert!(Path::new(&file).exists());
        let (_, _, complaints) = server.interrupted();
        assert_eq!(complaints, "error: interrupted by SIGINT\n");
        assert!(!Path::new(&file).exists());
    });
}

#[test]
fn a_server_that_cannot_prove_who_it_is_is_refused() {
    watched_with_examples(|| {
        let (server, file) = echo_server();
        let address = server.address.to_string();
        let (_other, other_file) = echo_server();
        let cases: [(&[&str], &str); 4] = [
            (&[&address, "--root-certificates", &other_file], "UnknownIssuer"),
            (&[&address, "--root-certificates", &file, "--name", "other.example"], "other.example"),
            (&[&address, "--root-certificates", "/no/such/file"], "cannot read /no/such/file"),
            (&[&address, "--root-certificates", &file, "--name", "no name"], "no name"),
        ];
        for (arguments, complaint) in cases {
            let ended = output("tls_echo_client", arguments);
            assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
            let complaints = text(&ended.stderr);
            assert!(complaints.starts_with("error: "), "{arguments:?}: {complaints}");
            assert!(complaints.contains(complaint), "{arguments:?}: {complaints}");
            assert_eq!(text(&ended.stdout), "", "{arguments:?}");
        }
        // None of them harmed it.
        check(
            &printed("tls_echo_client", &[&address, "--root-certificates", &file]),
            &["the connection is closed"],
        );
    });
}

#[test]
fn files_that_are_no_certificate_are_refused_by_name() {
    watched_with_examples(|| {
        let (_server, file) = echo_server();
        let key = PathBuf::from(&file).with_file_name("key.pem");
        let key = key.to_str().expect("a readable path");
        let check = |chain: &str, key: &str, complaint: &str| {
            let arguments = ["127.0.0.1:0", "--certificate", chain, "--key", key];
            let ended = output("tls_echo_server", &arguments);
            assert_eq!(ended.status.code(), Some(1));
            let complaints = text(&ended.stderr);
            assert!(complaints.starts_with("error: "), "{complaints}");
            assert!(complaints.contains(complaint), "{complaints}");
            assert_eq!(text(&ended.stdout), "");
        };
        check(&file, &file, &format!("no private key in {file}"));
        check(key, key, &format!("no certificate in {key}"));
        check("/no/such/file", key, "cannot read /no/such/file");
        refused("tls_echo_server", &["--certificate", &file], "--key <KEY>");
        refused("tls_echo_server", &["--key", key], "--certificate <CHAIN>");

        let arguments = ["127.0.0.1:0", "--certificate", &file, "--key", key];
        let second = Serving::start("tls_echo_server", &arguments, "serving on ");
        let address = second.address.to_string();
        check_echo(&address, &file);
    });
}

fn check_echo(address: &str, file: &str) {
    check(
        &printed("tls_echo_client", &[address, "--root-certificates", file]),
        &[r#"received "Hello World!""#],
    );
}

#[test]
fn a_mail_goes_over_a_connection_that_began_in_clear() {
    let printed = printed("starttls_smtp", &[]);
    check(
        &printed,
        &[
            "server: 220 mail.example",
            "client: EHLO client.example",
            "server: 250 STARTTLS",
            "client: STARTTLS",
            "server: 220 go ahead",
            "--- TLSv1.3, TLS_",
            "client: EHLO client.example",
            "client: MAIL FROM:<moon@sky.example>",
            "client: It is time.",
            "server: 250 accepted",
            "server: 221 bye",
            "server: the connection is closed",
        ],
    );
}

/// The server of mail alone, and where its certificate is.
fn mail_server() -> (Serving, String) {
    let mut server = Serving::start("starttls_smtp", &["127.0.0.1:0"], "serving on ");
    let line = server.line();
    let file = line.strip_prefix("its certificate is in ").map(str::to_owned);
    (server, file.unwrap_or_else(|| panic!("{line:?} names no file")))
}

#[test]
fn a_mail_is_not_taken_in_clear_and_commands_are_not_injected() {
    watched_with_examples(|| {
        let (mut server, _) = mail_server();
        let mut client = BufReader::new(TcpStream::connect(server.address).unwrap());
        let mut says = |text: &[u8]| {
            client.get_mut().write_all(text).unwrap();
            let mut answer = String::new();
            client.read_line(&mut answer).unwrap();
            answer.trim_end().to_owned()
        };
        assert_eq!(says(b""), "220 mail.example");
        assert_eq!(says(b"MAIL FROM:<moon@sky.example>\r\n"), "530 STARTTLS first");
        // What stands behind the last word in clear may be anybody's.
        says(b"STARTTLS\r\nMAIL FROM:<thief@sky.example>\r\n");
        let mut rest = Vec::new();
        let _reset = client.read_to_end(&mut rest);
        let line = server.line();
        assert!(line.starts_with("server: the connection is lost: "), "{line}");
        assert!(line.contains("31 bytes"), "{line}");
    });
}

/// openssl's client, which says this over TLS once that stands.
fn openssl(test: &str, arguments: &[&str], said: &str) -> Option<Output> {
    if !xtask::programs::is_installed("openssl") {
        eprintln!("skipped: {test}: openssl is not installed");
        return None;
    }
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It goes on reading when its input has ended, until the server closes.
    client.stdin.take().unwrap().write_all(said.as_bytes()).unwrap();
    Some(client.wait_with_output().unwrap())
}

#[test]
fn openssl_hands_over_a_mail() {
    watched_with_examples(|| {
        let (server, file) = mail_server();
        let address = server.address.to_string();
        let arguments = ["-starttls", "smtp", "-connect", &address, "-CAfile", &file, "-crlf"];
        let said = "EHLO x\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\nDATA\nHi.\n.\nQUIT\n";
        let Some(ended) = openssl("openssl_hands_over_a_mail", &arguments, said) else { return };
        assert!(ended.status.success(), "{}", text(&ended.stderr));
        check(
            &text(&ended.stdout),
            &["250 hello", "250 fine", "250 fine", "354", "250 accepted", "221 bye"],
        );
    });
}

#[test]
fn openssl_comes_in_by_either_version_and_leaves() {
    let test = "openssl_comes_in_by_either_version_and_leaves";
    watched_with_examples(|| {
        let (mut server, file) = echo_server();
        let address = server.address.to_string();
        for version in ["-tls1_2", "-tls1_3"] {
            // At the end of its input it leaves, perhaps before an answer is there: so it says nothing.
            let arguments = ["-no_ign_eof", version, "-connect", &address, "-CAfile", &file];
            let Some(ended) = openssl(test, &arguments, "") else { return };
            assert!(ended.status.success(), "{}", text(&ended.stderr));
            let line = server.line();
            assert!(
                line.contains(if version == "-tls1_2" { "TLSv1.2" } else { "TLSv1.3" }),
                "{line}"
            );
            assert_eq!(server.line(), "connection closed");
        }
    });
}

/// A web server over TLS that answers one client, and ends with close_notify or without; and its certificate.
fn web(folder: &Path, ends_properly: bool) -> (SocketAddr, PathBuf, JoinHandle<Vec<String>>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = folder.join("web.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let session = ServerConnection::new(config).unwrap();
        let mut client = BufReader::new(StreamOwned::new(session, stream));
        let lines = client.by_ref().lines().map(Result::unwrap);
        let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let stream = client.get_mut();
        stream.write_all(b"HTTP/1.0 200 OK\r\nServer: none\r\n\r\n").unwrap();
        if ends_properly {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        request
    });
    (address, file, server)
}

#[test]
fn the_headers_of_a_page_come_over_tls() {
    watched_with_examples(|| {
        let folder = tempfile::tempdir().unwrap();
        let (address, file, server) = web(folder.path(), true);
        let url = format!("https://localhost:{}/tide?x", address.port());
        let file = file.to_str().unwrap();
        let headers = printed("http_headers", &[&url, "--root-certificates", file]);
        assert_eq!(headers, "HTTP/1.0 200 OK\nServer: none\n");
        let host = format!("Host: localhost:{}", address.port());
        assert_eq!(server.join().unwrap(), ["HEAD /tide?x HTTP/1.0".to_owned(), host]);
    });
}

#[test]
fn an_answer_that_was_cut_short_is_told_apart_unless_that_is_accepted() {
    watched_with_examples(|| {
        let folder = tempfile::tempdir().unwrap();
        for accepted in [false, true] {
            let (address, file, server) = web(folder.path(), false);
            let url = format!("https://localhost:{}/", address.port());
            let mut arguments = vec![&*url, "--root-certificates", file.to_str().unwrap()];
            if accepted {
                arguments.push("--accept-truncation");
            }
            let ended = output("http_headers", &arguments);
            server.join().unwrap();
            assert_eq!(text(&ended.stdout), "HTTP/1.0 200 OK\nServer: none\n");
            assert_eq!(ended.status.success(), accepted);
            let complaints = text(&ended.stderr);
            let told = complaints.contains("closed without close_notify")
                && complaints.contains("--accept-truncation");
            assert!(accepted == complaints.is_empty() && accepted != told, "{complaints}");
        }
    });
}

#[test]
fn a_page_over_tls_is_refused_from_who_speaks_otherwise() {
    watched_with_examples(|| {
        let plain = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = plain.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = plain.accept().unwrap();
            client.read_exact(&mut [0; 16]).unwrap();
            client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").unwrap();
        });
        let ended = output("http_headers", &[&format!("https://{address}/")]);
        server.join().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        let complaints = text(&ended.stderr);
        check(&complaints, &["error: what the peer sent is not TLS", "(http:// is for servers"]);
        refused(
            "http_headers",
            &["http://localhost/", "--accept-truncation"],
            "--accept-truncation are for https://",
        );
    });
}

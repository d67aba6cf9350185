//! The examples that speak HTTP: the headers of a page, and hyper's server, which is asked by curl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use super::programs::{Serving, check, output, printed, refused, text, watched_with_examples};

const LARGE: usize = 100 << 20;

/// More than a server needs that holds only a few pieces of a body, in KiB.
const MOST_MEMORY: u64 = 32 << 10;

#[test]
fn the_headers_of_a_page_are_printed() {
    watched_with_examples(|| {
        let web = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = web.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = web.accept().unwrap();
            let lines = BufReader::new(client.try_clone().unwrap()).lines();
            let request: Vec<String> =
                lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            client
                .write_all(b"HTTP/1.0 200 OK\r\nServer: none\r\nX: y\r\n\r\nno header\r\n")
                .unwrap();
            request
        });
        let url = format!("http://{address}?q=1#part");
        assert_eq!(printed("http_headers", &[&url]), "HTTP/1.0 200 OK\nServer: none\nX: y\n");
        let request = ["HEAD /?q=1 HTTP/1.0".to_owned(), format!("Host: {address}")];
        assert_eq!(server.join().unwrap(), request);
    });
}

#[test]
fn what_is_no_text_is_not_printed_as_it_comes() {
    let check = |answer: &'static [u8], printed: &str, complaint: &str| {
        let web = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", web.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut client, _) = web.accept().unwrap();
            for line in BufReader::new(client.try_clone().unwrap()).lines() {
                if line.unwrap().is_empty() {
                    break;
                }
            }
            client.write_all(answer).unwrap();
        });
        let ended = output("http_headers", &[&url]);
        server.join().unwrap();
        assert_eq!(text(&ended.stdout), printed);
        assert_eq!(text(&ended.stderr), complaint);
        assert_eq!(ended.status.success(), complaint.is_empty());
    };
    watched_with_examples(|| {
        check(
            b"HTTP/1.0 200 OK\r\nEtag: \"caf\xc3\xa9\"\r\nX: \xff\x1b[2J\r\n\r\n",
            "HTTP/1.0 200 OK\nEtag: \"caf\u{e9}\"\nX: \\xff\\u{1b}[2J\n",
            "",
        );
        // An alert of TLS.
        check(
            b"\x15\x03\x03\0\x02\x02\x32",
            "",
            "error: the server does not speak HTTP: \"\\x15\\x03\\x03\\x00\\x02\\x022\"\n\
             (https:// is for servers that speak TLS)\n",
        );
        check(
            b"",
            "",
            "error: the server does not speak HTTP: \"\"\n\
             (https:// is for servers that speak TLS)\n",
        );
    });
}

#[test]
fn a_url_that_cannot_be_asked_for_is_refused() {
    watched_with_examples(|| {
        let check = |url: &str, complaint: &str| refused("http_headers", &[url], complaint);
        check("https:///", "the host is missing");
        check("ftp://localhost/", "is not http://");
        check("localhost", "http://HOST is expected");
        check("http:///", "the host is missing");
        check("http://:80/", "the host is missing");
        check("http://localhost:http/", "is not a port");
        check("http://::1/", "needs brackets");
        check("http://me@localhost/", "names and passwords are not supported");
        check("http://localhost/\r\nX: y", "no blanks");
        refused("http_headers", &[], "URL");
    });
}

#[test]
fn the_headers_of_hyper_are_printed() {
    watched_with_examples(|| {
        let server = serve();
        let headers = printed("http_headers", &[&format!("http://{}/bytes/7", server.address)]);
        check(&headers, &["HTTP/1.0 200 OK", "content-length: 7"]);
        let headers = printed("http_headers", &[&format!("http://{}/nothing", server.address)]);
        check(&headers, &["HTTP/1.0 404 Not Found"]);
    });
}

#[test]
fn one_connection_serves_several_requests_of_curl() {
    if is_skipped("one_connection_serves_several_requests_of_curl") {
        return;
    }
    watched_with_examples(|| {
        let server = serve();
        // After each answer: its code, and how many connections it took.
        let told = "%{http_code} %{num_connects}\n";
        let mut curl = curl(&server, &["/", "/bytes/3", "/nothing", "/bytes/x", "/count"]);
        let asked = curl.args(["--write-out", told]).output().unwrap();
        assert!(asked.status.success(), "{}", text(&asked.stderr));
        assert_eq!(
            text(&asked.stdout),
            "Hello from hyper!\n200 1\n...200 0\nthere is no such page\n404 0\n\
             there is no such page\n404 0\nnot like that\n405 0\n"
        );
    });
}

#[test]
fn curl_gets_a_large_body_that_the_server_never_holds() {
    if is_skipped("curl_gets_a_large_body_that_the_server_never_holds") {
        return;
    }
    watched_with_examples(|| {
        let server = serve();
        let asking = curl(&server, &[&format!("/bytes/{LARGE}")]).stdout(Stdio::piped()).spawn();
        let mut asking = asking.unwrap();
        let mut received = 0;
        let mut piece = vec![0; 1 << 20];
        let mut body = asking.stdout.take().unwrap();
        loop {
            let length = body.read(&mut piece).unwrap();
            if length == 0 {
                break;
            }
            assert!(piece[..length].iter().all(|byte| *byte == b'.'), "behind {received} bytes");
            received += length;
        }
        assert!(asking.wait().unwrap().success());
        assert_eq!(received, LARGE);
        check_memory(&server);
    });
}

#[test]
fn curl_sends_a_large_body_that_the_server_never_holds() {
    if is_skipped("curl_sends_a_large_body_that_the_server_never_holds") {
        return;
    }
    watched_with_examples(|| {
        let server = serve();
        // In chunks of HTTP as it comes, and as one body of a known length.
        for how in
            [["--request", "POST", "--upload-file", "-"].as_slice(), &["--data-binary", "@-"]]
        {
            let mut sending = curl(&server, &["/count"])
                .args(how)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut body = sending.stdin.take().unwrap();
            let piece = vec![b'-'; 1 << 20];
            for _ in 0..LARGE / piece.len() {
                body.write_all(&piece).unwrap();
            }
            drop(body);
            let sent = sending.wait_with_output().unwrap();
            assert!(sent.status.success(), "{how:?}");
            assert_eq!(text(&sent.stdout), format!("{LARGE} bytes\n"), "{how:?}");
        }
        check_memory(&server);
    });
}

#[test]
fn hyper_goes_on_when_a_client_is_gone() {
    watched_with_examples(|| {
        let mut server = serve();
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"GET /bytes/1000000000000 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        drop(client);
        assert!(server.complaint().starts_with("a connection broke off: "));
        let url = format!("http://{}/", server.address);
        check(&printed("http_headers", &[&url]), &["HTTP/1.0 200 OK"]);
    });
}

fn serve() -> Serving {
    Serving::start("hyper_server", &["127.0.0.1:0"], "serving on http://")
}

/// Says so if a test cannot ask curl.
fn is_skipped(test: &str) -> bool {
    let is_missing = !xtask::programs::is_installed("curl");
    if is_missing {
        eprintln!("skipped: {test}: curl is not installed");
    }
    is_missing
}

/// curl, which asks a server for these pages, one after the other.
fn curl(server: &Serving, pages: &[&str]) -> Command {
    let mut curl = Command::new("curl");
    // Neither a proxy nor the settings of whoever runs the tests.
    curl.args(["--disable", "--noproxy", "*", "--silent", "--show-error"]);
    curl.args(pages.iter().map(|page| format!("http://{}{page}", server.address)));
    curl
}

fn check_memory(server: &Serving) {
    if let Some(most) = server.most_memory() {
        assert!(most < MOST_MEMORY, "the server has had {most} KiB");
    }
}

//! The example that sends a file.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::programs::{Serving, output, text, watched_with_examples};

#[test]
fn the_file_server_sends_a_file_and_the_rest_of_one() {
    watched_with_examples(|| {
        let path = std::env::temp_dir().join(format!("tidegate-example-{}", std::process::id()));
        let content: Vec<u8> = (0..3_000_000_u32).map(|place| (place % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let name = path.to_str().unwrap();
        let mut server = Serving::start("send_file", &[name, "127.0.0.1:0"], "serving on ");
        for (range, offset, status) in [
            ("", 0, "200 OK"),
            ("range: bytes=1000-\r\n", 1_000, "206 Partial Content"),
            ("Range: bytes=3000000-\r\n", content.len(), "416 Range Not Satisfiable"),
        ] {
            let mut client = TcpStream::connect(server.address).unwrap();
            write!(client, "GET / HTTP/1.0\r\n{range}\r\n").unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            let head = String::from_utf8_lossy(&answer[..end]);
            assert!(head.starts_with(&format!("HTTP/1.0 {status}\r\n")), "{head}");
            assert!(answer[end..] == content[offset..]);
            if offset < content.len() {
                let sent = content.len() - offset;
                assert!(head.contains(&format!("\r\nContent-Length: {sent}\r\n")), "{head}");
                assert_eq!(server.line(), format!("sent {sent} bytes, from {offset} on"));
            }
        }
        std::fs::remove_file(&path).unwrap();
        let refused = output("send_file", &[name]);
        assert!(!refused.status.success());
        assert!(text(&refused.stderr).contains("No such file"));
    });
}

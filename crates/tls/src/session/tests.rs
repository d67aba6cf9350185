//! Two sessions that are driven against each other by hand, with what they send cut into pieces.

use std::sync::Arc;

use crate::authority::Authority;
use crate::error::{CertificateProblem, TlsError};
use crate::scratch::Outgoing;

use super::Session;

/// One end, and what has come for it and was not used up.
struct End {
    session: Session,
    plain: Vec<u8>,
    out: Outgoing,
}

impl End {
    fn new(session: Session) -> End {
        End { session, plain: Vec::new(), out: Outgoing::default() }
    }

    /// Takes bytes, as they come.
    fn takes(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        let mut received = self.session.take_rest();
        received.extend_from_slice(bytes);
        self.session.receive(&mut received, &mut self.plain, &mut self.out)
    }

    /// What it wants to be sent.
    fn says(&mut self) -> Vec<u8> {
        let said = self.out.bytes().to_vec();
        self.out.clear();
        said
    }
}

/// A client and a server that sends its handshake in records of this size.
fn ends(client: &Authority, server: &Authority, record: Option<usize>) -> (End, End) {
    let client = client.client();
    let name = client.server_name("localhost").expect("a name");
    let server = server.server();
    let mut config = rustls::ServerConfig::clone(server.rustls());
    config.max_fragment_size = record;
    (
        End::new(Session::client(client.rustls(), name).expect("a session")),
        End::new(Session::server(&Arc::new(config)).expect("a session")),
    )
}

#[test]
fn a_refused_certificate_is_told_by_an_alert() {
    let (mut client, mut server) = ends(&Authority::new(), &Authority::new(), None);
    client.takes(b"").unwrap();
    server.takes(&client.says()).unwrap();
    // The certificate is followed by more of the server's, which is not looked at any more.
    let refused = client.takes(&server.says());
    assert!(
        matches!(refused, Err(TlsError::Certificate(CertificateProblem::UnknownIssuer, _))),
        "{refused:?}"
    );
    let told = server.takes(&client.says());
    assert!(
        matches!(told, Err(TlsError::Alert(alert)) if alert.name() == "unknown_ca"),
        "{told:?}"
    );
}

#[test]
fn what_is_no_tls_is_answered_by_one_alert() {
    let authority = Authority::new();
    for plain in [&b"HTTP/1.0 400 Bad Request\r\n\r\n"[..], &[0x17, 3, 3, 0xff, 0xff, 0], &[0; 64]]
    {
        let (mut client, mut server) = ends(&authority, &authority, None);
        client.takes(b"").unwrap();
        client.says();
        for end in [&mut client, &mut server] {
            let refused = end.takes(plain);
            assert!(refused.is_err(), "{plain:?}");
            let said = end.says();
            // An alert in clear: its type, version, length, level and number.
            assert!(matches!(said[..], [0x15, 3, _, 0, 2, 2, _]), "{plain:?}: {said:?}");
        }
    }
}

#[test]
fn it_encrypts_while_a_message_of_the_peer_is_on_its_way() {
    let authority = Authority::new();
    // Its session tickets do not fit into a record of this size.
    let (mut client, mut server) = ends(&authority, &authority, Some(64));
    client.takes(b"").unwrap();
    while client.session.is_handshaking() {
        server.takes(&client.says()).unwrap();
        client.takes(&server.says()).unwrap();
    }
    server.takes(&client.says()).unwrap();
    let tickets = server.says();
    assert!(tickets.len() > 128, "{} bytes", tickets.len());
    for byte in tickets {
        client.takes(&[byte]).unwrap();
        client.session.encrypt(b"x", &mut client.out).unwrap();
        server.takes(&client.says()).unwrap();
    }
    assert!(server.plain.len() > 128 && server.plain.iter().all(|byte| *byte == b'x'));
    client.session.close_notify(&mut client.out).unwrap();
    server.takes(&client.says()).unwrap();
    assert!(server.session.peer_has_ended());
}

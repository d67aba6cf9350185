//! Two sessions that talk with each other: what comes in pieces, and what is refused.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::authority::Authority;
use crate::error::CertificateProblem;

/// One end, with what it has received and not used up.
struct End {
    session: Session,
    received: Vec<u8>,
    plain: Vec<u8>,
}

impl End {
    fn new(session: Result<Session, TlsError>) -> End {
        let session = session.expect("a session");
        End { session, received: Vec::new(), plain: Vec::new() }
    }

    /// Receives, and answers what it has to send.
    fn receive(&mut self, bytes: &[u8]) -> Result<Vec<u8>, (TlsError, Vec<u8>)> {
        let mut out = Outgoing::default();
        self.received.extend_from_slice(bytes);
        match self.session.receive(&mut self.received, &mut self.plain, &mut out) {
            Ok(used) => {
                self.received.drain(..used);
                Ok(out.bytes().to_vec())
            }
            Err(error) => Err((error, out.bytes().to_vec())),
        }
    }

    fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Outgoing::default();
        self.session.encrypt(plain, &mut self.received, &mut out).expect("keys");
        out.bytes().to_vec()
    }
}

/// A server whose records are as short as can be, so that what belongs together comes in many, and its client.
fn in_pieces() -> (End, End) {
    let authority = Authority::new();
    let pem = authority.certificate(&["localhost"]);
    let chain = CertificateDer::pem_file_iter(&pem.chain).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&pem.key).expect("a key");
    let provider = crate::Provider::default().crypto().clone();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.expect("a certificate");
    config.max_fragment_size = Some(32);
    let client = authority.client();
    let name = client.server_name("localhost").expect("a name");
    let client = End::new(Session::client(client.rustls(), name));
    (client, End::new(Session::server(&Arc::new(config))))
}

#[test]
fn an_end_sends_while_a_message_of_the_other_is_on_its_way() {
    let (mut client, mut server) = in_pieces();
    let mut to_server = client.receive(&[]).expect("a hello");
    let mut sent = 0;
    let mut to_client = Vec::new();
    while !to_server.is_empty() || !to_client.is_empty() {
        to_client.extend(server.receive(&to_server).expect("a handshake"));
        to_server.clear();
        for byte in std::mem::take(&mut to_client) {
            to_server.extend(client.receive(&[byte]).expect("a handshake"));
            if !client.session.is_handshaking() {
                // In the middle of the tickets that the server sends, too.
                to_server.extend(client.encrypt(b"x"));
                sent += 1;
            }
        }
    }
    assert!(sent > 100, "the tickets came in one piece: {sent}");
    assert_eq!(server.plain, vec![b'x'; sent]);
}

#[test]
fn an_alert_is_sent_when_a_message_in_the_middle_is_refused() {
    let ((_, mut server), stranger) = (in_pieces(), Authority::new().client());
    let name = stranger.server_name("localhost").expect("a name");
    let mut client = End::new(Session::client(stranger.rustls(), name));
    let hello = client.receive(&[]).expect("a hello");
    let answer = server.receive(&hello).expect("an answer");
    let (error, alert) = client.receive(&answer).expect_err("a stranger");
    let unknown = CertificateProblem::UnknownIssuer;
    assert!(matches!(error, TlsError::Certificate(problem, _) if problem == unknown), "{error}");
    let (error, _) = server.receive(&alert).expect_err("an alert");
    assert!(matches!(error, TlsError::Alert(_)), "{error}");
}

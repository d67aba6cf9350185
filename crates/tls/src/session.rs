//! The TLS session itself, with no transport and no protocol: the only file that knows how rustls is driven.
//!
//! A session is given what was received and answers with plaintext and with bytes to be sent; it is given plaintext and
//! answers with records. It owns no buffer but the beginning of what has not come whole yet: rustls's unbuffered
//! connections decrypt in place, so an idle session is little more than its keys.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};
use tidegate_protocols::Cause;

use crate::config::{Version, asked_name_of};
use crate::error::TlsError;
use crate::info::{Alpn, Cipher, Facts, PeerCertificates, SessionReused, TlsName};
use crate::scratch::Outgoing;

/// What one record adds to its plaintext at most: header, nonce, type, tag.
const RECORD_OVERHEAD: usize = 64;

/// How much may be kept that cannot be used yet: the largest message of the handshake, in records of a decent size.
const LARGEST_REST: usize = 128 * 1024;

/// The most plaintext that one record holds.
pub(crate) const RECORD: usize = 16 * 1024;

/// One end of a TLS connection.
pub(crate) struct Session {
    side: Side,
    /// What was received and is not used up: the beginning of a record, or records that hold the beginning of a
    /// message. rustls remembers places in it, so it is shown the same bytes at each call.
    rest: Vec<u8>,
    peer_has_ended: bool,
}

enum Side {
    Client(Box<UnbufferedClientConnection>, ServerName<'static>),
    /// With the name that its client has asked for.
    Server(Box<UnbufferedServerConnection>, Option<Box<str>>),
}

/// Calls rustls, whose two sides share their methods and not their type.
macro_rules! for_side {
    ($session:expr, $connection:ident => $do:expr) => {
        match &mut $session.side {
            Side::Client($connection, _) => $do,
            Side::Server($connection, _) => $do,
        }
    };
}

impl Session {
    /// The client's end, towards the server of that name.
    pub(crate) fn client(
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Session, TlsError> {
        let connection =
            caught(|| Ok(UnbufferedClientConnection::new(Arc::clone(config), name.clone())?))?;
        Ok(Session::new(Side::Client(Box::new(connection), name)))
    }

    /// The server's end.
    pub(crate) fn server(config: &Arc<ServerConfig>) -> Result<Session, TlsError> {
        let connection = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Session::new(Side::Server(Box::new(connection), None)))
    }

    fn new(side: Side) -> Session {
        Session { side, rest: Vec::new(), peer_has_ended: false }
    }

    /// What was received before and is not used up, to be received again with what follows it.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    /// Keeps what was received, for later.
    pub(crate) fn keep_rest(&mut self, rest: &[u8]) {
        self.rest = rest.to_vec();
    }

    /// Takes `received`, which begins with the [rest](Session::take_rest), and keeps what is not used up.
    ///
    /// Plaintext is appended to `plain`, what has to be sent to `out`: also when it fails, an alert.
    pub(crate) fn receive(
        &mut self,
        received: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Result<(), TlsError> {
        if matches!(self.side, Side::Client(..)) || !self.is_handshaking() {
            return self.take_in(received, plain, out);
        }
        let (taken, asked) = asked_name_of(|| self.take_in(received, plain, out));
        if let Side::Server(_, name @ None) = &mut self.side {
            *name = asked;
        }
        taken
    }

    fn take_in(
        &mut self,
        received: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Result<(), TlsError> {
        let mut used = 0;
        let taken = for_side!(self, connection => loop {
            let UnbufferedStatus { mut discard, state } =
                connection.process_tls_records(&mut received[used..]);
            let step = match state {
                Ok(state) => advance(state, plain, out, &mut discard),
                Err(error) => Err(error.into()),
            };
            used += discard;
            match step {
                // Nothing is left that was not looked at, and nothing is to be said.
                Ok(Step::Read) if used == received.len() && !connection.wants_write() => {
                    break Ok(());
                }
                Ok(Step::Read | Step::On) => {}
                Ok(Step::PeerHasEnded) => self.peer_has_ended = true,
                Ok(Step::Blocked) => break Ok(()),
                Err(error) => break Err(error),
            }
        });
        if taken.is_err() {
            self.collect(out);
            return taken;
        }
        let rest = &received[used..];
        if rest.len() > LARGEST_REST {
            return Err(TlsError::Protocol("a message comes in too many pieces".to_owned()));
        }
        // Nothing that counts can follow a close_notify.
        if !self.peer_has_ended {
            self.keep_rest(rest);
        }
        Ok(())
    }

    /// Appends what a session that has failed wants to be sent, such as an alert. It is not to look at anything else.
    fn collect(&mut self, out: &mut Outgoing) {
        for_side!(self, connection => while connection.wants_write() {
            let UnbufferedStatus { state: Ok(state), .. } = connection.process_tls_records(&mut [])
            else {
                break;
            };
            if advance(state, &mut Vec::new(), out, &mut 0).is_err() {
                break;
            }
        });
    }

    /// Encrypts `plain` and appends the records to `out`.
    ///
    /// # Errors
    ///
    /// When the keys are used up, or the handshake is not done.
    pub(crate) fn encrypt(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), TlsError> {
        let records = plain.len().div_ceil(RECORD) + 1;
        self.send(Send::Plain(plain), plain.len() + records * RECORD_OVERHEAD, out)
    }

    /// Appends a close_notify to `out`, the first time.
    ///
    /// # Errors
    ///
    /// As for [`encrypt`](Session::encrypt).
    pub(crate) fn close_notify(&mut self, out: &mut Outgoing) -> Result<(), TlsError> {
        self.send(Send::CloseNotify, RECORD_OVERHEAD, out)
    }

    /// Brings the session where it takes plaintext, and gives it `what`, for which it needs about so much `room`.
    fn send(
        &mut self,
        what: Send<'_>,
        mut room: usize,
        out: &mut Outgoing,
    ) -> Result<(), TlsError> {
        for_side!(self, connection => loop {
            // Nothing in the rest is whole, so nothing of it is used up here.
            let mut traffic = match connection.process_tls_records(&mut self.rest).state? {
                ConnectionState::WriteTraffic(traffic) => traffic,
                state => match advance(state, &mut Vec::new(), out, &mut 0)? {
                    Step::Read | Step::On => continue,
                    Step::PeerHasEnded => {
                        self.peer_has_ended = true;
                        continue;
                    }
                    Step::Blocked => return Err(TlsError::NotReady),
                },
            };
            let written = match what {
                Send::Plain(plain) => traffic.encrypt(plain, out.room(room)),
                Send::CloseNotify => traffic.queue_close_notify(out.room(room)),
            };
            match written {
                Ok(written) => {
                    out.add(written);
                    return Ok(());
                }
                Err(EncryptError::InsufficientSize(missing)) => room = missing.required_size,
                Err(EncryptError::EncryptExhausted) => return Err(TlsError::KeysUsedUp),
            }
        })
    }

    /// Whether the handshake goes on still.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer has sent its close_notify.
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.peer_has_ended
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection, _) => connection,
            Side::Server(connection, _) => connection,
        }
    }

    /// What is known of it; nothing before the handshake is done.
    pub(crate) fn facts(&self) -> Option<Facts> {
        let common = self.common();
        if common.is_handshaking() {
            return None;
        }
        let version = match common.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Some(Version::Tls12),
            Some(ProtocolVersion::TLSv1_3) => Some(Version::Tls13),
            _ => None,
        };
        let suite = common.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let certificates = common.peer_certificates();
        Some(Facts {
            cipher: suite.zip(version).map(|(suite, version)| Cipher::of(suite, version)),
            peer_certificates: certificates.map(PeerCertificates::new),
            alpn: common.alpn_protocol().map(|name| Alpn(name.to_vec())),
            name: match &self.side {
                Side::Client(_, name) => Some(TlsName(name.to_str().into_owned())),
                Side::Server(_, name) => name.as_deref().map(|name| TlsName(name.to_owned())),
            },
            reused: common
                .handshake_kind()
                .map(|kind| SessionReused(kind == HandshakeKind::Resumed)),
        })
    }
}

/// Calls rustls, and with it code of the user's: a panic of that is an error of this session's, and of no other's.
pub(crate) fn caught<R>(call: impl FnOnce() -> Result<R, TlsError>) -> Result<R, TlsError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|payload| Err(TlsError::Panicked(Cause::from_panic(payload).to_string())))
}

/// What a session that takes plaintext can be given.
#[derive(Clone, Copy)]
enum Send<'a> {
    Plain(&'a [u8]),
    CloseNotify,
}

/// How a session goes on.
enum Step {
    /// There may be more to do.
    On,
    /// The same, behind plaintext.
    Read,
    /// The same, and nothing comes from the peer any more.
    PeerHasEnded,
    /// It needs more from the peer, or from us.
    Blocked,
}

/// Does what the session is in the state to do.
fn advance<Data>(
    state: ConnectionState<'_, '_, Data>,
    plain: &mut Vec<u8>,
    out: &mut Outgoing,
    discard: &mut usize,
) -> Result<Step, TlsError> {
    match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                *discard += record.discard;
                plain.extend_from_slice(record.payload);
            }
            Ok(Step::Read)
        }
        ConnectionState::EncodeTlsData(mut message) => {
            let mut room = RECORD;
            loop {
                match message.encode(out.room(room)) {
                    Ok(written) => break out.add(written),
                    Err(EncodeError::InsufficientSize(missing)) => room = missing.required_size,
                    Err(EncodeError::AlreadyEncoded) => break,
                }
            }
            Ok(Step::On)
        }
        ConnectionState::TransmitTlsData(message) => {
            message.done();
            Ok(Step::On)
        }
        ConnectionState::PeerClosed => Ok(Step::PeerHasEnded),
        // Early data is never offered nor taken; a state that we do not know cannot be gone on with.
        _ => Ok(Step::Blocked),
    }
}

#[cfg(test)]
mod tests;

//! Why a TLS connection could not be opened, or was lost.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{CertificateError, InvalidMessage};
use tidegate_protocols::Cause;

/// Why a TLS connection could not be opened, or was lost.
///
/// It is found inside of the [`io::Error`] that says so, by [`TlsError::of`]. A protocol's
/// [`Cause`](tidegate_protocols::Cause) is such an error too: `TlsError::of(&cause)`. The asyncio counterparts are
/// `ssl.SSLError` and `ssl.SSLCertVerificationError`; as there, nothing of it is reported to the exception handler.
///
/// ```
/// use tidegate_tls::{CertificateProblem, TlsError};
///
/// /// Whether asking the administrator of the server may help.
/// fn is_expired(error: &std::io::Error) -> bool {
///     matches!(TlsError::of(error), Some(TlsError::Certificate(CertificateProblem::Expired, _)))
/// }
/// # assert!(!is_expired(&std::io::Error::other("no")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer has sent a fatal alert: it will not go on. What it did not like, such as this end's certificate, is told
    /// there in full, and here by the alert alone.
    Alert(Alert),
    /// The peer's certificate is not accepted; the text says more.
    Certificate(CertificateProblem, String),
    /// What came is no TLS: the peer speaks something else, in clear perhaps.
    NotTls,
    /// The two ends have nothing in common: no version, no cipher, no protocol; the text says what. The end that finds
    /// it out is told this, which is the server as a rule; the other one is told an [`Alert`](TlsError::Alert).
    NothingInCommon(String),
    /// The peer does not keep to the protocol, or somebody has tampered with what it sent; the text says how.
    Protocol(String),
    /// The keys have encrypted as much as they may, and the peer's version of TLS cannot change them.
    KeysUsedUp,
    /// The handshake is not done.
    NotReady,
    /// The handshake has taken longer than its limit.
    HandshakeTimeout(Duration),
    /// The peer did not end the connection in time, after it was closed here.
    ShutdownTimeout,
    /// The peer has ended the connection during the handshake.
    EndedInHandshake,
    /// The peer has ended the connection without saying so in TLS: what was received may be cut short by somebody else.
    Truncated,
    /// It was closed here before the handshake was done, with bytes waiting that were written since.
    ClosedInHandshake,
    /// Code that the configuration brought along has panicked: a verifier, a choice of certificates, a store of sessions,
    /// a key log. The text says how. It ends this connection alone, and unlike the others it is reported.
    Panicked(String),
}

impl TlsError {
    /// The one that an error carries, if it carries one.
    pub fn of(error: &io::Error) -> Option<&TlsError> {
        let mut source: &(dyn Error + 'static) = error.get_ref()?;
        loop {
            if let Some(found) = source.downcast_ref::<TlsError>() {
                return Some(found);
            }
            if let Some(cause) = source.downcast_ref::<Cause>() {
                return TlsError::of(cause);
            }
            source = source.source()?;
        }
    }
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is not valid any more.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is for other names.
    WrongName,
    /// Nobody who is trusted has signed it. If somebody who is trusted has the same name and another key, as test
    /// authorities often do, it is a [bad signature](CertificateProblem::BadSignature).
    UnknownIssuer,
    /// It was revoked.
    Revoked,
    /// Its signature is not that of who is said to have signed it: somebody unknown has the name of somebody who is
    /// trusted.
    BadSignature,
    /// The peer was to show one, and has not. Servers are told this; the client is told an
    /// [`Alert`](TlsError::Alert), `certificate_required` with TLS 1.3.
    Missing,
    /// Anything else.
    Other,
}

/// An alert of the TLS protocol (RFC 8446, section 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// What the RFCs call it: `certificate_expired`.
    pub fn name(self) -> &'static str {
        match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => "unknown",
        }
    }
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Alert({} {})", self.0, self.name())
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        use rustls::Error as From;
        match error {
            From::AlertReceived(alert) => TlsError::Alert(Alert(u8::from(alert))),
            From::InvalidCertificate(problem) => {
                TlsError::Certificate(CertificateProblem::of(&problem), explained(&problem))
            }
            From::NoCertificatesPresented => {
                TlsError::Certificate(CertificateProblem::Missing, "it has shown none".to_owned())
            }
            From::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => TlsError::NotTls,
            From::PeerIncompatible(_) | From::NoApplicationProtocol => {
                TlsError::NothingInCommon(error.to_string())
            }
            error => TlsError::Protocol(error.to_string()),
        }
    }
}

/// The problem in words, where rustls has only a name for it that calls for some.
fn explained(problem: &CertificateError) -> String {
    let words = match problem {
        CertificateError::UnknownIssuer => "nobody who is trusted has signed it",
        CertificateError::BadSignature => {
            "a signature is not by the key it should be by; a trusted issuer may have the same name and another key"
        }
        _ => return problem.to_string(),
    };
    format!("{problem}: {words}")
}

impl CertificateProblem {
    fn of(problem: &CertificateError) -> CertificateProblem {
        use CertificateError as From;
        match problem {
            From::Expired | From::ExpiredContext { .. } => CertificateProblem::Expired,
            From::NotValidYet | From::NotValidYetContext { .. } => CertificateProblem::NotYetValid,
            From::NotValidForName | From::NotValidForNameContext { .. } => {
                CertificateProblem::WrongName
            }
            From::UnknownIssuer => CertificateProblem::UnknownIssuer,
            From::Revoked => CertificateProblem::Revoked,
            From::BadSignature => CertificateProblem::BadSignature,
            _ => CertificateProblem::Other,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Alert(alert) => write!(f, "the peer refused TLS: alert {alert}"),
            TlsError::Certificate(_, text) => {
                write!(f, "the peer's certificate is not accepted: {text}")
            }
            TlsError::NotTls => f.write_str("what the peer sent is not TLS"),
            TlsError::NothingInCommon(text) => write!(f, "no common ground for TLS: {text}"),
            TlsError::Protocol(text) => write!(f, "the peer broke the TLS protocol: {text}"),
            TlsError::KeysUsedUp => f.write_str("the TLS keys are used up"),
            TlsError::NotReady => f.write_str("the TLS handshake is not done"),
            TlsError::HandshakeTimeout(limit) => write!(
                f,
                "SSL handshake is taking longer than {} seconds: aborting the connection",
                limit.as_secs_f64()
            ),
            TlsError::ShutdownTimeout => f.write_str("SSL shutdown timed out"),
            TlsError::EndedInHandshake => {
                f.write_str("the peer ended the connection during the TLS handshake")
            }
            TlsError::Truncated => f.write_str(
                "the connection was closed without close_notify: what was received may be cut short",
            ),
            TlsError::ClosedInHandshake => f.write_str(
                "the connection was closed during the TLS handshake, with unsent bytes waiting",
            ),
            TlsError::Panicked(text) => write!(f, "a callback of the TLS configuration {text}"),
        }
    }
}

impl Error for TlsError {}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        let kind = match &error {
            TlsError::Certificate(..) | TlsError::NotTls | TlsError::Protocol(_) => {
                io::ErrorKind::InvalidData
            }
            TlsError::NothingInCommon(_) => io::ErrorKind::Unsupported,
            TlsError::Alert(_) | TlsError::HandshakeTimeout(_) | TlsError::ClosedInHandshake => {
                io::ErrorKind::ConnectionAborted
            }
            TlsError::EndedInHandshake => io::ErrorKind::ConnectionReset,
            TlsError::ShutdownTimeout => io::ErrorKind::TimedOut,
            TlsError::Truncated => io::ErrorKind::UnexpectedEof,
            TlsError::KeysUsedUp | TlsError::NotReady | TlsError::Panicked(_) => {
                io::ErrorKind::Other
            }
        };
        io::Error::new(kind, error)
    }
}

impl From<TlsError> for Cause {
    fn from(error: TlsError) -> Cause {
        io::Error::from(error).into()
    }
}

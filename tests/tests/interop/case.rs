//! A case: one thing that one program does with us in one version of TLS, and the line that tells how it went.

use std::env;
use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use tidegate_testkit::run;
use tidegate_tls::Version;

use super::python;

/// Ends a case that hangs, so that it says what its programs have said. It is less than the watchdog's.
const TIME_LIMIT: Duration = Duration::from_secs(45);

/// `cargo xtask interop` sets it: each case writes a line to the standard error then.
const LINES: &str = "TIDEGATE_INTEROP_LINES";

/// Who is at the other end.
#[derive(Clone, Copy)]
pub(crate) enum Peer {
    SClient,
    SServer,
    Curl,
    AsyncioClient,
    AsyncioServer,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Peer::SClient => "openssl s_client",
            Peer::SServer => "openssl s_server",
            Peer::Curl => "curl",
            Peer::AsyncioClient => "asyncio client",
            Peer::AsyncioServer => "asyncio server",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Peer::SClient | Peer::SServer => "openssl",
            Peer::Curl => "curl",
            Peer::AsyncioClient | Peer::AsyncioServer => "python3",
        }
    }

    /// Why there is nobody to talk to.
    fn missing(self) -> Option<String> {
        let program = self.program();
        if !xtask::programs::is_installed(program) {
            return Some(format!("{program} is not installed"));
        }
        match self {
            Peer::AsyncioClient | Peer::AsyncioServer => python::unfit(),
            _ => None,
        }
    }
}

/// Makes a test of each function, once for TLS 1.2 and once for TLS 1.3.
macro_rules! cases {
    ($peer:expr; $($name:ident)*) => {
        mod tls12 {
            use crate::interop::case::{Peer, check};
            $(#[test] fn $name() {
                check($peer, tidegate_tls::Version::Tls12, stringify!($name), super::$name);
            })*
        }
        mod tls13 {
            use crate::interop::case::{Peer, check};
            $(#[test] fn $name() {
                check($peer, tidegate_tls::Version::Tls13, stringify!($name), super::$name);
            })*
        }
    };
}
pub(crate) use cases;

/// Runs one case, unless its program is missing.
pub(crate) fn check<F: Future<Output = ()>>(
    peer: Peer,
    version: Version,
    what: &'static str,
    case: impl FnOnce(Version) -> F,
) {
    let mut line =
        Line { peer, version, what, start: Instant::now(), outcome: "failed".to_owned() };
    if let Some(missing) = peer.missing() {
        line.outcome = format!("skipped: {missing}");
        eprintln!("{}: {what}: {}", peer.name(), line.outcome);
        return;
    }
    run(async {
        let done = tidegate::timeout(TIME_LIMIT, case(version)).await;
        assert!(done.is_ok(), "it has not ended within {TIME_LIMIT:?}");
    });
    line.outcome = "ok".to_owned();
}

/// What is told of a case when it is over, even by a panic.
struct Line {
    peer: Peer,
    version: Version,
    what: &'static str,
    start: Instant,
    outcome: String,
}

impl Drop for Line {
    fn drop(&mut self) {
        if env::var_os(LINES).is_none() {
            return;
        }
        let text = format!(
            "{:<16}  {}  {:<52}  {:>5.2} s  {}\n",
            self.peer.name(),
            self.version,
            self.what.replace('_', " "),
            self.start.elapsed().as_secs_f64(),
            self.outcome,
        );
        // By one call, past what the harness keeps back; who does not listen misses it.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
}

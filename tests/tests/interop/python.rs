//! Python's asyncio as the other end: `peer.py`, told by JSON what to do.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tidegate_tls::Version;

use super::program::Program;
use crate::authority::Pem;

/// The oldest that fits, and the first that answers a close_notify: 3.9 and 3.11.
const OLDEST: u32 = 9;
const ANSWERING: u32 = 11;

#[derive(Debug)]
struct Python {
    /// The program itself, so that killing it kills no script that merely found it.
    path: PathBuf,
    /// 11, if it is Python 3.11.
    release: u32,
}

/// The Python of this system, or why there is none that fits.
fn python() -> &'static Result<Python, String> {
    static PYTHON: OnceLock<Result<Python, String>> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = "import sys; print(sys.version_info[1], sys.executable)";
        let output = Command::new("python3").args(["-I", "-S", "-c", script]).output();
        let output = output.map_err(|error| format!("python3 does not start: {error}"))?;
        let told = String::from_utf8_lossy(&output.stdout);
        let found = told.trim().split_once(' ');
        let found = found.and_then(|(release, path)| Some((release.parse().ok()?, path.into())));
        match found {
            Some((release, path)) if release >= OLDEST => Ok(Python { path, release }),
            Some((release, _)) => Err(format!("python3 is 3.{release}, and 3.{OLDEST} is needed")),
            None => Err("python3 does not tell its version".to_owned()),
        }
    })
}

/// Whether asyncio answers a close_notify by its own; before 3.11 it just ends the connection.
pub(crate) fn answers_close_notify() -> bool {
    python().as_ref().is_ok_and(|python| python.release >= ANSWERING)
}

/// Why the tests cannot talk to Python.
pub(crate) fn unfit() -> Option<String> {
    python().as_ref().err().cloned()
}

/// What `peer.py` is to do; an object of JSON in the making.
pub(crate) struct Asked(String);

impl Asked {
    /// A server on a port of its own, which sends back what comes.
    pub(crate) fn server(version: Version, pem: &Pem) -> Asked {
        Asked::new("server", version).pem(pem)
    }

    /// A client of the server at `port`, which says "hello".
    pub(crate) fn client(version: Version, port: u16, roots: &Path) -> Asked {
        let mut asked = Asked::new("client", version).roots(roots).text("name", "localhost");
        write!(asked.0, r#", "port": {port}"#).expect("a text");
        asked
    }

    fn new(role: &str, version: Version) -> Asked {
        Asked(format!(r#"{{"role": "{role}", "version": "{version}""#))
    }

    pub(crate) fn text(mut self, name: &str, value: &str) -> Asked {
        assert!(!value.contains(['"', '\\']), "{value} would have to be escaped");
        write!(self.0, r#", "{name}": "{value}""#).expect("a text");
        self
    }

    pub(crate) fn path(self, name: &str, value: &Path) -> Asked {
        self.text(name, value.to_str().expect("a path of text"))
    }

    /// Trusts these, and wants the other end to show a certificate.
    pub(crate) fn roots(self, roots: &Path) -> Asked {
        self.path("roots", roots)
    }

    pub(crate) fn pem(self, pem: &Pem) -> Asked {
        self.path("chain", &pem.chain).path("key", &pem.key)
    }

    pub(crate) fn alpn(mut self, protocol: &str) -> Asked {
        write!(self.0, r#", "alpn": ["{protocol}"]"#).expect("a text");
        self
    }

    /// Starts it: when it has received `expect` bytes it closes, aborts, shuts its socket down or waits, as `act` says.
    pub(crate) async fn start(mut self, connections: usize, expect: usize, act: &str) -> Program {
        write!(self.0, r#", "connections": {connections}, "expect": {expect}, "act": "{act}"}}"#)
            .expect("a text");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/peer.py");
        let mut command = Command::new(&python().as_ref().expect("a Python that fits").path);
        Program::start(command.args(["-I", "-S"]).arg(script).arg(self.0)).await
    }
}

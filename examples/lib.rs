//! What the examples share: the arguments of a command line, how an error is told, and a certificate.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;

/// Reads `HOST:PORT`. An IPv6 address stands in brackets: `[::1]:8888`.
///
/// # Errors
///
/// A sentence that says what is wrong.
///
/// # Examples
///
/// ```
/// use tidegate_examples::host_and_port;
///
/// assert_eq!(host_and_port("localhost:80"), Ok(("localhost".to_owned(), 80)));
/// assert_eq!(host_and_port("[::1]:80"), Ok(("::1".to_owned(), 80)));
/// assert!(host_and_port("localhost").is_err());
/// ```
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("HOST:PORT is expected")?;
    let port = port.parse().map_err(|_| format!("{port:?} is not a port from 0 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err("an IPv6 address needs brackets, as in [::1]:8888".to_owned());
    }
    Ok((bare.unwrap_or(host).to_owned(), port))
}

/// Ends the program if it was given an argument, for it takes none but `--help`, which is answered with what it is
/// about.
pub fn no_arguments(about: &'static str) {
    Command::new("").about(about).get_matches();
}

/// What a program ends with: an error is told in words, on the standard error.
pub fn told(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A certificate for `localhost` and the loopback addresses, made anew and signed by its own key: whoever is to believe
/// it has to be given its file. Both files go when this is dropped.
pub struct OwnCertificate {
    folder: TempDir,
}

impl OwnCertificate {
    /// Makes a key and its certificate, and writes them to a folder that nobody else can read.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn make() -> io::Result<OwnCertificate> {
        let own = OwnCertificate { folder: tempfile::tempdir()? };
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut parameters = CertificateParams::new(names).map_err(io::Error::other)?;
        // Certificates that are not the same need different names, since these say who has signed.
        let folder = own.folder.path().display();
        parameters.distinguished_name.push(DnType::CommonName, format!("Tidegate, {folder}"));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = parameters.self_signed(&key).map_err(io::Error::other)?;
        fs::write(own.chain(), certificate.pem())?;
        fs::write(own.key(), key.serialize_pem())?;
        Ok(own)
    }

    /// The file of the certificate.
    pub fn chain(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// The file of its private key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}

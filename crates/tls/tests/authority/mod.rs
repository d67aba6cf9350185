//! An authority for tests: it issues certificates and writes them to a folder of its own, which goes with it.

#![allow(dead_code, reason = "every test program uses a part of this")]

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SignatureAlgorithm, date_time_ymd,
};
use tempfile::TempDir;
use tidegate_tls::{Client, ClientBuilder, Server, ServerBuilder};

/// Someone whom both sides of a test may trust.
pub(crate) struct Authority {
    folder: Arc<TempDir>,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What follows a certificate in its chain: nothing if this is a root.
    issuers: String,
    issued: Cell<u32>,
}

/// A certificate and its key, as files. They stay as long as this does, or the authority.
#[derive(Clone, Debug)]
pub(crate) struct Pem {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    folder: Arc<TempDir>,
}

impl Authority {
    /// A root.
    pub(crate) fn new() -> Authority {
        let issuer = CertifiedIssuer::self_signed(authority("root"), fast_key());
        Authority::standing(issuer.expect("a root"), String::new())
    }

    /// An authority that this one vouches for; the chains of what it issues have its own certificate as well.
    pub(crate) fn intermediate(&self) -> Authority {
        let params = authority("intermediate");
        let issuer = CertifiedIssuer::signed_by(params, fast_key(), &*self.issuer);
        let issuer = issuer.expect("an intermediate");
        let issuers = issuer.pem() + &self.issuers;
        Authority::standing(issuer, issuers)
    }

    fn standing(issuer: CertifiedIssuer<'static, KeyPair>, issuers: String) -> Authority {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        fs::write(folder.path().join("authority.pem"), issuer.pem()).expect("a file");
        Authority { folder, issuer, issuers, issued: Cell::new(0) }
    }

    /// A server's certificate for these DNS names and addresses.
    pub(crate) fn certificate(&self, names: &[&str]) -> Pem {
        self.issue(server(names), fast_key())
    }

    /// The same with a key of another kind, such as `rcgen::PKCS_ED25519`.
    pub(crate) fn certificate_of_kind(
        &self,
        names: &[&str],
        kind: &'static SignatureAlgorithm,
    ) -> Pem {
        self.issue(server(names), KeyPair::generate_for(kind).expect("a key"))
    }

    /// A server's certificate that was valid once.
    pub(crate) fn expired(&self, names: &[&str]) -> Pem {
        let mut params = server(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.issue(params, fast_key())
    }

    /// A client's certificate.
    pub(crate) fn client_certificate(&self, name: &str) -> Pem {
        let mut params = server(&[name]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, fast_key())
    }

    fn issue(&self, params: CertificateParams, key: KeyPair) -> Pem {
        let number = self.issued.replace(self.issued.get() + 1);
        let certificate = params.signed_by(&key, &*self.issuer).expect("a certificate");
        let chain = certificate.pem() + &self.issuers;
        Pem {
            chain: self.file(&format!("{number}.pem"), chain),
            key: self.file(&format!("{number}.key"), key.serialize_pem()),
            folder: self.folder.clone(),
        }
    }

    /// The authority's own certificate, as a file.
    pub(crate) fn roots_pem(&self) -> PathBuf {
        self.folder().join("authority.pem")
    }

    /// A file in the authority's folder.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// The authority's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client that trusts this authority alone.
    pub(crate) fn client(&self) -> Client {
        self.client_builder().build().expect("a client")
    }

    /// The same, to be changed.
    pub(crate) fn client_builder(&self) -> ClientBuilder {
        Client::builder().root_certificates_file(self.roots_pem())
    }

    /// A server with a certificate for `localhost` and the loopback addresses.
    pub(crate) fn server(&self) -> Server {
        self.server_builder().build().expect("a server")
    }

    /// The same, to be changed.
    pub(crate) fn server_builder(&self) -> ServerBuilder {
        let pem = self.certificate(&["localhost", "127.0.0.1", "::1"]);
        Server::builder().certificate_files(pem.chain, pem.key)
    }
}

/// A key of the kind that is made in microseconds.
fn fast_key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key")
}

/// Every authority has a name of its own, since certificates name their issuer.
fn authority(kind: &str) -> CertificateParams {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let name = format!("Tidegate's {kind} {}", MADE.fetch_add(1, Ordering::Relaxed));
    let mut params = CertificateParams::new([]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server(names: &[&str]) -> CertificateParams {
    let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(owned).expect("names and addresses");
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

//! Tests of the choice of a certificate by name.

use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rustls::SignatureScheme;

use super::ByName;
use crate::Provider;
use crate::authority::Authority;
use crate::config::identity::Identity;

const P256: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const ED25519: SignatureScheme = SignatureScheme::ED25519;

/// Every certificate: its names, and whether its key is an Ed25519 key.
fn check(
    certificates: &[(&[&str], bool)],
    asked: Option<&str>,
    schemes: &[SignatureScheme],
    expected: usize,
) {
    let authority = Authority::new();
    let load = |&(names, is_ed25519): &(&[&str], bool)| {
        let kind = if is_ed25519 { &PKCS_ED25519 } else { &PKCS_ECDSA_P256_SHA256 };
        let pem = authority.certificate_of_kind(names, kind);
        let identity = Identity::files(pem.chain, pem.key);
        Arc::new(identity.load(Provider::default().crypto()).expect("a pair"))
    };
    let by_name = ByName(certificates.iter().map(load).collect());
    let chosen = by_name.choose(asked, schemes).expect("there is one");
    let found = by_name.0.iter().position(|c| Arc::ptr_eq(c, chosen));
    assert_eq!(found, Some(expected), "{asked:?} among {certificates:?}");
}

const THREE: &[(&[&str], bool)] = &[
    (&["example.org"], false),
    (&["*.example.org", "second.example"], false),
    (&["www.example.org", "third.example"], false),
];

#[test]
fn the_first_that_is_valid_for_the_name_is_shown() {
    check(THREE, Some("example.org"), &[P256], 0);
    check(THREE, Some("EXAMPLE.org"), &[P256], 0);
    check(THREE, Some("second.example"), &[P256], 1);
    check(THREE, Some("third.example"), &[P256], 2);
}

#[test]
fn a_wildcard_stands_for_one_label() {
    check(THREE, Some("ftp.example.org"), &[P256], 1);
    check(THREE, Some("www.example.org"), &[P256], 1);
    check(THREE, Some("a.b.example.org"), &[P256], 0);
}

#[test]
fn without_a_valid_one_the_first_is_shown() {
    check(THREE, Some("unknown.example"), &[P256], 0);
    check(THREE, Some("no name"), &[P256], 0);
    check(THREE, None, &[P256], 0);
    check(&THREE[1..], None, &[P256], 0);
}

#[test]
fn a_certificate_that_the_client_cannot_verify_comes_last() {
    let both: &[(&[&str], bool)] = &[(&["localhost"], true), (&["localhost"], false)];
    check(both, Some("localhost"), &[P256], 1);
    check(both, Some("localhost"), &[ED25519], 0);
    check(both, Some("localhost"), &[P256, ED25519], 0);
    check(both, None, &[P256], 1);
    check(both, Some("localhost"), &[SignatureScheme::ED448], 0);
}

#[test]
fn the_only_certificate_is_shown_to_everyone() {
    check(&THREE[..1], Some("unknown.example"), &[ED25519], 0);
    check(&THREE[..1], None, &[], 0);
}

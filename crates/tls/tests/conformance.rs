//! The conformance suite over TLS and over TLS in TLS: whole and a byte at a time.

use std::time::Duration;

use tidegate_testkit::conformance::{Capabilities, Ground, UnderLayer, run_all};
use tidegate_testkit::memory::{Memory, PairOptions};
use tidegate_tls::{ClientLayer, ServerLayer};

mod authority;
use authority::Authority;

/// Little fits between the ends, so that what is written soon waits.
const WHOLE: PairOptions =
    PairOptions { bytes_at_a_time: None, capacity: 16 * 1024, half_close: true };

const DRIBBLING: PairOptions =
    PairOptions { bytes_at_a_time: Some(1), capacity: 300, half_close: true };

/// `below` with TLS in it; the left end is the client, or the server.
fn secured<G: Ground>(below: G, left: Left) -> UnderLayer<G> {
    let authority = Authority::new();
    let short = Duration::from_secs(1);
    let client = authority.client_builder().shutdown_timeout(short).build().expect("a client");
    let server = authority.server_builder().shutdown_timeout(short);
    let server = match left {
        Left::Client => server,
        // Tickets would wait to be sent, and the suite expects that nothing does at first.
        Left::Server => server.resumption(0),
    };
    let server = server.build().expect("a server");
    let can = Capabilities {
        // replaced: TLS-25: dropped, since the peer is told of the end.
        writes_while_closing: false,
        // TLS-30: the peer answers a close.
        closes_alone: false,
        // replaced: TLS-35
        abort_looks_like_eof: false,
        // What is written counts as the records that it becomes.
        exact_sizes: false,
        // replaced: TLS-04
        half_close: true,
        // TLS-20: a record is handed over when all of it is there.
        joins_reads: true,
        ..below.capabilities()
    };
    let client = move || ClientLayer::new(client.clone(), "localhost");
    let server = move || ServerLayer::new(server.clone());
    let ground = match left {
        Left::Client => UnderLayer::of_two(below, client, server),
        Left::Server => UnderLayer::of_two(below, server, client),
    };
    ground.with_capabilities(can)
}

/// Who is at the left end, which does the most in the suite.
///
/// A client is greeted first, and when the suite has it abort just then, a slow wire still holds its last word of the
/// handshake: the server is never greeted. So there the server does the most.
#[derive(Clone, Copy)]
enum Left {
    Client,
    Server,
}

#[test]
fn tls_conforms() {
    run_all(secured(Memory::new(WHOLE), Left::Client));
}

#[test]
fn tls_conforms_from_the_server_too() {
    run_all(secured(Memory::new(WHOLE), Left::Server));
}

#[test]
fn tls_conforms_a_byte_at_a_time() {
    run_all(secured(Memory::new(DRIBBLING), Left::Server));
}

#[test]
fn tls_conforms_without_half_close_below() {
    run_all(secured(Memory::new(PairOptions { half_close: false, ..WHOLE }), Left::Client));
}

// TLS-56
#[test]
fn tls_in_tls_conforms() {
    run_all(secured(secured(Memory::new(WHOLE), Left::Client), Left::Client));
}

// TLS-56
#[test]
fn tls_in_tls_conforms_a_byte_at_a_time() {
    run_all(secured(secured(Memory::new(DRIBBLING), Left::Server), Left::Server));
}

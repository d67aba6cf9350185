//! TLS against other people's programs: openssl, curl and Python's asyncio, in TLS 1.2 and 1.3.

#[path = "../../crates/tls/tests/authority/mod.rs"]
mod authority;

/// What the cases share, and a file for each program and side.
mod interop {
    pub(crate) mod case;
    pub(crate) mod ours;
    pub(crate) mod program;
    pub(crate) mod python;

    mod asyncio_client;
    mod asyncio_server;
    mod curl;
    mod s_client;
    mod s_server;
}

//! Integration tests over real sockets, and the rules of the house; the tests are in `tests/`, one file a subject.

/// The program on the project's first page, so that it goes on compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct FirstPage;

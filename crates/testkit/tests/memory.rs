//! The conformance suite over memory: whole and a byte at a time, plain and under a layer.

use tidegate_protocols::layer::Transparent;
use tidegate_testkit::conformance::{Ground, UnderLayer, run_all};
use tidegate_testkit::memory::{Memory, PairOptions};
use tidegate_testkit::watched;

/// Little fits between the ends, so that what is written soon waits.
const WHOLE: PairOptions =
    PairOptions { bytes_at_a_time: None, capacity: 16 * 1024, half_close: true };

const DRIBBLING: PairOptions =
    PairOptions { bytes_at_a_time: Some(1), capacity: 300, half_close: true };

fn check(ground: impl Ground) {
    watched(|| run_all(ground));
}

#[test]
fn memory_conforms() {
    check(Memory::new(WHOLE));
}

#[test]
fn memory_conforms_a_byte_at_a_time() {
    check(Memory::new(DRIBBLING));
}

#[test]
fn memory_conforms_with_hardly_any_room() {
    check(Memory::new(PairOptions { capacity: 1, ..WHOLE }));
}

#[test]
fn memory_conforms_without_half_close() {
    check(Memory::new(PairOptions { half_close: false, ..WHOLE }));
}

#[test]
fn memory_conforms_under_a_layer() {
    check(UnderLayer::new(Memory::new(WHOLE), || Transparent));
}

#[test]
fn memory_conforms_under_a_layer_a_byte_at_a_time() {
    check(UnderLayer::new(Memory::new(DRIBBLING), || Transparent));
}

#[test]
fn memory_conforms_under_two_layers() {
    let below = UnderLayer::new(Memory::new(WHOLE), || Transparent);
    check(UnderLayer::new(below, || Transparent));
}

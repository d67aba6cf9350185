//! The conformance suite over memory: whole and a byte at a time, plain and under a layer.

use tidegate_protocols::layer::Transparent;
use tidegate_testkit::conformance::{UnderLayer, run_all};
use tidegate_testkit::memory::{Memory, PairOptions};

/// Little fits between the ends, so that what is written soon waits.
const WHOLE: PairOptions =
    PairOptions { bytes_at_a_time: None, capacity: 16 * 1024, half_close: true };

const DRIBBLING: PairOptions =
    PairOptions { bytes_at_a_time: Some(1), capacity: 300, half_close: true };

#[test]
fn memory_conforms() {
    run_all(Memory::new(WHOLE));
}

#[test]
fn memory_conforms_a_byte_at_a_time() {
    run_all(Memory::new(DRIBBLING));
}

#[test]
fn memory_conforms_with_hardly_any_room() {
    run_all(Memory::new(PairOptions { capacity: 1, ..WHOLE }));
}

#[test]
fn memory_conforms_without_half_close() {
    run_all(Memory::new(PairOptions { half_close: false, ..WHOLE }));
}

#[test]
fn memory_conforms_under_a_layer() {
    run_all(UnderLayer::new(Memory::new(WHOLE), || Transparent));
}

#[test]
fn memory_conforms_under_a_layer_a_byte_at_a_time() {
    run_all(UnderLayer::new(Memory::new(DRIBBLING), || Transparent));
}

#[test]
fn memory_conforms_under_two_layers() {
    let below = UnderLayer::new(Memory::new(WHOLE), || Transparent);
    run_all(UnderLayer::new(below, || Transparent));
}

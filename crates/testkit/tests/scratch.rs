//! Scratch.
use tidegate_testkit::conformance::{case_names, run_case};
use tidegate_testkit::memory::{Memory, PairOptions};
#[test]
fn timings() {
    let o = PairOptions { bytes_at_a_time: Some(1), capacity: 300, half_close: true };
    let mut all: Vec<_> = case_names()
        .into_iter()
        .map(|n| {
            let t = std::time::Instant::now();
            let ok = std::panic::catch_unwind(|| run_case(Memory::new(o), n)).is_ok();
            eprintln!("TIME {:?} {n} {ok}", t.elapsed());
            (t.elapsed(), n)
        })
        .collect();
    all.sort();
}

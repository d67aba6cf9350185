//! The programs of the system that some tests talk to, and which of them are missing here.

use std::env;

/// What a test may need beside the Rust toolchain, and what is skipped where it is missing.
///
/// `.ci/run` installs the missing ones where it can.
pub const PROGRAMS: [(&str, &str); 4] = [
    ("strace", "the tests that count system calls"),
    ("python3", "the tests that talk to asyncio"),
    ("curl", "the tests that talk to curl"),
    ("openssl", "the tests that talk to openssl"),
];

/// Prints one line for each program that is missing; nothing if all are there.
pub fn report_missing() {
    for (program, tests) in PROGRAMS {
        if !is_installed(program) {
            println!("skipped: {tests} ({program} is not installed)");
        }
    }
}

/// Whether the search path has a program of this name.
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_name() {
        assert!(is_installed("cargo"));
        assert!(!is_installed("no-such-program"));
    }
}

//! The crate count: how much a user compiles for the loop, the contract, the transports and the streams.

use std::collections::BTreeSet;

use crate::shell::{self, Failure};
use crate::workspace;

/// The most crates that the counted packages may need together, ours included.
pub const LIMIT: usize = 21;

/// The packages that are counted together, as far as they exist.
pub const COUNTED: [&str; 4] =
    ["tidegate-reactor", "tidegate-protocols", "tidegate-transports", "tidegate-streams"];

/// Runs `cargo xtask crates`.
///
/// # Errors
///
/// If there are more than [`LIMIT`]; the text names them all.
pub fn run() -> Result<(), Failure> {
    println!("{}", check()?);
    Ok(())
}

/// Counts, and says the figure.
///
/// # Errors
///
/// As [`run`].
pub fn check() -> Result<String, Failure> {
    let metadata = workspace::metadata()?;
    let mut command = shell::cargo(["tree", "-e", "normal", "--prefix", "none", "--no-dedupe"]);
    for name in COUNTED {
        if metadata.packages.iter().any(|package| package.name.as_str() == name) {
            command.args(["-p", name]);
        }
    }
    let tree = shell::read(&mut command)?;
    let crates = names(&tree);
    let figure = format!("{} crates of at most {LIMIT}", crates.len());
    if crates.len() <= LIMIT {
        return Ok(figure);
    }
    let list: Vec<&str> = crates.into_iter().collect();
    Err(Failure::new(format!("too many crates: {figure}\n  {}", list.join("\n  "))))
}

/// The crates of a tree without indentation: name and version, each once.
fn names(tree: &str) -> BTreeSet<&str> {
    tree.lines()
        .map(|line| line.split(" (").next().unwrap_or(line).trim())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_and_two_versions_count_twice() {
        let tree = "ours v0.1.0 (/somewhere)\nlibc v0.2.1\nlibc v0.2.1 (*)\n\nsyn v1.0.0\nsyn v2.0.0 (proc-macro)\n";
        assert_eq!(
            names(tree).into_iter().collect::<Vec<_>>(),
            ["libc v0.2.1", "ours v0.1.0", "syn v1.0.0", "syn v2.0.0"]
        );
    }
}

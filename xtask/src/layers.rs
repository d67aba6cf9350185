//! The layer rule: which of our crates may stand on which, and the check that nothing points up.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, Metadata};

use crate::shell::Failure;
use crate::workspace;

/// Every crate and the crates that it may depend on, from the top of the house to its ground.
///
/// Tests, examples and tools stand outside the house: they may use any crate, and no crate may use them. Dependencies of
/// tests are free, since nobody compiles them but us; so `testkit` has no arrow to it here.
pub const LAYERS: &[(&str, &[&str])] = &[
    (
        "tidegate",
        &[
            "tidegate-subprocess",
            "tidegate-streams",
            "tidegate-tls",
            "tidegate-transports",
            "tidegate-protocols",
            "tidegate-reactor",
        ],
    ),
    (
        "tidegate-subprocess",
        &["tidegate-streams", "tidegate-transports", "tidegate-protocols", "tidegate-reactor"],
    ),
    ("tidegate-streams", &["tidegate-transports", "tidegate-protocols", "tidegate-reactor"]),
    ("tidegate-tls", &["tidegate-protocols", "tidegate-reactor"]),
    ("tidegate-testkit", &["tidegate-transports", "tidegate-protocols", "tidegate-reactor"]),
    ("tidegate-transports", &["tidegate-protocols", "tidegate-reactor"]),
    ("tidegate-protocols", &[]),
    ("tidegate-reactor", &[]),
];

/// Our packages, each with those of ours that it normally depends on.
pub type Arrows = BTreeMap<String, Vec<String>>;

/// Runs `cargo xtask layers`.
///
/// # Errors
///
/// If an arrow points where the rule has none; each is a line of the text.
pub fn run() -> Result<(), Failure> {
    println!("{}", check()?);
    Ok(())
}

/// Checks the workspace and says in a line what was found good.
///
/// # Errors
///
/// As [`run`].
pub fn check() -> Result<String, Failure> {
    let arrows = arrows(&workspace::metadata()?);
    let broken = broken(&arrows);
    if broken.is_empty() {
        let count: usize = arrows.values().map(Vec::len).sum();
        return Ok(format!("{} crates, {count} arrows, all downwards", arrows.len()));
    }
    Err(Failure::new(format!(
        "the layers are broken:\n  {}\nThe rule is in xtask/src/layers.rs and in ARCHITECTURE.md.",
        broken.join("\n  ")
    )))
}

/// Reads from cargo's metadata what our crates in `crates/` depend on among our packages.
///
/// Dependencies for tests and build scripts are left out; optional ones and those of other systems count.
pub fn arrows(metadata: &Metadata) -> Arrows {
    let house = workspace::root().join("crates");
    let ours: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    metadata
        .packages
        .iter()
        .filter(|package| package.manifest_path.starts_with(&house))
        .map(|package| {
            let mut below: Vec<String> = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == DependencyKind::Normal)
                .map(|dependency| dependency.name.clone())
                .filter(|name| ours.contains(&name.as_str()))
                .collect();
            below.sort();
            below.dedup();
            (package.name.to_string(), below)
        })
        .collect()
}

/// What breaks the rule, a sentence each.
pub fn broken(arrows: &Arrows) -> Vec<String> {
    let mut sentences = Vec::new();
    for (package, below) in arrows {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| name == package) else {
            sentences.push(format!("{package} has no row in the table of layers"));
            continue;
        };
        for dependency in below {
            if !allowed.contains(&dependency.as_str()) {
                sentences.push(format!("{package} must not depend on {dependency}"));
            }
        }
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrows_of_the_design_are_allowed() {
        check(&[
            ("tidegate", &["tidegate-transports", "tidegate-reactor"]),
            ("tidegate-transports", &["tidegate-protocols", "tidegate-reactor"]),
            ("tidegate-protocols", &[]),
        ])
        .is(&[]);
    }

    #[test]
    fn an_arrow_upwards_or_sideways_is_named() {
        check(&[
            ("tidegate-reactor", &["tidegate-protocols"]),
            ("tidegate-transports", &["tidegate-tls"]),
        ])
        .is(&[
            "tidegate-reactor must not depend on tidegate-protocols",
            "tidegate-transports must not depend on tidegate-tls",
        ]);
    }

    #[test]
    fn only_tests_stand_on_the_testkit() {
        check(&[("tidegate", &["tidegate-testkit"])])
            .is(&["tidegate must not depend on tidegate-testkit"]);
    }

    #[test]
    fn no_crate_stands_on_a_tool() {
        check(&[("tidegate-streams", &["xtask"])])
            .is(&["tidegate-streams must not depend on xtask"]);
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        check(&[("tidegate-attic", &[])]).is(&["tidegate-attic has no row in the table of layers"]);
    }

    #[test]
    fn the_table_has_no_circle() {
        for (index, (package, below)) in LAYERS.iter().enumerate() {
            for dependency in *below {
                let place = LAYERS.iter().position(|(name, _)| name == dependency);
                assert!(
                    place.is_some_and(|place| place > index),
                    "{package} stands above {dependency}, and its row comes first"
                );
            }
        }
    }

    struct Broken(Vec<String>);

    impl Broken {
        fn is(self, expected: &[&str]) {
            assert_eq!(self.0, expected);
        }
    }

    fn check(arrows: &[(&str, &[&str])]) -> Broken {
        let arrows = arrows
            .iter()
            .map(|(package, below)| {
                let below = below.iter().map(|name| (*name).to_owned()).collect();
                ((*package).to_owned(), below)
            })
            .collect();
        Broken(broken(&arrows))
    }
}

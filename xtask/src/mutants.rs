//! Mutation testing: changes the code of a room at one place after another and prints the changes that no test notices.

use std::fs;
use std::path::Path;

use crate::arguments::MutantsOptions;
use crate::shell::{self, Failure};
use crate::workspace;

/// What cargo-mutants answers when some changes were not noticed, or made the tests run too long.
const SURVIVORS: [i32; 2] = [2, 3];

/// Runs `cargo xtask mutants`.
///
/// # Errors
///
/// If cargo-mutants is missing, a room does not exist, the tests fail without any change, or a change survives.
pub fn run(options: &MutantsOptions) -> Result<(), Failure> {
    if shell::read(&mut shell::cargo(["mutants", "--version"])).is_err() {
        return Err(Failure::new(
            "cargo-mutants is not installed; `cargo install --locked cargo-mutants` installs it",
        ));
    }
    let files = workspace::rust_files("crates")?;
    let files: Vec<&Path> = files.iter().map(|file| file.as_path()).collect();
    let mut command = shell::cargo(["mutants", "--workspace"]);
    for room in &options.rooms {
        let patterns = patterns(&files, room);
        if patterns.is_empty() {
            return Err(Failure::new(format!(
                "no crate has a room called {room}: a file {room}.rs or a folder {room} below its src"
            )));
        }
        for pattern in patterns {
            command.args(["--file", &pattern]);
        }
    }
    if options.list {
        return shell::show(command.arg("--list"));
    }
    if options.all_tests {
        command.args(["--test-workspace", "true"]);
    }
    let output = workspace::metadata()?.target_directory.join("mutants");
    fs::create_dir_all(&output)
        .map_err(|error| Failure::new(format!("{output} cannot be made: {error}")))?;
    command.args(["--output", output.as_str()]);
    println!("$ {}", shell::spoken(&command));
    let status = command.status().map_err(|error| shell::not_started(&command, &error))?;
    if status.success() {
        println!("Every change was noticed by a test.");
        return Ok(());
    }
    if !status.code().is_some_and(|code| SURVIVORS.contains(&code)) {
        return Err(Failure::new(format!("`{}` failed ({status})", shell::spoken(&command))));
    }
    let answers = output.join("mutants.out");
    let list = |name: &str| fs::read_to_string(answers.join(name)).unwrap_or_default();
    Err(Failure::new(verdict(&list("missed.txt"), &list("timeout.txt"))))
}

/// What to give cargo-mutants so that it changes the room and nothing else.
fn patterns(files: &[&Path], room: &str) -> Vec<String> {
    let file = format!("{room}.rs");
    let mut patterns: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let path = path.strip_prefix(workspace::root()).unwrap_or(path);
            let crate_root: std::path::PathBuf = path.components().take(3).collect();
            let within = path.strip_prefix(&crate_root).ok()?;
            if !crate_root.ends_with("src") {
                return None;
            }
            if within.file_name()?.to_str()? == file {
                return Some(path.to_string_lossy().into_owned());
            }
            let folder =
                within.ancestors().skip(1).find(|f| f.file_name().is_some_and(|n| n == room))?;
            Some(format!("{}/**", crate_root.join(folder).to_string_lossy()))
        })
        .collect();
    patterns.sort();
    patterns.dedup();
    patterns
}

/// The survivors in words, a line each.
fn verdict(missed: &str, slow: &str) -> String {
    let mut text = String::new();
    for (list, words) in [
        (missed, "changes that no test notices"),
        (slow, "changes that made the tests run too long"),
    ] {
        let count = list.lines().count();
        if count > 0 {
            text.push_str(&format!("{count} {words}:\n"));
            for line in list.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    text.push_str("Kill each with a test that cites the rule, or explain why it changes nothing.");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_a_file_or_a_folder_of_a_crate() {
        let root = workspace::root();
        let files = [
            "crates/protocols/src/slot.rs",
            "crates/protocols/src/slot/tests.rs",
            "crates/reactor/src/timers/heap.rs",
            "crates/reactor/src/timers/sweep.rs",
            "crates/reactor/tests/timers.rs",
        ]
        .map(|file| root.join(file));
        let files: Vec<&Path> = files.iter().map(|file| file.as_path()).collect();
        let check = |room, expected: &[&str]| assert_eq!(patterns(&files, room), expected);
        check("slot", &["crates/protocols/src/slot.rs", "crates/protocols/src/slot/**"]);
        check("timers", &["crates/reactor/src/timers/**"]);
        check("attic", &[]);
    }

    #[test]
    fn the_verdict_counts_what_survived() {
        let text = verdict("slot.rs:1: a\nslot.rs:2: b\n", "");
        assert!(text.starts_with("2 changes that no test notices:\n  slot.rs:1: a\n"));
        assert!(!text.contains("too long"));
    }
}

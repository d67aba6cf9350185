//! Running other programs: commands that can be shown as one would type them, and failures that say what to do next.

use std::ffi::OsStr;
use std::fmt;
use std::process::{Command, Stdio};

use crate::workspace;

/// Why a task did not succeed, in words for the person at the keyboard.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    /// A failure with this text.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Cargo, called in the root of the workspace.
pub fn cargo<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(workspace::root()).args(words);
    command
}

/// Has `command` build and test the portable twins. Only the crates of the workspace are compiled anew for it.
///
/// Warnings are errors there, since the lints look at the Linux rooms only.
pub fn portable(command: &mut Command) {
    command.env("RUSTC_WORKSPACE_WRAPPER", workspace::root().join("xtask/portable-rustc"));
    let flags = "--cfg tidegate_portable -D warnings";
    let flags = match std::env::var("RUSTDOCFLAGS") {
        Ok(given) if !given.is_empty() => format!("{given} {flags}"),
        _ => flags.to_owned(),
    };
    command.env("RUSTDOCFLAGS", flags);
}

/// The command as one would type it in a shell.
pub fn spoken(command: &Command) -> String {
    let settings = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        Some(format!("{}={}", name.to_string_lossy(), quoted(&value)))
    });
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()).into_owned());
    settings.chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs `command` with its output shown.
///
/// # Errors
///
/// If the program cannot be started or does not succeed; the text names the command.
pub fn show(command: &mut Command) -> Result<(), Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("`{}` failed ({status})", spoken(command)))),
        Err(error) => Err(not_started(command, &error)),
    }
}

/// Runs `command` and returns what it wrote to its standard output.
///
/// # Errors
///
/// As [`show`]; what the program wrote to its standard error is part of the text.
pub fn read(command: &mut Command) -> Result<String, Failure> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| not_started(command, &error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failure::new(format!(
        "`{}` failed ({})\n{}",
        spoken(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim_end()
    )))
}

/// The failure of a program that could not be started at all.
pub fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("`{}` cannot be started: {error}", spoken(command)))
}

fn quoted(word: &str) -> std::borrow::Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_spoken_as_it_would_be_typed() {
        let mut command = cargo(["test", "--", "two words", "it's", ""]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            spoken(&command),
            r"RUSTDOCFLAGS='-D warnings' cargo test -- 'two words' 'it'\''s' ''"
        );
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let failure = show(&mut Command::new("no-such-program")).expect_err("it cannot run");
        assert!(failure.to_string().starts_with("`no-such-program` cannot be started"));
    }

    #[test]
    fn what_a_failing_program_said_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo sorry >&2; exit 3"]);
        let failure = read(&mut command).expect_err("it fails").to_string();
        assert!(failure.contains("sorry") && failure.contains('3'), "{failure}");
    }
}

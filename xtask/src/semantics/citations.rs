//! The citations of statements in our tests: comments that begin with an id, `// T-40` or `// replaced: T-47`.

use std::path::{Component, Path};

use super::catalogue::is_id;
use crate::shell::Failure;
use crate::workspace;

/// Folders and files that hold nothing but test code.
const TEST_PLACES: [&str; 3] = ["tests", "tests.rs", "conformance"];

/// A place in a test that cites a statement.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Citation {
    /// The statement.
    pub(super) id: String,
    /// As what it is cited.
    pub(super) manner: Manner,
    /// The file, from the root.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: usize,
}

/// As what a statement is cited.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Manner {
    /// As it stands.
    Plain,
    /// By a test of the rule that stands in its place.
    Replaced,
}

/// Every citation in the test code of the workspace.
///
/// # Errors
///
/// If a file cannot be read.
pub(super) fn in_workspace() -> Result<Vec<Citation>, Failure> {
    let mut citations = Vec::new();
    for folder in ["crates", "tests"] {
        for path in workspace::rust_files(folder)? {
            let file = workspace::from_root(&path).to_string();
            citations.extend(in_text(&file, &workspace::text(&path)?));
        }
    }
    Ok(citations)
}

/// The citations in the test code of one file; `file` is its path from the root.
pub(super) fn in_text(file: &str, text: &str) -> Vec<Citation> {
    let mut testing = is_test_place(Path::new(file));
    let mut gated = false;
    let mut citations = Vec::new();
    for (line, words) in (1..).zip(text.lines().map(str::trim)) {
        if testing {
            citations.extend(comment(words).map(|(id, manner)| Citation {
                id: id.to_owned(),
                manner,
                file: file.to_owned(),
                line,
            }));
            continue;
        }
        // Tests come last in a file: all that follows is theirs, unless they are in a file of their own.
        if words.starts_with("#[cfg(") && words.contains("test") {
            gated = true;
        } else if gated && !words.starts_with("#[") {
            gated = false;
            testing = words.starts_with("mod ") && words.ends_with('{');
        }
    }
    citations
}

/// Whether all of a file is test code.
fn is_test_place(file: &Path) -> bool {
    file.components().any(|part| match part {
        Component::Normal(name) => TEST_PLACES.iter().any(|place| name == *place),
        _ => false,
    })
}

/// The ids that the comment of a line begins with; the first other word ends the list.
fn comment(line: &str) -> impl Iterator<Item = (&str, Manner)> {
    let words = line.split_once("//").map_or("", |(_, comment)| comment);
    let mut manner = Manner::Plain;
    words
        .trim_start_matches(['/', '!'])
        .split([' ', ',', ';', ':'])
        .filter(|word| !word.is_empty() && *word != "and")
        .map_while(move |word| {
            if word == "replaced" {
                manner = Manner::Replaced;
                return Some(None);
            }
            let id = word.trim_end_matches('.');
            let cited = is_id(id).then_some(Some((id, manner)));
            // A full stop ends what "replaced" was said of.
            if id != word {
                manner = Manner::Plain;
            }
            cited
        })
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_cites_the_ids_it_begins_with() {
        use Manner::{Plain, Replaced};
        for (line, expected) in [
            ("// T-40", &[("T-40", Plain)][..]),
            ("// L-01 L-02", &[("L-01", Plain), ("L-02", Plain)]),
            ("// L-40, L-41: stop", &[("L-40", Plain), ("L-41", Plain)]),
            ("// T-45 and T-46.", &[("T-45", Plain), ("T-46", Plain)]),
            ("// replaced: T-47", &[("T-47", Replaced)]),
            ("// L-01, replaced: L-02", &[("L-01", Plain), ("L-02", Replaced)]),
            ("// replaced: T-34. T-18: silent", &[("T-34", Replaced), ("T-18", Plain)]),
            ("/// T-38a: what a closing transport takes", &[("T-38a", Plain)]),
            ("check(7); // T-46", &[("T-46", Plain)]),
            ("// as T-40 says", &[]),
            ("// UTF-8", &[]),
            ("T-40", &[]),
        ] {
            assert_eq!(comment(line).collect::<Vec<_>>(), expected, "{line}");
        }
    }

    #[test]
    fn a_citation_outside_of_tests_does_not_count() {
        let text = "// T-01\nfn code() {}\n\n#[cfg(test)]\nmod tests {\n    // T-02\n}\n";
        check("crates/transports/src/stream.rs", text, &["T-02:6"]);
    }

    #[test]
    fn a_test_module_elsewhere_opens_no_test_code_here() {
        let text = "#[cfg(test)]\nmod tests;\n// T-01\n";
        check("crates/transports/src/stream.rs", text, &[]);
        check("crates/transports/src/stream/tests.rs", "// T-01\n", &["T-01:1"]);
    }

    #[test]
    fn attributes_between_the_gate_and_the_module_are_passed_over() {
        let text = "#[cfg(all(test, not(loom)))]\n#[allow(dead_code, reason = \"example\")]\nmod tests {\n// T-01\n";
        check("crates/reactor/src/remote.rs", text, &["T-01:4"]);
    }

    #[test]
    fn folders_of_tests_hold_test_code_throughout() {
        for file in [
            "tests/tests/tcp.rs",
            "crates/reactor/tests/close.rs",
            "crates/testkit/src/conformance/closing.rs",
        ] {
            check(file, "// T-01\n", &["T-01:1"]);
        }
        check("crates/testkit/src/recorder.rs", "// T-01\n", &[]);
    }

    fn check(file: &str, text: &str, expected: &[&str]) {
        let found: Vec<String> = in_text(file, text)
            .iter()
            .map(|citation| format!("{}:{}", citation.id, citation.line))
            .collect();
        assert_eq!(found, expected, "{file}");
    }
}

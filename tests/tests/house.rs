//! The rules of the house, as tests: layers, files that say what they are, unsafe code in its place, pages that tell the truth.

use std::path::Path;

use clap::CommandFactory;
use xtask::arguments::Arguments;
use xtask::workspace::{self, RUST_FOLDERS};

/// Files stay below this many lines, tests included.
const MOST_LINES: usize = 600;

/// The only files that may hold unsafe code.
const UNSAFE_FILES: &[&str] = &[
    "crates/reactor/src/poller/portable.rs",
    "crates/reactor/src/signals/registry.rs",
    "crates/reactor/src/signals/registry/tests.rs",
    "crates/streams/tests/allocations.rs",
    "crates/subprocess/src/pre_exec.rs",
    "crates/subprocess/src/vfork.rs",
    "crates/subprocess/src/watch/kqueue.rs",
    "crates/tls/tests/memory.rs",
    "crates/transports/src/datagram/offload/linux.rs",
    "crates/transports/src/datagram/offload/linux/tests.rs",
    "crates/transports/src/unix/credentials.rs",
];

/// The pages that a newcomer reads.
const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "STYLE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/semantics.md",
];

#[test]
fn no_crate_stands_on_one_above_it() {
    if let Err(failure) = xtask::layers::check() {
        panic!("{failure}");
    }
}

#[test]
fn every_file_opens_with_one_sentence() {
    every_file("opens with no sentence (`//! What it is.`)", |text| {
        let sentence: Vec<&str> =
            text.lines().map_while(|line| line.strip_prefix("//! ")).collect();
        let sentence = sentence.join(" ");
        sentence.len() > 10 && sentence.ends_with(['.', ':', '?'])
    });
}

#[test]
fn every_file_stays_short() {
    every_file("has grown too long", |text| text.lines().count() < MOST_LINES);
}

#[test]
fn unsafe_code_stays_in_its_files() {
    let mut wrong = Vec::new();
    for (name, text) in files(&["crates"]) {
        let allowed = UNSAFE_FILES.contains(&name.as_str());
        for (number, line) in (1..).zip(text.lines()) {
            if !allowed && is_unsafe(line) {
                wrong.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe code outside of its files:\n{}", wrong.join("\n"));
}

#[test]
fn every_crate_without_unsafe_code_forbids_it() {
    for (name, text) in files(&["crates"]) {
        let Some(source) = name.strip_suffix("lib.rs") else {
            continue;
        };
        let allowed = UNSAFE_FILES.iter().any(|file| file.starts_with(source));
        let line = if allowed { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        assert!(text.lines().any(|l| l == line), "{name} lacks the line {line}");
    }
}

#[test]
fn the_commands_on_the_pages_exist() {
    let metadata = workspace::metadata().expect("cargo can read the workspace");
    let targets = |kind: &str| -> Vec<String> {
        let targets = metadata.packages.iter().flat_map(|package| &package.targets);
        targets
            .filter(|target| target.kind.iter().any(|k| k.to_string() == kind))
            .map(|target| target.name.clone())
            .collect()
    };
    let (examples, programs) = (targets("example"), targets("bin"));
    let packages: Vec<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    let tasks = Arguments::command();
    let mut checked = 0;
    for page in PAGES {
        for line in shell_lines(&read(page)) {
            let mut words = line.split_whitespace().skip_while(|word| *word != "cargo").skip(1);
            if words.clone().next() == Some("xtask") {
                let task = words.nth(1).unwrap_or("help");
                let known = task == "help" || tasks.find_subcommand(task).is_some();
                assert!(known, "{page}: there is no task {task}: {line}");
                checked += 1;
            }
            let mut previous = "";
            for word in words {
                let known = match previous {
                    "--example" => examples.iter().any(|name| name == word),
                    "--bin" => programs.iter().any(|name| name == word),
                    "--package" | "-p" => packages.contains(&word),
                    _ => {
                        previous = word;
                        continue;
                    }
                };
                assert!(known, "{page}: there is no {word} for {previous}: {line}");
                checked += 1;
                previous = word;
            }
        }
    }
    assert!(checked > 8, "only {checked} commands were found on the pages");
}

#[test]
fn the_first_two_commands_are_the_promised_ones() {
    let readme = read("README.md");
    let commands: Vec<&str> = shell_lines(&readme).filter(|l| l.starts_with("cargo")).collect();
    assert_eq!(commands[..2], ["cargo run --example tour", "cargo xtask test"]);
}

#[test]
fn every_example_is_on_the_first_page() {
    let readme = read("README.md");
    for (name, _) in files(&["examples"]) {
        let example = name.trim_start_matches("examples/").trim_end_matches(".rs");
        // What the examples share is no example.
        if example == "lib" || example.contains('/') {
            continue;
        }
        assert!(
            readme.contains(&format!("cargo run --example {example}")),
            "README.md does not name the example {example}"
        );
    }
}

#[test]
fn the_links_of_the_pages_lead_somewhere() {
    for page in PAGES {
        let text = read(page);
        let folder = workspace::root().join(page);
        let folder = folder.parent().expect("a page lies in a folder");
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("http") || file.contains(' ') {
                continue;
            }
            let target =
                if file.is_empty() { workspace::root().join(page) } else { folder.join(file) };
            assert!(target.exists(), "{page}: the link {link} leads nowhere");
            assert!(
                anchor.is_empty() || headings(&read_at(&target)).any(|heading| heading == anchor),
                "{page}: no heading for the link {link}"
            );
        }
    }
}

#[test]
fn every_file_of_the_crates_is_on_the_map() {
    let map = read("ARCHITECTURE.md");
    let mut wrong = Vec::new();
    const HOUSES: [&str; 8] = [
        "reactor",
        "protocols",
        "transports",
        "streams",
        "tls",
        "subprocess",
        "testkit",
        "tidegate",
    ];
    for house in HOUSES {
        let named = files_on_the_map(&map, &format!("### crates/{house}"));
        let folder = format!("crates/{house}/src");
        let there: Vec<String> = files(&[&folder])
            .into_iter()
            .map(|(name, _)| name[folder.len() + 1..].to_owned())
            .filter(|name| name != "lib.rs" && !name.ends_with("tests.rs"))
            .collect();
        let covers = |named: &str, file: &str| {
            named == file || named.ends_with('/') && file.starts_with(named)
        };
        for file in &there {
            if !named.iter().any(|named| covers(named, file)) {
                wrong.push(format!("{folder}/{file} is not on the map"));
            }
        }
        for named in &named {
            if !there.iter().any(|file| covers(named, file)) {
                wrong.push(format!("{folder}/{named} is on the map only"));
            }
        }
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

/// The files and folders that the table under a heading names in its first column.
fn files_on_the_map<'a>(map: &'a str, heading: &str) -> Vec<&'a str> {
    let section = map.lines().skip_while(|line| *line != heading).skip(1);
    section
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix('|')?.split('|').next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// Checks every Rust file of ours and names all that do not pass.
fn every_file(complaint: &str, passes: impl Fn(&str) -> bool) {
    let files = files(&RUST_FOLDERS);
    let wrong: Vec<String> =
        files.into_iter().filter(|(_, text)| !passes(text)).map(|(name, _)| name).collect();
    assert!(wrong.is_empty(), "each of these {complaint}:\n{}", wrong.join("\n"));
}

/// The Rust files below these folders: path from the root, and text.
fn files(folders: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in folders {
        for path in workspace::rust_files(folder).expect("the folder is readable") {
            let text = workspace::text(&path).expect("the file is readable");
            files.push((workspace::from_root(&path).to_string(), text));
        }
    }
    assert!(!files.is_empty(), "no file in {folders:?}");
    files
}

/// Whether the line opens an unsafe block, function, implementation or attribute.
fn is_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    let word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("unsafe").any(|(at, found)| {
        !code[..at].ends_with(word) && !code[at + found.len()..].starts_with(word)
    })
}

/// The lines of a page that are typed in a shell.
fn shell_lines(page: &str) -> impl Iterator<Item = &str> {
    let mut in_shell = false;
    page.lines().map(str::trim).filter(move |line| {
        if line.starts_with("```") {
            in_shell = !in_shell && ["```sh", "```console"].contains(line);
            return false;
        }
        in_shell
    })
}

/// Where the links of a page lead, code apart.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    let prose = page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    prose.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
}

/// The headings of a page as links name them.
fn headings(page: &str) -> impl Iterator<Item = String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}

fn read(page: &str) -> String {
    read_at(&workspace::root().join(page))
}

fn read_at(path: &Path) -> String {
    workspace::text(path).expect("the page is there")
}

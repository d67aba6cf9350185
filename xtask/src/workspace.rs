//! The workspace as the tasks see it: its root, its packages, its Rust files.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs};

use cargo_metadata::{Metadata, MetadataCommand};

use crate::shell::Failure;

/// The folders of the workspace that hold Rust files of ours.
pub const RUST_FOLDERS: [&str; 5] = ["crates", "examples", "tests", "xtask", "bench/src"];

/// The root of the workspace.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // What cargo says now comes before what it said then: two copies of the workspace may share a target folder.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        package.parent().expect("a package lies in the workspace").to_owned()
    })
}

/// What cargo knows of our own packages; what they take from elsewhere is left out.
///
/// # Errors
///
/// If a manifest cannot be read; the text is cargo's.
pub fn metadata() -> Result<Metadata, Failure> {
    MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .exec()
        .map_err(|error| Failure::new(format!("cargo cannot read the workspace: {error}")))
}

/// Every Rust file below `folder` (a path from the root), sorted; none if there is no such folder.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn rust_files(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    let folder = root().join(folder);
    if folder.is_dir() {
        collect(&folder, &mut files)?;
    }
    files.sort();
    Ok(files)
}

/// The path from the root, for messages.
pub fn from_root(path: &Path) -> std::path::Display<'_> {
    path.strip_prefix(root()).unwrap_or(path).display()
}

/// The text of a file.
///
/// # Errors
///
/// If it cannot be read; the text names the file.
pub fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| unreadable(path, &error))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        if path.is_dir() {
            // A package may have a target folder of its own; nothing in it is ours.
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be read: {error}", from_root(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn our_own_files_are_found() {
        let files = rust_files("xtask").expect("the folder is readable");
        assert!(files.iter().any(|file| file.ends_with("src/workspace.rs")));
        assert!(rust_files("no/such/folder").expect("nothing to read").is_empty());
    }
}

//! The example of Unix sockets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use super::programs::{Serving, check, output, printed, refused, text, watched_with_examples};

#[test]
fn the_two_ends_of_unix_echo_find_each_other() {
    watched_with_examples(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("echo.sock");
        let path = path.to_str().expect("a readable path");
        // Twice, since a server that is killed leaves its file, and the next one replaces it.
        for _ in 0..2 {
            let mut server: Serving<String> =
                Serving::start_on("unix_echo", &["server", path], "serving on ");
            assert_eq!(server.address, path);
            let file = fs::symlink_metadata(path).expect("a file");
            assert!(file.file_type().is_socket());
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
            check(
                &printed("unix_echo", &["client", path]),
                &[r#"received "Hello World!""#, r#"received "a file ("#],
            );
            assert!(server.line().starts_with("connection"));
            assert!(server.line().starts_with("received a file: "));

            let second = output("unix_echo", &["server", path]);
            assert!(!second.status.success());
            assert!(text(&second.stderr).contains("is already in use"), "{}", text(&second.stderr));
        }
        refused("unix_echo", &["neither"], "invalid value 'neither'");
        let nowhere = output("unix_echo", &["client", "/nowhere/echo.sock"]);
        let complaint = text(&nowhere.stderr);
        assert!(complaint.contains("/nowhere/echo.sock"), "{complaint}");
        assert!(complaint.contains("No such file"), "{complaint}");
    });
}

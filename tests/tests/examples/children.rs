//! The examples of children.

use super::programs::{check, output, printed, refused, text, watched_with_examples};

#[test]
fn the_date_is_what_a_child_has_written() {
    let printed = printed("subprocess_date", &[]);
    check(&printed, &["pipe_data_received: 11 bytes from descriptor 1"]);
    check(&printed, &["pipe_connection_lost: descriptor 1"]);
    check(&printed, &["process_exited: Some(0)"]);
    let date = printed.lines().last().and_then(|line| line.strip_prefix("the date is "));
    let date = date.unwrap_or_else(|| panic!("{printed}"));
    assert_eq!(date.split('-').map(str::len).collect::<Vec<_>>(), [4, 2, 2], "{date}");
}

#[test]
fn the_pipeline_sorts_and_ends_when_enough_was_seen() {
    watched_with_examples(|| {
        let ended = output("subprocess_pipeline", &[]);
        assert!(ended.status.success());
        assert_eq!(text(&ended.stdout), "200000\n199999\n199998\n199997\n199996\n");
        let told = text(&ended.stderr);
        check(&told, &["seq ended with 0", "sort ended with", "head ended with 0"]);
        check(&told, &["1288895 bytes were sorted"]);

        let ended = output("subprocess_pipeline", &["3"]);
        assert_eq!(text(&ended.stdout), "3\n2\n1\n");
        let told = text(&ended.stderr);
        check(&told, &["sort ended with 0", "6 bytes were sorted, 6 went on to head"]);
        assert!(text(&output("subprocess_pipeline", &["--help"]).stdout).contains("[LINES]"));
        refused("subprocess_pipeline", &["many"], "invalid value 'many'");
    });
}

#[test]
fn many_commands_are_run_a_few_at_a_time() {
    watched_with_examples(|| {
        let ended = output("run_many", &[]);
        assert!(ended.status.success());
        let mut lines: Vec<_> = text(&ended.stdout).lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line.trim_start_matches("command ").parse().unwrap_or(0));
        let expected: Vec<_> = (1..=200).map(|number| format!("command {number}")).collect();
        assert_eq!(lines, expected);
        assert_eq!(text(&ended.stderr), "200 commands, at most 8 at a time, 0 failed\n");

        let commands = ["--jobs", "2", "echo out; echo error >&2; exit 3", "kill -9 $$", "yes"];
        let ended = output("run_many", &commands);
        assert_eq!(ended.status.code(), Some(1));
        assert_eq!(text(&ended.stdout), "out\nerror\n");
        let mut told: Vec<_> = text(&ended.stderr).lines().map(str::to_owned).collect();
        assert_eq!(told.pop().as_deref(), Some("3 commands, at most 2 at a time, 3 failed"));
        told.sort();
        let expected = [
            "echo out; echo error >&2; exit 3: exit status: 3",
            "kill -9 $$: signal: 9 (SIGKILL)",
            "yes: killed: it printed more than 1048576 bytes",
        ];
        assert_eq!(told, expected);

        assert!(text(&output("run_many", &["--help"]).stdout).contains("--jobs"));
        refused("run_many", &["--jobs", "0"], "invalid value '0'");
    });
}

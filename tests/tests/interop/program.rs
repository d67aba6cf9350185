//! Another program, whose lines are awaited in the loop, and which is ended with the case.

use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use tempfile::tempfile;
use tidegate::{Flow, StreamReader, StreamWriter, open_read_pipe, open_write_pipe};

/// A running program. Dropped, it is killed, and if the case has failed it is told what the program has said.
pub(crate) struct Program {
    name: String,
    process: Child,
    input: Option<StreamWriter>,
    output: StreamReader,
    complaints: std::fs::File,
    seen: Vec<u8>,
}

/// How a program has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// All that it has printed, what was read before as well.
    pub(crate) printed: String,
    pub(crate) complaints: String,
}

impl Program {
    /// Starts it. Its standard input stays open until it is ended.
    pub(crate) async fn start(command: &mut Command) -> Program {
        let complaints = tempfile().expect("a file");
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone().expect("the same file"))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let input = process.stdin.take().expect("it is piped");
        let output = process.stdout.take().expect("it is piped");
        Program {
            name: format!("{command:?}"),
            process,
            input: Some(open_write_pipe(input).await.expect("a pipe")),
            output: open_read_pipe(output).await.expect("a pipe"),
            complaints,
            seen: Vec::new(),
        }
    }

    /// Reads lines up to one that begins so, and answers the rest of it.
    pub(crate) async fn line(&mut self, beginning: &str) -> String {
        loop {
            let line = self.output.readline().await.expect("a line that is not too long");
            assert!(!line.is_empty(), "it has ended without a line that begins {beginning:?}");
            self.seen.extend_from_slice(&line);
            if let Some(rest) = String::from_utf8_lossy(&line).strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Reads so many bytes of what it prints.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.output.readexactly(count).await.expect("as many bytes").to_vec()
    }

    /// Gives it this to read.
    pub(crate) fn tell(&self, text: &[u8]) -> Flow {
        self.input.as_ref().expect("it is open").write(text)
    }

    /// Ends its standard input, when all that it was given is written.
    pub(crate) fn end_input(&mut self) {
        drop(self.input.take());
    }

    /// Kills it, by its number.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it runs, or has not been waited for");
    }

    /// Waits until it has ended, and answers how.
    pub(crate) async fn ended(mut self) -> Ended {
        let rest = self.output.read_to_end().await.expect("what it prints");
        self.seen.extend_from_slice(&rest);
        Ended {
            status: self.process.wait().expect("a child of ours"),
            printed: String::from_utf8_lossy(&self.seen).into_owned(),
            complaints: self.complaints(),
        }
    }

    fn complaints(&mut self) -> String {
        let mut complaints = Vec::new();
        self.complaints.seek(SeekFrom::Start(0)).expect("a file");
        self.complaints.read_to_end(&mut complaints).expect("a file");
        String::from_utf8_lossy(&complaints).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended, and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            let complaints = self.complaints();
            let printed = String::from_utf8_lossy(&self.seen);
            eprintln!("{} has printed:\n{printed}\nand complained:\n{complaints}", self.name);
        }
    }
}

impl Ended {
    /// It has succeeded, and printed this.
    pub(crate) fn well(&self, printed: &[&str]) {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.printed, self.complaints);
        self.saying(printed);
    }

    /// It has not succeeded, and said this.
    pub(crate) fn badly(&self, said: &[&str]) {
        assert!(!self.status.success(), "{}\n{}\n{}", self.status, self.printed, self.complaints);
        self.saying(said);
    }

    /// It has said this, in any order.
    pub(crate) fn saying(&self, said: &[&str]) {
        for text in said {
            assert!(
                self.printed.contains(text) || self.complaints.contains(text),
                "it has not said {text:?} but\n{}\n{}",
                self.printed,
                self.complaints
            );
        }
    }
}

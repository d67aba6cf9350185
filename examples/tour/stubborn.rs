//! A child that does not end when it is asked to, seen from a task.

use std::io;

use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    let about = "It ignores SIGTERM and goes on; SIGKILL it cannot ignore.";
    transcript.scene("A stubborn child", about);

    let command = "trap '' TERM; echo ready; read line; echo still here; read line";
    let child = create_subprocess_shell(command).stdin(Stdio::Pipe).stdout(Stdio::Pipe);
    let mut process = child.kill_on_drop(true).await?;
    let mut answers = Vec::new();
    for ask in ["nothing yet", "terminate"] {
        if ask == "terminate" {
            process.terminate()?;
            transcript.note("task", "has asked it to end, and writes it a line");
            process.stdin.as_ref().expect("it is piped").write(b"\n");
        }
        let answer = process.stdout.as_mut().expect("it is piped").readline().await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        transcript.note("task", format!("readline answers {answer:?}"));
        answers.push(answer);
    }
    process.kill()?;
    process.wait().await;
    transcript
        .note("task", format!("has killed it; the return code is {:?}", process.returncode()));

    transcript.check("it went on after SIGTERM", answers == ["ready\n", "still here\n"]);
    transcript.check("it died of SIGKILL", process.returncode() == Some(-9));
    Ok(())
}

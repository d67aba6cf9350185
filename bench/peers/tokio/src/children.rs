//! The tests of `micro` about children, on tokio: `children-tokio TEST`.

use std::cell::Cell;
use std::io;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdout, Command};
use tokio::task::{LocalSet, spawn_local};

const CHILDREN: usize = 500;
const PIPE_BYTES: usize = 256 << 20;
const CHUNK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let test = std::env::args().nth(1).unwrap_or_default();
    let started = (Instant::now(), processor_time());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let count = LocalSet::new().block_on(&runtime, async {
        match test.as_str() {
            "subprocess" => spawned(1).await,
            "subprocess_8" => spawned(8).await,
            "pipe" => read().await,
            "pipe_both" => through().await,
            _ => Err(io::Error::other("subprocess, subprocess_8, pipe or pipe_both")),
        }
    })?;
    let (wall, processor) = (started.0.elapsed().as_secs_f64(), processor_time() - started.1);
    println!(r#"{{"n":{count},"wall_s":{wall:.6},"cpu_s":{processor:.6}}}"#);
    Ok(())
}

/// The processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn spawned(at_a_time: usize) -> io::Result<usize> {
    let left = Rc::new(Cell::new(CHILDREN));
    let tasks: Vec<_> = (0..at_a_time)
        .map(|_| {
            let left = Rc::clone(&left);
            spawn_local(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let status = Command::new("/bin/true").spawn()?.wait().await?;
                    assert!(status.success());
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(CHILDREN)
}

async fn read() -> io::Result<usize> {
    let mut command = Command::new("head");
    command.args(["-c", &PIPE_BYTES.to_string(), "/dev/zero"]).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let read = read_all(child.stdout.take().expect("it is piped")).await?;
    child.wait().await?;
    Ok(read >> 20)
}

async fn through() -> io::Result<usize> {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let writing = spawn_local(async move {
        let chunk = vec![0; CHUNK];
        for _ in 0..PIPE_BYTES / CHUNK {
            stdin.write_all(&chunk).await?;
        }
        stdin.shutdown().await
    });
    let read = read_all(child.stdout.take().expect("it is piped")).await?;
    writing.await??;
    child.wait().await?;
    Ok(read >> 20)
}

async fn read_all(mut stdout: ChildStdout) -> io::Result<usize> {
    let (mut buffer, mut read) = (vec![0; CHUNK], 0);
    loop {
        match stdout.read(&mut buffer).await? {
            0 => return Ok(read),
            length => read += length,
        }
    }
}

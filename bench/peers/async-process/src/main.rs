//! The tests of `micro` about children, on async-process: `children-async-process TEST`.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use async_executor::LocalExecutor;
use async_process::{ChildStdout, Command, Stdio};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use rustix::time::{ClockId, clock_gettime};

const CHILDREN: usize = 500;
const PIPE_BYTES: usize = 256 << 20;
const CHUNK: usize = 64 << 10;

fn main() -> io::Result<()> {
    let test = std::env::args().nth(1).unwrap_or_default();
    let started = (Instant::now(), processor_time());
    let executor = LocalExecutor::new();
    let count = async_io::block_on(executor.run(async {
        match test.as_str() {
            "subprocess" => spawned(&executor, 1).await,
            "subprocess_8" => spawned(&executor, 8).await,
            "pipe" => read().await,
            "pipe_both" => through(&executor).await,
            _ => Err(io::Error::other("subprocess, subprocess_8, pipe or pipe_both")),
        }
    }))?;
    let (wall, processor) = (started.0.elapsed().as_secs_f64(), processor_time() - started.1);
    println!(r#"{{"n":{count},"wall_s":{wall:.6},"cpu_s":{processor:.6}}}"#);
    Ok(())
}

/// The processor time of this process so far, in seconds.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn spawned(executor: &LocalExecutor<'_>, at_a_time: usize) -> io::Result<usize> {
    let left = std::rc::Rc::new(Cell::new(CHILDREN));
    let tasks: Vec<_> = (0..at_a_time)
        .map(|_| {
            let left = left.clone();
            executor.spawn(async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let status = Command::new("/bin/true").spawn()?.status().await?;
                    assert!(status.success());
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await?;
    }
    Ok(CHILDREN)
}

async fn read() -> io::Result<usize> {
    let mut command = Command::new("head");
    command.args(["-c", &PIPE_BYTES.to_string(), "/dev/zero"]).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let read = read_all(child.stdout.take().expect("it is piped")).await?;
    child.status().await?;
    Ok(read >> 20)
}

async fn through(executor: &LocalExecutor<'_>) -> io::Result<usize> {
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let writing = executor.spawn(async move {
        let chunk = vec![0; CHUNK];
        for _ in 0..PIPE_BYTES / CHUNK {
            stdin.write_all(&chunk).await?;
        }
        stdin.close().await
    });
    let read = read_all(child.stdout.take().expect("it is piped")).await?;
    writing.await?;
    child.status().await?;
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

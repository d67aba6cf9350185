//! The tests about children: how long starting them takes, and what flows through their pipes.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use tidegate::prelude::*;

const CHILDREN: usize = 500;
const PIPE_BYTES: usize = 256 << 20;
const CHUNK: usize = 64 << 10;

/// Starts programs that do nothing and waits for their ends, so many at a time.
pub(crate) async fn spawned(at_a_time: usize) -> io::Result<usize> {
    let left = Rc::new(Cell::new(CHILDREN));
    let work = |left: Rc<Cell<usize>>| async move {
        while left.get() > 0 {
            left.set(left.get() - 1);
            let process = create_subprocess_exec("/bin/true").await?;
            assert!(process.wait().await.success());
        }
        io::Result::Ok(())
    };
    let tasks = (0..at_a_time).map(|_| spawn(work(Rc::clone(&left))));
    for task in tasks.collect::<Result<Vec<_>, _>>()? {
        task.await??;
    }
    Ok(CHILDREN)
}

/// Reads what a child writes; counts in MiB.
pub(crate) async fn read() -> io::Result<usize> {
    let child = create_subprocess_exec("head").args(["-c", &PIPE_BYTES.to_string(), "/dev/zero"]);
    let mut process = child.stdout(Stdio::Pipe).await?;
    let read = read_all(process.stdout.take().expect("it is piped")).await?;
    process.wait().await;
    Ok(read >> 20)
}

/// Writes to `cat` what it writes back; counts in MiB.
pub(crate) async fn through() -> io::Result<usize> {
    let child = create_subprocess_exec("cat").stdin(Stdio::Pipe).stdout(Stdio::Pipe);
    let mut process = child.await?;
    let stdin = process.stdin.take().expect("it is piped");
    let writing = spawn(async move {
        let chunk = Bytes::from(vec![0; CHUNK]);
        for _ in 0..PIPE_BYTES / CHUNK {
            stdin.write_bytes(chunk.clone());
            stdin.drain().await?;
        }
        stdin.close().await
    })?;
    let read = read_all(process.stdout.take().expect("it is piped")).await?;
    writing.await??;
    process.wait().await;
    Ok(read >> 20)
}

async fn read_all(mut stdout: StreamReader) -> io::Result<usize> {
    let mut read = 0;
    while let Some(chunk) = stdout.read_chunk().await? {
        read += chunk.len();
    }
    Ok(read)
}

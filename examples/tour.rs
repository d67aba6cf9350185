//! A tour of the library: short scenes on loopback, each callback printed as it comes:
//! `cargo run --example tour`.
//!
//! It ends with exit code 0 if everything happens as announced. A scene is a file in the folder `tour`, or several
//! of one subject are; to add one, write its file and put it into the list below.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tidegate::Report;
use tidegate::prelude::*;
use tidegate_examples::no_arguments;

use tour::transcript::Transcript;
use tour::{abort, child, datagrams, echo, half_close, pipes, refused, sendfile};
use tour::{signal, slow_reader, streams, stubborn, timers, tls, unix};

/// The scenes, and what they are told with.
mod tour {
    pub(crate) mod abort;
    pub(crate) mod child;
    pub(crate) mod datagrams;
    pub(crate) mod echo;
    pub(crate) mod half_close;
    pub(crate) mod pipes;
    pub(crate) mod refused;
    pub(crate) mod sendfile;
    pub(crate) mod signal;
    pub(crate) mod slow_reader;
    pub(crate) mod streams;
    pub(crate) mod stubborn;
    pub(crate) mod timers;
    pub(crate) mod tls;
    pub(crate) mod transcript;
    pub(crate) mod unix;
}

/// The whole tour takes about a second; if it takes this long, something hangs.
const TIME_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    no_arguments("Plays every scene of the tour");
    let started = Instant::now();
    let transcript = Transcript::default();
    let ended = tidegate::run(async {
        // What no callback can answer for, such as a panic, is reported to the loop's handler.
        let reports = transcript.clone();
        let tell = move |report: &Report| reports.failure(&report.to_string());
        LoopHandle::current()?.set_exception_handler(Some(tell));

        timeout(TIME_LIMIT, play(&transcript)).await?
    });
    if let Err(error) = ended {
        transcript.failure(&format!("the tour broke off: {error}"));
    }
    transcript.end(started.elapsed())
}

async fn play(transcript: &Transcript) -> io::Result<()> {
    echo::play(transcript).await?;
    slow_reader::play(transcript).await?;
    half_close::play(transcript).await?;
    abort::play(transcript).await?;
    refused::play(transcript).await?;
    sendfile::play(transcript).await?;
    unix::play(transcript).await?;
    pipes::play(transcript).await?;
    datagrams::play(transcript).await?;
    streams::play(transcript).await?;
    tls::play(transcript).await?;
    child::play(transcript).await?;
    stubborn::play(transcript).await?;
    timers::play(transcript).await?;
    signal::play(transcript).await?;
    Ok(())
}

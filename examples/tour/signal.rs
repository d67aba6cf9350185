//! A signal: it comes as a callback of the loop, where everything may be done.

use std::io;

use tidegate::Signal;
use tidegate::prelude::*;

use super::transcript::Transcript;

pub(crate) async fn play(transcript: &Transcript) -> io::Result<()> {
    transcript.scene(
        "A signal",
        "The program sends itself SIGUSR1, which would end it if nobody handled it.",
    );

    let handle = LoopHandle::current()?;
    let (promise, came) = create_future();
    let stage = transcript.clone();
    handle.add_signal_handler(Signal::SIGUSR1, move || {
        stage.note("signal", "SIGUSR1 has come");
        // It is refused if the tour has broken off.
        let _ = promise.set_result(());
    })?;

    nix::sys::signal::raise(Signal::SIGUSR1)?;
    transcript.note("task", "SIGUSR1 is sent; its callback waits for the loop");
    came.await?;
    let removed = handle.remove_signal_handler(Signal::SIGUSR1);

    transcript.check("the signal came as a callback", true);
    transcript.check("there was a handler to remove", removed);
    Ok(())
}

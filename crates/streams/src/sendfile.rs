//! Sending a file on a stream.

use std::os::fd::AsFd;

use tidegate_transports::{Sendfile, sendfile};

use crate::StreamWriter;

impl StreamWriter {
    /// Sends a file, in its place among what is written; the answer is how many of its bytes were sent.
    ///
    /// Everything is as for [`sendfile`](sendfile()): `offset`, `count` and `fallback` are set on what this returns,
    /// what is written before goes first, and what is written meanwhile waits behind. Nothing is read
    /// meanwhile. Need not be drained before or after.
    ///
    /// # Errors
    ///
    /// See [`SendfileError`](tidegate_transports::SendfileError).
    ///
    /// # Cancel safety
    ///
    /// As for [`sendfile`](sendfile()): the file's position tells how much was sent.
    ///
    /// The asyncio counterpart is `loop.sendfile(writer.transport, file)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io;
    /// use tidegate_streams::{StreamReader, StreamWriter};
    ///
    /// async fn send(_reader: StreamReader, writer: StreamWriter) -> io::Result<()> {
    ///     let file = File::open("report.txt")?;
    ///     writer.write(b"here it comes:\n");
    ///     writer.sendfile(&file).await?;
    ///     writer.close().await
    /// }
    /// ```
    pub fn sendfile<'f>(&self, file: &'f impl AsFd) -> Sendfile<'f> {
        sendfile(self.wire(), file)
    }
}

//! Filling a reader by hand.

use std::fmt;
use std::io;
use std::rc::Rc;

use tidegate_protocols::{Cause, Transport};

use crate::inbox::End;
use crate::link::Link;

/// Fills a reader that belongs to no connection.
///
/// In asyncio these are methods of `StreamReader`; here the reader may be lent to a read meanwhile, so they have
/// a handle of their own. Clones fill the same reader. One whose reader is gone does nothing.
///
/// # Examples
///
/// ```
/// use tidegate_streams::StreamReader;
///
/// tidegate_reactor::run(async {
///     let mut reader = StreamReader::new(1024)?;
///     let feeder = reader.feeder();
///     tidegate_reactor::spawn(async move {
///         feeder.feed_data(b"later");
///         feeder.feed_eof();
///     })?;
///     assert_eq!(reader.read_to_end().await?, "later");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Feeder {
    link: Rc<Link>,
}

impl Feeder {
    pub(crate) fn new(link: &Rc<Link>) -> Feeder {
        Feeder { link: Rc::clone(link) }
    }

    /// Appends data for the reader. Empty data does nothing.
    ///
    /// # Panics
    ///
    /// After [`feed_eof`](Feeder::feed_eof).
    pub fn feed_data(&self, data: &[u8]) {
        assert!(!self.link.inbox.has_eof(), "feed_data after feed_eof");
        if !data.is_empty() {
            self.link.inbox.put(data);
            self.link.received();
        }
    }

    /// Ends the stream. May be called again.
    pub fn feed_eof(&self) {
        self.link.inbox.end_with_eof();
    }

    /// Makes every read fail with `error` from now on, even if there is data. A later call replaces the error.
    pub fn set_exception(&self, error: io::Error) {
        self.link.alarmed.set(true);
        self.link.inbox.end_with(End::Failed, Cause::from(error));
    }

    /// Sets the transport to be paused when more than twice the limit waits.
    ///
    /// # Panics
    ///
    /// If there is one already.
    pub fn set_transport(&self, transport: &Transport) {
        assert!(self.link.set_transport(transport), "Transport already set");
    }
}

impl fmt::Debug for Feeder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeder").field("end", &self.link.inbox.end()).finish_non_exhaustive()
    }
}

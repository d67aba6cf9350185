//! How a connection that stands already goes on one storey up, for those who do not know what will stand in between.

use std::future::Future;
use std::io;

use crate::Transport;

/// A way to put a layer under the protocol of a connection that stands already.
///
/// It is what `start_tls` of streams takes: they know no TLS, and hand on what they are given. Whoever writes a layer
/// can implement it too, with [`Transport::raise`]; compression and proxies begin like that as well.
///
/// `By` is a type of whoever implements it, such as the one that does it; with it, pairs and other types of the standard
/// library can be a way too. It is always inferred.
///
/// # Examples
///
/// A way that insists on a fresh start and then puts nothing in between:
///
/// ```
/// use std::future::{Ready, ready};
/// use std::io;
/// use tidegate_protocols::{Raise, Transport};
///
/// struct Nothing;
///
/// impl Raise<Nothing> for Nothing {
///     type Raised = Ready<io::Result<Transport>>;
///
///     fn raise(self, transport: &Transport, unread: &[u8]) -> io::Result<Self::Raised> {
///         match unread.len() {
///             0 => Ok(ready(Ok(transport.clone()))),
///             _ => Err(io::Error::new(io::ErrorKind::InvalidData, "somebody was too fast")),
///         }
///     }
/// }
/// ```
pub trait Raise<By> {
    /// Resolves when the layer has opened, to the same handle. It need not be awaited; dropped, it cancels nothing.
    type Raised: Future<Output = io::Result<Transport>>;

    /// Raises the connection behind all shares of `transport`, now.
    ///
    /// `unread` is what the peer has sent and nobody has read. Who answers with `Ok` has it: it is the beginning of what
    /// the layer receives.
    ///
    /// # Errors
    ///
    /// What is wrong with the connection, with the configuration, or with there being unread bytes. Nothing has happened
    /// then, and the bytes are still the caller's.
    fn raise(self, transport: &Transport, unread: &[u8]) -> io::Result<Self::Raised>;
}

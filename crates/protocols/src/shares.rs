//! Protocols that are shares or boxes of others.

use std::any::type_name;
use std::cell::{RefCell, RefMut};
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;

use crate::{AtEof, Cause, Incoming, Protocol, Transport};

/// A share: whoever made the protocol keeps another and looks at it between callbacks.
///
/// A share that is borrowed when a callback is due ends its connection with an error that says so, and the
/// callback does not come. That includes `connection_lost`, of which only a report is left.
impl<P: Protocol + ?Sized> Protocol for Rc<RefCell<P>> {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.connection_made(transport);
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        self.try_borrow_mut().map_err(|_| share_is_borrowed::<P>())?.data_received(transport, data)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        self.try_borrow_mut().map_err(|_| share_is_borrowed::<P>())?.eof_received(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.pause_writing(transport);
        }
    }

    fn resume_writing(&mut self, transport: &Transport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.resume_writing(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        match self.try_borrow_mut() {
            Ok(mut protocol) => protocol.connection_lost(transport, cause),
            // There is nothing left to fail: the transport reports this as it does a panic.
            Err(_) => resume_unwind(Box::new(share_is_borrowed::<P>().to_string())),
        }
    }

    fn buffer_updated(&mut self, transport: &Transport, length: usize) -> io::Result<()> {
        self.try_borrow_mut()
            .map_err(|_| share_is_borrowed::<P>())?
            .buffer_updated(transport, length)
    }

    // `get_buffer` cannot be forwarded through a `RefCell`; `receive`, which asks for it, can.
    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        self.try_borrow_mut().map_err(|_| share_is_borrowed::<P>())?.receive(transport, incoming)
    }

    fn type_name(&self) -> &'static str {
        match self.try_borrow() {
            Ok(protocol) => Protocol::type_name(&*protocol),
            Err(_) => type_name::<P>(),
        }
    }
}

/// Why a callback of a shared protocol did not come: the share was borrowed.
///
/// For those who write a kind of protocol of their own, whose shares are to say the same.
///
/// ```
/// let error = tidegate_protocols::share_is_borrowed::<String>();
/// assert!(error.to_string().contains("the shared protocol alloc::string::String was borrowed"));
/// ```
pub fn share_is_borrowed<P: ?Sized>() -> io::Error {
    let name = type_name::<P>();
    io::Error::other(format!(
        "the shared protocol {name} was borrowed when its callback was due: \
         do not hold a borrow of it across an .await"
    ))
}

/// The protocol of a share; if it is borrowed, the connection fails.
fn ours<'a, P: ?Sized>(share: &'a Rc<RefCell<P>>, transport: &Transport) -> Option<RefMut<'a, P>> {
    match share.try_borrow_mut() {
        Ok(protocol) => Some(protocol),
        Err(_) => {
            transport.fail(share_is_borrowed::<P>().into());
            None
        }
    }
}

impl<P: Protocol + ?Sized> Protocol for Box<P> {
    fn connection_made(&mut self, transport: &Transport) {
        (**self).connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) -> io::Result<()> {
        (**self).data_received(transport, data)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        (**self).eof_received(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        (**self).pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        (**self).resume_writing(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        (**self).connection_lost(transport, cause);
    }

    fn get_buffer(&mut self, size_hint: Option<usize>) -> Option<&mut [u8]> {
        (**self).get_buffer(size_hint)
    }

    fn buffer_updated(&mut self, transport: &Transport, length: usize) -> io::Result<()> {
        (**self).buffer_updated(transport, length)
    }

    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        (**self).receive(transport, incoming)
    }

    fn type_name(&self) -> &'static str {
        Protocol::type_name(&**self)
    }
}

#[cfg(test)]
mod tests;

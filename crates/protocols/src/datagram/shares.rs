//! Datagram protocols that are shares or boxes of others.

use std::any::type_name;
use std::cell::{RefCell, RefMut};
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;

use super::{DatagramProtocol, DatagramTransport};
use crate::shares::share_is_borrowed;
use crate::{Address, Cause};

/// A share: whoever made the protocol keeps another and looks at it between callbacks.
///
/// A share that is borrowed when a callback is due does not get it. A datagram or an error that is missed so is
/// reported, and the endpoint goes on. `connection_made`, `pause_writing` and `resume_writing` are not said twice, so an
/// endpoint that misses one of them ends with an error that says so.
impl<P: DatagramProtocol + ?Sized> DatagramProtocol for Rc<RefCell<P>> {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.connection_made(transport);
        }
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        self.try_borrow_mut()
            .map_err(|_| share_is_borrowed::<P>())?
            .datagram_received(transport, data, from)
    }

    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        self.try_borrow_mut()
            .map_err(|_| share_is_borrowed::<P>())?
            .error_received(transport, error)
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.pause_writing(transport);
        }
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.resume_writing(transport);
        }
    }

    fn connection_lost(&mut self, transport: &DatagramTransport, cause: Option<Cause>) {
        match self.try_borrow_mut() {
            Ok(mut protocol) => protocol.connection_lost(transport, cause),
            // There is nothing left to fail: the transport reports this as it does a panic.
            Err(_) => resume_unwind(Box::new(share_is_borrowed::<P>().to_string())),
        }
    }

    fn type_name(&self) -> &'static str {
        match self.try_borrow() {
            Ok(protocol) => DatagramProtocol::type_name(&*protocol),
            Err(_) => type_name::<P>(),
        }
    }
}

/// The protocol of a share; if it is borrowed, the endpoint fails.
fn ours<'a, P: ?Sized>(
    share: &'a Rc<RefCell<P>>,
    transport: &DatagramTransport,
) -> Option<RefMut<'a, P>> {
    match share.try_borrow_mut() {
        Ok(protocol) => Some(protocol),
        Err(_) => {
            transport.fail(share_is_borrowed::<P>().into());
            None
        }
    }
}

impl<P: DatagramProtocol + ?Sized> DatagramProtocol for Box<P> {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        (**self).connection_made(transport);
    }

    fn datagram_received(
        &mut self,
        transport: &DatagramTransport,
        data: &[u8],
        from: &Address,
    ) -> io::Result<()> {
        (**self).datagram_received(transport, data, from)
    }

    fn error_received(
        &mut self,
        transport: &DatagramTransport,
        error: io::Error,
    ) -> io::Result<()> {
        (**self).error_received(transport, error)
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        (**self).pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        (**self).resume_writing(transport);
    }

    fn connection_lost(&mut self, transport: &DatagramTransport, cause: Option<Cause>) {
        (**self).connection_lost(transport, cause);
    }

    fn type_name(&self) -> &'static str {
        DatagramProtocol::type_name(&**self)
    }
}

//! Protocols of children that are shares or boxes of others.

use std::any::type_name;
use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::RawFd;
use std::panic::resume_unwind;
use std::rc::Rc;

use tidegate_protocols::{Cause, share_is_borrowed};

use crate::{SubprocessProtocol, SubprocessTransport};

/// A share: whoever made the protocol keeps another and looks at it between callbacks.
///
/// A share that is borrowed when a callback is due ends its transport with an error that says so, and the callback does
/// not come. That includes `connection_lost`, of which only a report is left.
impl<P: SubprocessProtocol + ?Sized> SubprocessProtocol for Rc<RefCell<P>> {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.connection_made(transport);
        }
    }

    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        self.try_borrow_mut()
            .map_err(|_| share_is_borrowed::<P>())?
            .pipe_data_received(transport, fd, data)
    }

    fn pipe_connection_lost(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        cause: Option<Cause>,
    ) -> io::Result<()> {
        self.try_borrow_mut()
            .map_err(|_| share_is_borrowed::<P>())?
            .pipe_connection_lost(transport, fd, cause)
    }

    fn pause_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.pause_writing(transport, fd);
        }
    }

    fn resume_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {
        if let Some(mut protocol) = ours(self, transport) {
            protocol.resume_writing(transport, fd);
        }
    }

    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        self.try_borrow_mut().map_err(|_| share_is_borrowed::<P>())?.process_exited(transport)
    }

    fn connection_lost(&mut self, transport: &SubprocessTransport, cause: Option<Cause>) {
        match self.try_borrow_mut() {
            Ok(mut protocol) => protocol.connection_lost(transport, cause),
            // There is nothing left to fail: the transport reports this as it does a panic.
            Err(_) => resume_unwind(Box::new(share_is_borrowed::<P>().to_string())),
        }
    }

    fn type_name(&self) -> &'static str {
        match self.try_borrow() {
            Ok(protocol) => SubprocessProtocol::type_name(&*protocol),
            Err(_) => type_name::<P>(),
        }
    }
}

/// The protocol of a share; if it is borrowed, the transport fails.
fn ours<'a, P: ?Sized>(
    share: &'a Rc<RefCell<P>>,
    transport: &SubprocessTransport,
) -> Option<RefMut<'a, P>> {
    match share.try_borrow_mut() {
        Ok(protocol) => Some(protocol),
        Err(_) => {
            transport.fail(share_is_borrowed::<P>().into());
            None
        }
    }
}

impl<P: SubprocessProtocol + ?Sized> SubprocessProtocol for Box<P> {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        (**self).connection_made(transport);
    }

    fn pipe_data_received(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        data: &[u8],
    ) -> io::Result<()> {
        (**self).pipe_data_received(transport, fd, data)
    }

    fn pipe_connection_lost(
        &mut self,
        transport: &SubprocessTransport,
        fd: RawFd,
        cause: Option<Cause>,
    ) -> io::Result<()> {
        (**self).pipe_connection_lost(transport, fd, cause)
    }

    fn pause_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {
        (**self).pause_writing(transport, fd);
    }

    fn resume_writing(&mut self, transport: &SubprocessTransport, fd: RawFd) {
        (**self).resume_writing(transport, fd);
    }

    fn process_exited(&mut self, transport: &SubprocessTransport) -> io::Result<()> {
        (**self).process_exited(transport)
    }

    fn connection_lost(&mut self, transport: &SubprocessTransport, cause: Option<Cause>) {
        (**self).connection_lost(transport, cause);
    }

    fn type_name(&self) -> &'static str {
        SubprocessProtocol::type_name(&**self)
    }
}

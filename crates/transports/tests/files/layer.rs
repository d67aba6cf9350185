//! Layers as users write them: one that knows nothing of turns, and one that changes what is sent.

use std::any::{Any, TypeId};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocols::{
    Address, Cause, Change, Flow, Protocol, RawTransport, Transport, TransportStatistics, Turn,
    TurnError, Waiter, WithProtocolError, WriteLimits,
};

/// Turns each byte that is written over.
fn veiled(data: &[u8]) -> Vec<u8> {
    data.iter().map(|byte| !byte).collect()
}

/// Raises `transport` above a layer that turns over what is written.
pub(crate) fn raise(transport: &Transport, grants_turns: bool) {
    let below = transport.raw();
    let veil = Rc::new(Veil { below: below.clone(), grants_turns });
    transport.raise(|_| veil);
    below.rebind(transport.clone());
}

struct Veil {
    below: Rc<dyn RawTransport>,
    grants_turns: bool,
}

struct VeiledTurn(Box<dyn Turn>);

impl Turn for VeiledTurn {
    fn poll_write(
        &self,
        data: &[u8],
        waiter: &Waiter,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(&veiled(data), waiter, context)
    }
}

/// What a layer hands on as it is.
macro_rules! handed_on {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {
        $(fn $name(&self, $($argument: $type),*) $(-> $answer)? {
            self.below.$name($($argument),*)
        })*
    };
}

impl RawTransport for Veil {
    fn write(&self, data: &[u8]) -> Flow {
        self.below.write(&veiled(data))
    }

    fn write_bytes(&self, data: Bytes) -> Flow {
        self.below.write(&veiled(&data))
    }

    fn writelines(&self, lines: &[&[u8]]) -> Flow {
        self.below.write(&veiled(&lines.concat()))
    }

    fn take_turn(&self) -> Result<Box<dyn Turn>, TurnError> {
        match self.grants_turns {
            true => Ok(Box::new(VeiledTurn(self.below.take_turn()?))),
            false => Err(TurnError::Unsupported),
        }
    }

    handed_on! {
        fn poll_flush(waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>>;
        fn write_eof() -> io::Result<()>;
        fn can_write_eof() -> bool;
        fn close();
        fn abort();
        fn close_lingering(bytes: usize, time: Duration);
        fn fail(cause: Cause);
        fn is_closing() -> bool;
        fn pause_reading();
        fn resume_reading();
        fn is_reading() -> bool;
        fn flow() -> Flow;
        fn flow_told() -> Flow;
        fn get_write_buffer_size() -> usize;
        fn get_write_buffer_limits() -> WriteLimits;
        fn set_write_buffer_limits(limits: WriteLimits);
        fn change_protocol(change: Change);
        fn with_protocol(look: &mut dyn FnMut(&mut dyn Protocol)) -> Result<(), WithProtocolError>;
        fn rebind(handle: Transport);
        fn poll_closed(waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>>;
        fn peer_hung_up() -> bool;
        fn peername() -> Option<Address>;
        fn sockname() -> Option<Address>;
        fn extra_info(wanted: TypeId) -> Option<Rc<dyn Any>>;
        fn with_socket(look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool;
        fn statistics() -> TransportStatistics;
    }
}

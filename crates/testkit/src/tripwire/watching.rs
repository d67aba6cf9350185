//! A transport that tells its tripwire when a method is entered and left.

use std::any::{Any, TypeId};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocols::{
    Address, Cause, Change, DetachError, Detached, Flow, Protocol, RawTransport, Transport,
    TransportStatistics, Turn, TurnError, Waiter, WithProtocolError, WriteLimits,
};

use super::Tripwire;

/// Another transport, watched.
pub(super) struct Watching {
    pub(super) below: Rc<dyn RawTransport>,
    pub(super) tripwire: Tripwire,
}

impl RawTransport for Watching {
    fn write(&self, data: &[u8]) -> Flow {
        let _entered = self.tripwire.call("write");
        self.below.write(data)
    }

    fn write_bytes(&self, data: Bytes) -> Flow {
        let _entered = self.tripwire.call("write_bytes");
        self.below.write_bytes(data)
    }

    fn writelines(&self, lines: &[&[u8]]) -> Flow {
        let _entered = self.tripwire.call("writelines");
        self.below.writelines(lines)
    }

    fn send_with_fds(&self, data: &[u8], fds: Vec<OwnedFd>) -> io::Result<Flow> {
        let _entered = self.tripwire.call("send_with_fds");
        self.below.send_with_fds(data, fds)
    }

    fn take_fds(&self) -> Vec<OwnedFd> {
        let _entered = self.tripwire.call("take_fds");
        self.below.take_fds()
    }

    fn poll_flush(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _entered = self.tripwire.call("poll_flush");
        self.below.poll_flush(waiter, context)
    }

    fn take_turn(&self) -> Result<Box<dyn Turn>, TurnError> {
        let _entered = self.tripwire.call("take_turn");
        self.below.take_turn()
    }

    fn turn_is_taken(&self) -> bool {
        let _entered = self.tripwire.call("turn_is_taken");
        self.below.turn_is_taken()
    }

    fn write_eof(&self) -> io::Result<()> {
        let _entered = self.tripwire.call("write_eof");
        self.below.write_eof()
    }

    fn can_write_eof(&self) -> bool {
        let _entered = self.tripwire.call("can_write_eof");
        self.below.can_write_eof()
    }

    fn close(&self) {
        let _entered = self.tripwire.call("close");
        self.below.close();
    }

    fn abort(&self) {
        let _entered = self.tripwire.call("abort");
        self.below.abort();
    }

    fn close_lingering(&self, bytes: usize, time: Duration) {
        let _entered = self.tripwire.call("close_lingering");
        self.below.close_lingering(bytes, time);
    }

    fn fail(&self, cause: Cause) {
        let _entered = self.tripwire.call("fail");
        self.below.fail(cause);
    }

    fn is_closing(&self) -> bool {
        let _entered = self.tripwire.call("is_closing");
        self.below.is_closing()
    }

    fn pause_reading(&self) {
        let _entered = self.tripwire.call("pause_reading");
        self.below.pause_reading();
    }

    fn resume_reading(&self) {
        let _entered = self.tripwire.call("resume_reading");
        self.below.resume_reading();
    }

    fn is_reading(&self) -> bool {
        let _entered = self.tripwire.call("is_reading");
        self.below.is_reading()
    }

    fn flow(&self) -> Flow {
        let _entered = self.tripwire.call("flow");
        self.below.flow()
    }

    fn flow_told(&self) -> Flow {
        let _entered = self.tripwire.call("flow_told");
        self.below.flow_told()
    }

    fn get_write_buffer_size(&self) -> usize {
        let _entered = self.tripwire.call("get_write_buffer_size");
        self.below.get_write_buffer_size()
    }

    fn get_write_buffer_limits(&self) -> WriteLimits {
        let _entered = self.tripwire.call("get_write_buffer_limits");
        self.below.get_write_buffer_limits()
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) {
        let _entered = self.tripwire.call("set_write_buffer_limits");
        self.below.set_write_buffer_limits(limits);
    }

    fn rebind(&self, handle: Transport) {
        let _entered = self.tripwire.call("rebind");
        self.below.rebind(handle);
    }

    fn poll_closed(&self, waiter: &Waiter, context: &mut Context<'_>) -> Poll<Option<Cause>> {
        let _entered = self.tripwire.call("poll_closed");
        self.below.poll_closed(waiter, context)
    }

    fn peer_hung_up(&self) -> bool {
        let _entered = self.tripwire.call("peer_hung_up");
        self.below.peer_hung_up()
    }

    fn peername(&self) -> Option<Address> {
        let _entered = self.tripwire.call("peername");
        self.below.peername()
    }

    fn sockname(&self) -> Option<Address> {
        let _entered = self.tripwire.call("sockname");
        self.below.sockname()
    }

    fn extra_info(&self, wanted: TypeId) -> Option<Rc<dyn Any>> {
        let _entered = self.tripwire.call("extra_info");
        self.below.extra_info(wanted)
    }

    fn detach(&self) -> Result<Detached, DetachError> {
        let _entered = self.tripwire.call("detach");
        self.below.detach()
    }

    fn statistics(&self) -> TransportStatistics {
        let _entered = self.tripwire.call("statistics");
        self.below.statistics()
    }

    fn abort_above(&self) -> Option<usize> {
        let _entered = self.tripwire.call("abort_above");
        self.below.abort_above()
    }

    fn set_abort_above(&self, limit: Option<usize>) {
        let _entered = self.tripwire.call("set_abort_above");
        self.below.set_abort_above(limit);
    }

    // The next three are given the user's code in order to run it.
    fn change_protocol(&self, change: Change) {
        self.below.change_protocol(change);
    }

    fn with_protocol(
        &self,
        look: &mut dyn FnMut(&mut dyn Protocol),
    ) -> Result<(), WithProtocolError> {
        self.below.with_protocol(look)
    }

    fn with_socket(&self, look: &mut dyn FnMut(BorrowedFd<'_>)) -> bool {
        self.below.with_socket(look)
    }
}

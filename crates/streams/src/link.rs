//! What the reader, the writer and the protocol of one connection share.

use std::cell::{Cell, OnceCell};
use std::io;

use tidegate_protocols::{Cause, Transport, Waiters};

use crate::errors::LimitError;
use crate::inbox::{End, Inbox};

/// What the reader, the writer and the protocol of one connection share.
///
/// It holds the transport, which holds the protocol, which holds this: the circle is cut when the connection is
/// lost and its protocol dropped.
pub(crate) struct Link {
    pub(crate) inbox: Inbox,
    transport: OnceCell<Transport>,
    /// Those who wait until writing goes on.
    pub(crate) drained: Waiters,
    /// How many writers there are; the last one's end closes the connection.
    pub(crate) writers: Cell<usize>,
    pub(crate) bond: Cell<Bond>,
    /// The protocol was told that writing is paused, and not that it goes on.
    pub(crate) told_paused: Cell<bool>,
    /// There may be something that a drain has to look at: the flow, an error, a close. Else it need not ask the
    /// transport, which is much of what a short line costs.
    pub(crate) alarmed: Cell<bool>,
    /// The exception handler was told that the handler of this connection has failed.
    pub(crate) failure_told: Cell<bool>,
    /// Somebody has the transport and may close it: it has to be asked from now on.
    pub(crate) handed_out: Cell<bool>,
    /// There is no writer and never was one: the reader's end closes the connection.
    pub(crate) reader_closes: Cell<bool>,
}

/// What the streams still have to do with their connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bond {
    Joined,
    /// The connection is gone.
    Lost,
    /// The connection belongs to another protocol: what becomes of it is not for these streams to say.
    Detached,
}

impl Link {
    pub(crate) fn new(limit: usize) -> Link {
        Link {
            inbox: Inbox::new(limit),
            transport: OnceCell::new(),
            drained: Waiters::new(),
            writers: Cell::new(0),
            bond: Cell::new(Bond::Joined),
            told_paused: Cell::new(false),
            alarmed: Cell::new(false),
            failure_told: Cell::new(false),
            handed_out: Cell::new(false),
            reader_closes: Cell::new(false),
        }
    }

    /// A link whose reader has that limit, in bytes.
    pub(crate) fn checked(limit: usize) -> Result<Link, LimitError> {
        LimitError::check(limit)?;
        Ok(Link::new(limit))
    }

    /// The transport, once there is one.
    #[inline]
    pub(crate) fn transport(&self) -> Option<&Transport> {
        self.transport.get()
    }

    /// Sets the transport; false if there is one already.
    pub(crate) fn set_transport(&self, transport: &Transport) -> bool {
        self.transport.set(transport.clone()).is_ok()
    }

    /// Whether the streams have no connection any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.bond.get() != Bond::Joined
    }

    /// Somebody has the transport: drains have to ask it.
    pub(crate) fn hand_out(&self) {
        self.handed_out.set(true);
        self.alarmed.set(true);
    }

    /// Something was put into the inbox: pauses the transport if that is too much, and wakes the reader.
    #[inline]
    pub(crate) fn received(&self) {
        if self.inbox.is_above()
            && let Some(transport) = self.transport()
            && !self.inbox.paused.replace(true)
        {
            transport.pause_reading();
        }
        self.inbox.wake();
    }

    /// Something was read: goes on if little is left.
    #[inline]
    pub(crate) fn has_read(&self) {
        if self.inbox.paused.get() && self.inbox.is_below() {
            self.go_on();
        }
    }

    /// Nobody reads any more.
    pub(crate) fn reader_dropped(&self) {
        if self.reader_closes.get()
            && self.bond.get() != Bond::Detached
            && let Some(transport) = self.transport()
        {
            transport.close();
        }
    }

    /// The connection goes on with another protocol: these streams are at their end.
    pub(crate) fn detach(&self, cause: Cause) {
        self.go_on();
        self.lose(Some(cause));
        self.bond.set(Bond::Detached);
    }

    /// The connection goes on in another loop: these streams are at their end.
    pub(crate) fn leave(&self) {
        let text = "the connection was detached";
        self.detach(io::Error::new(io::ErrorKind::NotConnected, text).into());
    }

    /// Lets the transport read on.
    pub(crate) fn go_on(&self) {
        if self.inbox.paused.replace(false)
            && self.bond.get() != Bond::Detached
            && let Some(transport) = self.transport()
        {
            transport.resume_reading();
        }
    }

    /// The connection is lost: what was received before can still be read.
    pub(crate) fn lose(&self, cause: Option<Cause>) {
        self.bond.set(Bond::Lost);
        self.alarmed.set(true);
        match cause {
            None => self.inbox.end_with_eof(),
            Some(cause) => self.inbox.end_with(End::Lost, cause),
        }
        self.drained.wake_all();
    }
}

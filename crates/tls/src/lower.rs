//! The face that the transport below sees: a protocol.

use std::io;
use std::rc::Rc;

use tidegate_protocols::{AtEof, Cause, Flow, Incoming, Protocol, Transport};

use crate::connection::{Failure, Tls};

/// The protocol below.
pub(crate) struct Lower {
    tls: Rc<Tls>,
}

impl Lower {
    /// The face of `tls`, which is let go of with it.
    pub(crate) fn new(tls: Rc<Tls>) -> Lower {
        Lower { tls }
    }

    /// The connection that it is a face of.
    pub(crate) fn tls(&self) -> &Rc<Tls> {
        &self.tls
    }
}

impl Protocol for Lower {
    fn connection_made(&mut self, below: &Transport) {
        if self.tls.stands() {
            // `start_tls` was faster: it is as if the layer had been here from the beginning.
            return self.tls.carry(false, Flow::Open);
        }
        self.tls.stand_on(below);
        self.tls.set_face(Transport::new(self.tls.clone()));
        self.tls.begin();
    }

    fn receive(&mut self, _below: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        self.tls.receive(incoming).map_err(|Failure { stage, error }| {
            self.tls.failed();
            incoming.set_stage(stage);
            error
        })
    }

    fn eof_received(&mut self, _below: &Transport) -> io::Result<AtEof> {
        self.tls.below_ended().map_err(|failure| {
            self.tls.failed();
            failure.error
        })
    }

    fn resume_writing(&mut self, _below: &Transport) {
        self.tls.look_at_flow();
        self.tls.encrypt_waiting();
        self.tls.wake_turn();
    }

    fn connection_lost(&mut self, _below: &Transport, cause: Option<Cause>) {
        self.tls.lose(cause);
    }

    fn type_name(&self) -> &'static str {
        self.tls.slot.type_name().unwrap_or("a protocol that is out")
    }
}

/// The connection is gone, or the loop: the protocol above goes too, and with it the cycle through its handle.
impl Drop for Lower {
    fn drop(&mut self) {
        self.tls.let_go();
    }
}

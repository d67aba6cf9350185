//! The conformance suite finds what is wrong with a kind of connection.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tidegate_protocols::{AtEof, Cause, Incoming, Protocol, Transport};
use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, run_all};
use tidegate_testkit::memory::{Memory, PairOptions};
use tidegate_testkit::watched;

/// What a connection does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    GreetsTwice,
    LosesTwice,
    LosesCauses,
    SwallowsTheEnd,
    ClosesAtEveryEnd,
    NeverResumes,
    PausesTwice,
}

/// Memory connections with a fault.
struct Broken(Fault);

impl Ground for Broken {
    fn name(&self) -> String {
        "broken connections".to_owned()
    }

    fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
        let fault = self.0;
        let faulty = |protocol| Box::new(Faulty { protocol, fault });
        self.sound().connect(faulty(left), faulty(right))
    }

    fn capabilities(&self) -> Capabilities {
        self.sound().capabilities()
    }

    fn event_loop(&self) -> io::Result<tidegate_reactor::EventLoop> {
        self.sound().event_loop()
    }
}

impl Broken {
    fn sound(&self) -> Memory {
        Memory::new(PairOptions { capacity: 16 * 1024, ..PairOptions::default() })
    }
}

/// Stands between the connection and its protocol.
struct Faulty {
    protocol: Box<dyn Protocol>,
    fault: Fault,
}

impl Protocol for Faulty {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(transport);
        if self.fault == Fault::GreetsTwice {
            self.protocol.connection_made(transport);
        }
    }

    fn receive(&mut self, transport: &Transport, incoming: &mut Incoming<'_>) -> io::Result<()> {
        self.protocol.receive(transport, incoming)
    }

    fn eof_received(&mut self, transport: &Transport) -> io::Result<AtEof> {
        match self.fault {
            Fault::SwallowsTheEnd => Ok(AtEof::Close),
            Fault::ClosesAtEveryEnd => {
                self.protocol.eof_received(transport)?;
                Ok(AtEof::Close)
            }
            _ => self.protocol.eof_received(transport),
        }
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.protocol.pause_writing(transport);
        if self.fault == Fault::PausesTwice {
            self.protocol.pause_writing(transport);
        }
    }

    fn resume_writing(&mut self, transport: &Transport) {
        if self.fault != Fault::NeverResumes {
            self.protocol.resume_writing(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, cause: Option<Cause>) {
        let told = if self.fault == Fault::LosesCauses { None } else { cause };
        self.protocol.connection_lost(transport, told);
        if self.fault == Fault::LosesTwice {
            self.protocol.connection_lost(transport, None);
        }
    }

    fn type_name(&self) -> &'static str {
        self.protocol.type_name()
    }
}

/// What the suite says of connections with `fault`; nothing if it finds none.
fn found(fault: Fault) -> Option<String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| run_all(Broken(fault))));
    outcome.err().map(|payload| *payload.downcast::<String>().expect("a text"))
}

#[test]
fn each_fault_is_found_by_the_case_that_is_about_it() {
    watched(|| {
        let faults = [
            (Fault::GreetsTwice, "every_ending_keeps_the_grammar"),
            (Fault::LosesTwice, "every_ending_keeps_the_grammar"),
            (Fault::LosesCauses, "everyone_who_waits_learns_the_cause"),
            (Fault::SwallowsTheEnd, "the_end_closes_unless_the_protocol_keeps_writing"),
            (Fault::ClosesAtEveryEnd, "a_protocol_may_go_on_writing_after_the_end"),
            (Fault::NeverResumes, "resume_follows_every_pause"),
            (Fault::PausesTwice, "resume_follows_every_pause"),
        ];
        for (fault, case) in faults {
            let found = found(fault).expect("a fault is found");
            assert!(found.contains("cases failed over broken connections"), "{found}");
            assert!(found.contains(&format!("- {case}: ")), "{case} is not among: {found}");
        }
    });
}

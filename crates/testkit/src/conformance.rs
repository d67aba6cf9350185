//! One suite of named cases that every kind of connection passes.
//!
//! A kind of connection is a [`Ground`]: it can connect two protocols. The suite plays each of its cases on
//! connections of that ground, in an event loop of its own, under a [`Tripwire`](crate::Tripwire), and says
//! at the end which failed. Whatever the case, both protocols must have been called by the
//! [grammar](crate::Log::grammar), the loss must have been the last call, the protocols must be dropped by
//! then, and the exception handler must have been told nothing that the case did not expect.
//!
//! # Examples
//!
//! A ground of one's own: Unix socket pairs.
//!
//! ```
//! use std::io;
//! use std::os::unix::net::UnixStream;
//! use tidegate_protocols::{Protocol, Transport};
//! use tidegate_reactor::{Interest, LoopHandle};
//! use tidegate_testkit::conformance::{Capabilities, Connecting, Ground, run_all};
//! use tidegate_transports::stream::{self, Socket, StreamOptions};
//!
//! struct UnixPairs;
//!
//! impl UnixPairs {
//!     fn open(stream: UnixStream, protocol: Box<dyn Protocol>) -> io::Result<Transport> {
//!         let handle = LoopHandle::current()?;
//!         stream.set_nonblocking(true)?;
//!         let wire = |watcher| Socket::new(&handle, stream.into(), Interest::READ, watcher);
//!         stream::open(&handle, wire, protocol, StreamOptions::default())
//!     }
//! }
//!
//! impl Ground for UnixPairs {
//!     fn name(&self) -> String {
//!         "Unix socket pairs".to_owned()
//!     }
//!
//!     fn connect(&self, left: Box<dyn Protocol>, right: Box<dyn Protocol>) -> Connecting {
//!         Box::pin(async {
//!             let (near, far) = UnixStream::pair()?;
//!             Ok((UnixPairs::open(near, left)?, UnixPairs::open(far, right)?))
//!         })
//!     }
//! }
//!
//! run_all(UnixPairs);
//! ```

mod actions;
mod failures;
mod flow;
mod ground;
mod half_close;
mod layers;
mod lifecycle;
mod lingering;
mod reading;
mod reentrancy;
mod stage;
mod writing;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tidegate_reactor::timeout;

use crate::{descriptors, watchdog};
pub use ground::{Capabilities, Connecting, Ground, UnderLayer};
use stage::Stage;

/// How long one case may take, in the time of its loop: 20 seconds.
pub const CASE_LIMIT: Duration = Duration::from_secs(20);

/// Plays every case on `ground` that its capabilities allow, each [watched](crate::watched) by itself.
///
/// # Panics
///
/// At the end, if cases have failed: with their names and what each found.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::conformance::run_all;
/// use tidegate_testkit::memory::{Memory, PairOptions};
///
/// run_all(Memory::new(PairOptions { capacity: 4096, ..PairOptions::default() }));
/// ```
pub fn run_all(ground: impl Ground) {
    let ground: Rc<dyn Ground> = Rc::new(ground);
    let capabilities = ground.capabilities();
    let fitting = cases().filter(|case| (case.needs)(&capabilities));
    let outcomes: Vec<_> = fitting.map(|case| (case.name, play(&ground, case))).collect();
    let failed: Vec<String> = outcomes
        .iter()
        .filter_map(|(name, outcome)| {
            outcome.as_ref().err().map(|found| format!("- {name}: {found}"))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} cases failed over {}:\n{}",
        failed.len(),
        outcomes.len(),
        ground.name(),
        failed.join("\n")
    );
}

/// Plays the case called `name` alone, to look into a failure.
///
/// # Panics
///
/// If it fails, there is no such case, or it needs what the ground's connections cannot do.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::conformance::run_case;
/// use tidegate_testkit::memory::{Memory, PairOptions};
///
/// run_case(Memory::new(PairOptions::default()), "resume_follows_every_pause");
/// ```
pub fn run_case(ground: impl Ground, name: &str) {
    let ground: Rc<dyn Ground> = Rc::new(ground);
    let case = cases().find(|case| case.name == name);
    let case = case.unwrap_or_else(|| panic!("no case is called {name:?}; see case_names()"));
    assert!(
        (case.needs)(&ground.capabilities()),
        "{name} needs more than {} can do",
        ground.name()
    );
    if let Err(found) = play(&ground, case) {
        panic!("{name} failed over {}: {found}", ground.name());
    }
}

/// The names of all cases.
///
/// # Examples
///
/// ```
/// use tidegate_testkit::conformance::case_names;
///
/// assert!(case_names().contains(&"every_ending_keeps_the_grammar"));
/// ```
pub fn case_names() -> Vec<&'static str> {
    cases().map(|case| case.name).collect()
}

/// One thing that every connection does.
struct Case {
    name: &'static str,
    needs: fn(&Capabilities) -> bool,
    act: fn(Stage) -> Act,
}

type Act = Pin<Box<dyn Future<Output = ()>>>;

/// Names an `async fn(Stage)` as a case, with the capability it needs, if any.
macro_rules! case {
    ($act:ident) => {
        case!($act, |_| true)
    };
    ($act:ident, $needs:expr) => {
        $crate::conformance::Case {
            name: stringify!($act),
            needs: $needs,
            act: |stage| Box::pin($act(stage)),
        }
    };
}
use case;

fn cases() -> impl Iterator<Item = &'static Case> {
    let topics = [
        lifecycle::CASES,
        reading::CASES,
        writing::CASES,
        flow::CASES,
        half_close::CASES,
        lingering::CASES,
        failures::CASES,
        reentrancy::CASES,
        layers::CASES,
    ];
    topics.into_iter().flatten()
}

/// Plays one case in a loop of its own; the error says what it found.
fn play(ground: &Rc<dyn Ground>, case: &Case) -> Result<(), String> {
    let stage = Stage::new(ground.clone());
    let _share = descriptors::share();
    let _watch = watchdog::watch(&format!("{} over {}", case.name, ground.name()));
    let scene = async {
        (case.act)(stage.clone()).await;
        stage.clear().await;
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let event_loop = ground.event_loop().expect("an event loop");
        stage.enter(&event_loop.handle());
        let ended = event_loop.run_until_complete(timeout(CASE_LIMIT, scene));
        let ended = ended.expect("a loop that is not stopped");
        assert!(ended.is_ok(), "it waits for something that does not come");
        drop(event_loop);
        stage.leave();
    }));
    outcome.map_err(|payload| format!("{}\n    {}", text_of(&*payload), stage.transcript()))
}

fn text_of(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

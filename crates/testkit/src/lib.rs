//! What tests of protocols and transports need: recorders, memory connections, a clock that jumps.
//!
//! | you want to | look at |
//! |---|---|
//! | see which callbacks a connection makes | [`Recorder`], [`Log`] |
//! | test a protocol without sockets, and without waiting | [`memory::pair`], [`JumpingClock`] |
//! | test it with its input cut anywhere | [`memory::PairOptions::bytes_at_a_time`], [`Dribble`] |
//! | test a kind of connection of your own | [`conformance`] |
//! | be sure that no method of a transport calls back | [`Tripwire`] |
//! | wait for something that no future tells of | [`until`], [`turns`] |
//! | have a hanging test end with its name | [`watched`], [`run`] |
//! | be sure that no descriptor leaks | [`open_descriptors`], [`alone`] |

#![forbid(unsafe_code)]
#![cfg(not(windows))]

mod clock;
pub mod conformance;
mod descriptors;
mod dribble;
mod log;
pub mod memory;
mod recorder;
mod tripwire;
mod turns;
mod watchdog;

pub use clock::JumpingClock;
pub use descriptors::{Alone, alone, open_descriptors};
pub use dribble::Dribble;
pub use log::{Callback, Event, Log, Until};
pub use recorder::Recorder;
pub use tripwire::{Guarded, Tripwire};
pub use turns::{turns, until};
pub use watchdog::{TIME_LIMIT, run, watched};

//! A single-threaded event loop in the manner of asyncio: callbacks, timers, tasks, descriptors, signals.
//!
//! An [`EventLoop`] is made, run and closed in one thread. While it runs, [`LoopHandle::current`] finds it;
//! what belongs to it (tasks, timers, sources) keeps its own share of it. Other threads reach it through a
//! [`Remote`]. The loop knows neither transports nor protocols; it offers them [`Source`], a watched
//! descriptor, and [`LoopHandle::at_step_end`], which lets the bytes of a step leave together.
//!
//! # Examples
//!
//! ```
//! use std::time::Duration;
//! use tidegate_reactor::{EventLoop, sleep, spawn};
//!
//! let event_loop = EventLoop::new()?;
//! let answer = event_loop.run_until_complete(async {
//!     let task = spawn(async {
//!         sleep(Duration::from_millis(1)).await?;
//!         Ok::<_, std::io::Error>(42)
//!     })?;
//!     task.await?
//! })??;
//! assert_eq!(answer, 42);
//! event_loop.close()?;
//! # Ok::<(), std::io::Error>(())
//! ```

#![deny(unsafe_code)]

#[cfg(not(unix))]
compile_error!("tidegate works on Unix systems only; Windows is not supported");

pub mod budget;
mod buffer;
mod call;
mod caught;
mod clock;
mod current;
mod error;
mod event_loop;
mod future;
mod handle;
mod mailbox;
mod offload;
mod parts;
mod poller;
mod readers;
mod ready;
mod remote;
mod report;
pub mod resolve;
mod run;
mod signals;
mod sources;
mod statistics;
mod steps;
mod tasks;
mod time;
mod timers;
mod turn;

pub use buffer::{READ_SIZE, SharedBuffer};
pub use call::{Handle, Queued, TimerHandle};
pub use clock::{Clock, Monotonic};
pub use error::LoopError;
pub use event_loop::EventLoop;
pub use future::{Abandoned, Closed, Future, Promise, create_future};
pub use handle::LoopHandle;
pub use offload::{OffloadError, Offloaded};
pub use remote::{Remote, RemoteHandle};
pub use report::{ExceptionHandler, Report};
pub use resolve::{AddressInfo, Hints, ResolveError, Service};
pub use run::run;
pub use signals::{Signal, SignalError};
pub use sources::{Enrolled, Interest, Readiness, Source, Watcher};
pub use statistics::LoopStatistics;
pub use steps::{Deferred, OfferReason};
pub use tasks::{JoinError, JoinHandle, TaskPanic, spawn};
pub use time::{Sleep, TimeoutError, sleep, timeout};

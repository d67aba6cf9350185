//! Numbers about a loop, taken at one moment.

/// What [`LoopHandle::statistics`](crate::LoopHandle::statistics) answers: a plain snapshot.
///
/// # Examples
///
/// ```
/// use tidegate_reactor::EventLoop;
///
/// let event_loop = EventLoop::new()?;
/// event_loop.handle().call_soon(|| {})?;
/// event_loop.run_until_complete(async {})?;
/// let statistics = event_loop.handle().statistics();
/// assert!(statistics.turns >= 1);
/// assert_eq!(statistics.ready, 0);
/// # event_loop.close()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopStatistics {
    /// Turns made: each waits for events once.
    pub turns: u64,
    /// Calls into user code: callbacks, timers, polls of tasks, notices.
    pub steps: u64,
    /// Readiness handed to watchers of descriptors.
    pub events: u64,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Timers that are neither due nor cancelled.
    pub timers: usize,
    /// Descriptors registered, and watchers enrolled without one.
    pub sources: usize,
    /// Entries that wait in the ready queue.
    pub ready: usize,
    /// Times that work put off to the end of a step was offered.
    pub offers: u64,
    /// Calls and wake-ups that came from other threads or from outside of the running loop.
    pub mail: u64,
}

//! Asking the system which descriptors are ready: one contract, two rooms that fulfil it.
//!
//! Both rooms have the same five methods (`new`, `add`, `modify`, `delete`, `wait`) and a bell that any
//! thread may ring. Keys are the caller's; interest is level-triggered, and no interest at all means that a
//! hang-up is told once.

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod portable;
#[cfg(test)]
mod tests;

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
pub(crate) use linux::{Bell, Events, Poller};
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
pub(crate) use portable::{Bell, Events, Poller};

/// How many events one wait can bring; the rest is found by the next.
pub(crate) const EVENTS_PER_WAIT: usize = 1024;

/// One descriptor found ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) key: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// Both directions are gone, or an error waits. Told whatever the interest.
    pub(crate) hung_up: bool,
}

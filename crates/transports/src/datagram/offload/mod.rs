//! Datagrams that the kernel splits: one room for Linux, and one for every Unix.

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod portable;

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
pub(super) use linux::{KNOWS_SEGMENTS, send_segments};
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
pub(super) use portable::{KNOWS_SEGMENTS, send_segments};

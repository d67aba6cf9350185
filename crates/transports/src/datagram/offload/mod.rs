//! Datagrams that the kernel splits and joins: one room for Linux, and one for every Unix.

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod portable;

#[cfg(all(target_os = "linux", not(tidegate_portable)))]
pub(super) use linux::{KNOWS_SEGMENTS, join_segments, receive_segments, send_segments};
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
pub(super) use portable::{KNOWS_SEGMENTS, join_segments, receive_segments, send_segments};

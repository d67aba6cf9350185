//! What a transport can tell of itself, by type.

use crate::Address;

/// The peer's address, as [`get_extra_info`](crate::Transport::get_extra_info) answers it (asyncio's
/// `"peername"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName(pub Address);

/// The own address, as [`get_extra_info`](crate::Transport::get_extra_info) answers it (asyncio's
/// `"sockname"`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SockName(pub Address);

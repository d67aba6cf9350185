//! The socket of a datagram endpoint: which addresses go together, and the system calls that make it.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, Protocol as IpProtocol, SocketType, sockopt};
use tidegate_protocols::{Address, UnixAddress};
use tidegate_reactor::LoopHandle;

use crate::addresses::{Candidate, Family, Place, Wanted, empty_answer};
use crate::datagram::unix_name;
use crate::errors::{BindError, DatagramArgumentError};
use crate::socket::address_of;
use crate::unix::{UnixReason, file};
use flags::datagram_socket;

/// What the user has asked for.
#[derive(Debug, Default)]
pub(crate) struct Recipe {
    pub(crate) local: Option<Place>,
    pub(crate) remote: Option<Place>,
    pub(crate) local_path: Option<PathBuf>,
    pub(crate) remote_path: Option<PathBuf>,
    pub(crate) unix: bool,
    pub(crate) wanted: Wanted,
    pub(crate) reuse_port: bool,
    pub(crate) allow_broadcast: bool,
}

/// A socket that an endpoint can be opened over.
pub(crate) struct Made {
    pub(crate) descriptor: OwnedFd,
    /// The only address it sends to.
    pub(crate) remote: Option<Address>,
    /// Whether the socket is connected to that.
    pub(crate) connected: bool,
}

/// Makes a socket that was given to us one of ours.
pub(crate) fn adopt(descriptor: OwnedFd) -> io::Result<Made> {
    match sockopt::socket_type(&descriptor) {
        Ok(SocketType::STREAM | SocketType::SEQPACKET) | Err(Errno::NOTSOCK) => {
            return Err(DatagramArgumentError::NotADatagramSocket.into());
        }
        Ok(_) => rustix::io::ioctl_fionbio(&descriptor, true)?,
        Err(error) => return Err(error.into()),
    }
    // A peer without a name is a peer: one of a pair is connected.
    let remote = match net::getpeername(&descriptor) {
        Ok(peer) => Some(peer.map_or(Address::Unnamed, address_of)),
        Err(_) => None,
    };
    Ok(Made { descriptor, connected: remote.is_some(), remote })
}

impl Recipe {
    fn is_unix(&self) -> bool {
        self.unix || self.local_path.is_some() || self.remote_path.is_some()
    }

    /// The options that were set and that are for making a socket, by name.
    pub(crate) fn set_options(&self) -> Vec<&'static str> {
        let set = [
            ("local_addr", self.local.is_some()),
            ("remote_addr", self.remote.is_some()),
            ("local_path", self.local_path.is_some()),
            ("remote_path", self.remote_path.is_some()),
            ("unix", self.unix),
            ("family", self.wanted.family != Family::Any),
            ("proto", self.wanted.protocol != 0),
            ("flags", self.wanted.flags != 0),
            ("reuse_port", self.reuse_port),
            ("allow_broadcast", self.allow_broadcast),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }

    /// Looks whether what was asked for goes together.
    pub(crate) fn check(&self) -> Result<(), DatagramArgumentError> {
        let inet = self.local.is_some() || self.remote.is_some();
        let family = self.wanted.family != Family::Any;
        match (self.is_unix(), inet, family) {
            (false, false, false) => Err(DatagramArgumentError::UnexpectedFamily),
            (true, true, _) | (true, _, true) => Err(DatagramArgumentError::MixedFamilies),
            _ => Ok(()),
        }
    }

    /// Makes the socket; it is closed on every error.
    pub(crate) async fn make(&self, handle: &LoopHandle) -> io::Result<Made> {
        if self.is_unix() {
            return self.make_unix().await;
        }
        let locals = self.resolve(self.local.as_ref(), handle).await?;
        let remotes = self.resolve(self.remote.as_ref(), handle).await?;
        let mut first_error = None;
        for (local, remote) in pairs(locals.as_deref(), remotes.as_deref()) {
            match self.make_inet(local, remote) {
                Ok(made) => return Ok(made),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) => Err(error),
            None => Err(DatagramArgumentError::NoCommonFamily.into()),
        }
    }

    async fn resolve(
        &self,
        place: Option<&Place>,
        handle: &LoopHandle,
    ) -> io::Result<Option<Vec<Candidate>>> {
        let Some(place) = place else { return Ok(None) };
        match place.resolve(handle, self.wanted).await? {
            found if found.is_empty() => Err(empty_answer()),
            found => Ok(Some(found)),
        }
    }

    fn make_inet(&self, local: Option<&Candidate>, remote: Option<&Candidate>) -> io::Result<Made> {
        let is_inet6 = match local.or(remote) {
            Some(candidate) => candidate.address.is_ipv6(),
            None => self.wanted.family == Family::Inet6,
        };
        let family = if is_inet6 { AddressFamily::INET6 } else { AddressFamily::INET };
        let protocol = local.or(remote).map_or(self.wanted.protocol, |known| known.protocol);
        let descriptor = datagram_socket(family, protocol)?;
        self.set_options_of(&descriptor)?;
        if let Some(local) = local {
            let address = local.address;
            net::bind(&descriptor, &address)
                .map_err(|error| BindError { address, error: error.into() })?;
        }
        let remote = remote.map(|remote| remote.address);
        let connected = remote.is_some() && !self.allow_broadcast;
        if let (Some(remote), true) = (&remote, connected) {
            net::connect(&descriptor, remote)?;
        }
        Ok(Made { descriptor, remote: remote.map(Address::Inet), connected })
    }

    async fn make_unix(&self) -> io::Result<Made> {
        // A path that is too long is found out before there is a socket.
        let address = |path: &PathBuf| {
            let address = unix_address(path);
            unix_name(&address).map(|name| (address, name))
        };
        let local = self.local_path.as_ref().map(address).transpose()?;
        let remote = self.remote_path.as_ref().map(address).transpose()?;
        let descriptor = datagram_socket(AddressFamily::UNIX, self.wanted.protocol)?;
        self.set_options_of(&descriptor)?;
        // Its file goes again if there is no endpoint in the end.
        let mut file = None;
        if let Some((address, name)) = &local {
            match address.as_path() {
                Some(path) => {
                    let bound = file::bind(&descriptor, path, name, None).await;
                    file = Some(bound.map_err(system_error)?);
                }
                None => net::bind(&descriptor, name)?,
            }
        }
        if let Some((_, name)) = &remote {
            net::connect(&descriptor, name)?;
        }
        if let Some(file) = file {
            file.leave();
        }
        let connected = remote.is_some();
        let remote = remote.map(|(address, _)| Address::Unix(address));
        Ok(Made { descriptor, remote, connected })
    }

    fn set_options_of(&self, descriptor: &OwnedFd) -> io::Result<()> {
        if self.reuse_port {
            sockopt::set_socket_reuseport(descriptor, true)?;
        }
        if self.allow_broadcast {
            sockopt::set_socket_broadcast(descriptor, true)?;
        }
        Ok(())
    }
}

/// Which local address is tried with which remote one, in order: those of one family and one protocol. One that was not
/// asked for goes with all.
fn pairs<'a>(
    locals: Option<&'a [Candidate]>,
    remotes: Option<&'a [Candidate]>,
) -> Vec<(Option<&'a Candidate>, Option<&'a Candidate>)> {
    match (locals, remotes) {
        (None, None) => vec![(None, None)],
        (Some(locals), None) => locals.iter().map(|local| (Some(local), None)).collect(),
        (None, Some(remotes)) => remotes.iter().map(|remote| (None, Some(remote))).collect(),
        (Some(locals), Some(remotes)) => {
            let fits = |local: &Candidate, remote: &Candidate| {
                let families: [&SocketAddr; 2] = [&local.address, &remote.address];
                let [local_family, remote_family] = families.map(SocketAddr::is_ipv6);
                local_family == remote_family && local.protocol == remote.protocol
            };
            let all = locals.iter().flat_map(|local| remotes.iter().map(move |to| (local, to)));
            let fitting = all.filter(|(local, remote)| fits(local, remote));
            fitting.map(|(local, remote)| (Some(local), Some(remote))).collect()
        }
    }
}

/// The address of a path, as asyncio takes it: one that begins with a zero byte is an abstract name.
fn unix_address(path: &Path) -> UnixAddress {
    match path.as_os_str().as_bytes().split_first() {
        Some((0, name)) => UnixAddress::abstract_name(name),
        _ => UnixAddress::path(path),
    }
}

/// Why a path cannot be bound, as the system would say it.
fn system_error(reason: UnixReason) -> io::Error {
    match reason {
        UnixReason::Bind(error) => error,
        _ => Errno::ADDRINUSE.into(),
    }
}

/// Where the system makes a socket with its flags in one call.
#[cfg(all(target_os = "linux", not(tidegate_portable)))]
mod flags {
    use rustix::net::{SocketFlags, socket_with};

    use super::*;

    /// Makes a non-blocking datagram socket.
    pub(super) fn datagram_socket(family: AddressFamily, protocol: i32) -> io::Result<OwnedFd> {
        let ours = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(socket_with(family, SocketType::DGRAM, ours, number(protocol))?)
    }
}

/// Where it takes a call a flag.
#[cfg(not(all(target_os = "linux", not(tidegate_portable))))]
mod flags {
    use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};

    use super::*;

    /// Makes a non-blocking datagram socket.
    pub(super) fn datagram_socket(family: AddressFamily, protocol: i32) -> io::Result<OwnedFd> {
        let descriptor = net::socket(family, SocketType::DGRAM, number(protocol))?;
        fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
        ioctl_fionbio(&descriptor, true)?;
        Ok(descriptor)
    }
}

fn number(protocol: i32) -> Option<IpProtocol> {
    NonZeroU32::new(protocol.cast_unsigned()).map(IpProtocol::from_raw)
}

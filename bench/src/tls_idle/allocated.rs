//! How much memory this process has: of `malloc`, where Rust and C get theirs alike, and of the system.

/// The bytes that `malloc` has given out and not got back, with what it needs beside them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn allocated() -> i64 {
    // SAFETY: it has no precondition, and looks at every arena under its lock.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

/// Nobody here can tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn allocated() -> i64 {
    0
}

/// The bytes that the system has given; none where there is no `/proc`.
pub(crate) fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

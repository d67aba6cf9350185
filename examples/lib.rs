//! What the examples share: how an address is given on the command line.

#![forbid(unsafe_code)]

/// Reads `HOST:PORT`. An IPv6 address stands in brackets: `[::1]:8888`.
///
/// # Errors
///
/// A sentence that says what is wrong.
///
/// # Examples
///
/// ```
/// use tidegate_examples::host_and_port;
///
/// assert_eq!(host_and_port("localhost:80"), Ok(("localhost".to_owned(), 80)));
/// assert_eq!(host_and_port("[::1]:80"), Ok(("::1".to_owned(), 80)));
/// assert!(host_and_port("localhost").is_err());
/// ```
pub fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("HOST:PORT is expected")?;
    let port = port.parse().map_err(|_| format!("{port:?} is not a port from 0 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err("an IPv6 address needs brackets, as in [::1]:8888".to_owned());
    }
    Ok((bare.unwrap_or(host).to_owned(), port))
}

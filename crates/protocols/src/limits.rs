//! The marks between which a transport's write buffer pauses and resumes its protocol.

use std::error::Error;
use std::fmt;
use std::io;

/// When writing is paused and resumed, in bytes that wait to be sent.
///
/// Writing is paused when *more than* `high` bytes wait, and resumed when *at most* `low` do.
/// The default is 64 KiB and 16 KiB.
///
/// ```
/// use tidegate_protocols::WriteLimits;
///
/// let limits = WriteLimits::new(Some(1000), None).unwrap();
/// assert_eq!((limits.high(), limits.low()), (1000, 250));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLimits {
    high: usize,
    low: usize,
}

impl WriteLimits {
    /// The limits that a TLS connection begins with: 512 KiB and 128 KiB, as in asyncio.
    pub const TLS: WriteLimits = WriteLimits { high: 512 * 1024, low: 128 * 1024 };

    /// Limits as asyncio's `set_write_buffer_limits` makes them: of one that is given follows the other
    /// (`low` is a quarter of `high`), and neither means the default.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] if `low` is above `high`.
    pub fn new(high: Option<usize>, low: Option<usize>) -> Result<WriteLimits, LimitsError> {
        let default = WriteLimits::default();
        let high = high.unwrap_or_else(|| low.map_or(default.high, |low| low.saturating_mul(4)));
        let low = low.unwrap_or(high / 4);
        if low > high {
            return Err(LimitsError { high, low });
        }
        Ok(WriteLimits { high, low })
    }

    /// Writing is paused above this.
    pub fn high(self) -> usize {
        self.high
    }

    /// Writing is resumed at this or below.
    pub fn low(self) -> usize {
        self.low
    }
}

impl Default for WriteLimits {
    fn default() -> WriteLimits {
        WriteLimits { high: 64 * 1024, low: 16 * 1024 }
    }
}

/// The low limit given was above the high one; the old limits stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsError {
    /// The high limit, as given or as it follows from the low one.
    pub high: usize,
    /// The low limit.
    pub low: usize,
}

impl fmt::Display for LimitsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "high ({}) must be >= low ({}) must be >= 0", self.high, self.low)
    }
}

impl Error for LimitsError {}

impl From<LimitsError> for io::Error {
    fn from(error: LimitsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_limit_follows_from_the_other() {
        let check = |high, low, expected| {
            let limits = WriteLimits::new(high, low).map(|limits| (limits.low(), limits.high()));
            assert_eq!(limits, expected);
        };
        // T-45
        check(None, None, Ok((16384, 65536)));
        check(Some(65536), None, Ok((16384, 65536)));
        check(None, Some(16385), Ok((16385, 65540)));
        check(Some(3), None, Ok((0, 3)));
        check(Some(0), None, Ok((0, 0)));
        check(None, Some(0), Ok((0, 0)));
        check(Some(10), Some(10), Ok((10, 10)));
        check(None, Some(usize::MAX), Ok((usize::MAX, usize::MAX)));
        // T-46
        check(Some(0), Some(1), Err(LimitsError { high: 0, low: 1 }));
        check(Some(10), Some(11), Err(LimitsError { high: 10, low: 11 }));
    }

    #[test]
    fn the_error_says_which_is_too_high() {
        let error = WriteLimits::new(Some(0), Some(1)).unwrap_err();
        // T-46
        assert_eq!(error.to_string(), "high (0) must be >= low (1) must be >= 0");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    }
}

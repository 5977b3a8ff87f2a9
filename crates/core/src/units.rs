//! Sizes, durations and the overload margin, as people write and read them.
//!
//! Owns the text forms only. Invariant: a value that is too large or has no clear unit is refused
//! with an error that shows how to write it. Nothing wraps or saturates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

const NANOS: u128 = 1_000_000_000;

/// The longest duration that is read: ten years. An `Instant` plus a few of these cannot overflow.
pub const LONGEST_DURATION: Duration = Duration::from_hours(87_600);

/// Binary units from the largest down, as [`ByteSize`] prints them.
const BINARY_UNITS: [(u64, &str); 6] = [
    (1 << 60, "EiB"),
    (1 << 50, "PiB"),
    (1 << 40, "TiB"),
    (1 << 30, "GiB"),
    (1 << 20, "MiB"),
    (1 << 10, "KiB"),
];

/// Why the text of a size, a duration or a margin is invalid. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// Not a size.
    #[error("invalid size {0:?}: expected e.g. 64MiB")]
    NotASize(String),
    /// The size needs more than 64 bits.
    #[error("size {0:?} is too large: the largest is 15.9EiB")]
    SizeTooLarge(String),
    /// Not a duration.
    #[error("invalid duration {0:?}: expected e.g. 20ms, 1.5s, 10m, 1h or 7d")]
    NotADuration(String),
    /// A number without a unit: seconds and milliseconds are equally likely, so neither is guessed.
    #[error("duration {0:?} has no unit: write e.g. {0}s or {0}ms")]
    DurationWithoutUnit(String),
    /// The duration is longer than [`LONGEST_DURATION`].
    #[error("duration {0:?} is too long: the longest is 87600h, which is ten years")]
    DurationTooLong(String),
    /// Neither a percentage nor a size.
    #[error(
        "invalid margin {0:?}: expected a share of the machine's memory, e.g. 0.025%, or a size, \
         e.g. 64MiB"
    )]
    NotAMargin(String),
    /// The percentage is zero, negative, over 100 or NaN.
    #[error("invalid margin {0:?}: expected more than 0% and at most 100% of the machine's memory")]
    PercentOutOfRange(String),
    /// A margin of 0: the server would be overloaded from its start.
    #[error("invalid margin {0:?}: expected more than 0, e.g. 64MiB")]
    EmptyMargin(String),
}

/// A number of bytes.
///
/// Reads `4096`, `64KiB`, `64 MiB` and `1.5GiB` (binary), `10KB` and `10MB` (decimal), in any case.
/// Prints in binary units with at most one decimal, rounded down: `1.5 MiB`, `512 B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let not_a_size = || UnitError::NotASize(text.to_owned());
        let (number, unit) = Decimal::split(text).ok_or_else(not_a_size)?;
        let unit = bytes_in(unit).ok_or_else(not_a_size)?;
        if unit == 1 && number.billionths != 0 {
            return Err(not_a_size());
        }
        let bytes = number
            .times(unit.into())
            .and_then(|bytes| u64::try_from(bytes).ok());
        bytes
            .map(Self)
            .ok_or_else(|| UnitError::SizeTooLarge(text.to_owned()))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, name)) = BINARY_UNITS.into_iter().find(|(unit, _)| self.0 >= *unit) else {
            return write!(f, "{} B", self.0);
        };
        let tenths = u128::from(self.0 % unit) * 10 / u128::from(unit);
        match tenths {
            0 => write!(f, "{} {name}", self.0 / unit),
            _ => write!(f, "{}.{tenths} {name}", self.0 / unit),
        }
    }
}

/// Reads `20ms`, `1s`, `1.5s`, `10m`, `1h`, `7d` or `0`, up to [`LONGEST_DURATION`]. A bare number
/// other than zero is refused.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let not_a_duration = || UnitError::NotADuration(text.to_owned());
    let (number, unit) = Decimal::split(text).ok_or_else(not_a_duration)?;
    let unit_nanos = match unit {
        "" if number.is_zero() => NANOS,
        "" => return Err(UnitError::DurationWithoutUnit(text.trim().to_owned())),
        "ms" => NANOS / 1000,
        "s" => NANOS,
        "m" => 60 * NANOS,
        "h" => 3600 * NANOS,
        "d" => 86_400 * NANOS,
        _ => return Err(not_a_duration()),
    };
    let duration = number
        .times(unit_nanos)
        .and_then(from_nanos)
        .filter(|duration| *duration <= LONGEST_DURATION);
    duration.ok_or_else(|| UnitError::DurationTooLong(text.to_owned()))
}

/// Writes a duration in at most its two largest units, rounded down: `20 ms`, `1.5 s`, `2 m 10 s`,
/// `3 d 4 h`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => below_a_second(duration),
        1..60 => match duration.subsec_millis() / 100 {
            0 => format!("{seconds} s"),
            tenths => format!("{seconds}.{tenths} s"),
        },
        60..3600 => two_units(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two_units(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two_units(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// How far a server's memory may grow beyond its size at start before the server is overloaded.
///
/// Reads a share of the machine's memory, `0.025%`, or a size as [`ByteSize`] reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Margin {
    /// A percentage of the machine's memory: more than 0, at most 100.
    Percent(f64),
    /// A number of bytes, more than 0.
    Bytes(u64),
}

impl Margin {
    /// The margin in bytes on a machine with this many bytes of memory; at least one.
    pub fn bytes(self, machine_memory: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => share(percent, machine_memory).max(1),
        }
    }
}

impl FromStr for Margin {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Some(percent) = text.trim().strip_suffix('%') {
            return parse_percent(percent, text);
        }
        match text.parse() {
            Ok(ByteSize(0)) => Err(UnitError::EmptyMargin(text.to_owned())),
            Ok(ByteSize(bytes)) => Ok(Self::Bytes(bytes)),
            Err(UnitError::NotASize(text)) => Err(UnitError::NotAMargin(text)),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Margin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => ByteSize(*bytes).fmt(f),
        }
    }
}

fn parse_percent(number: &str, text: &str) -> Result<Margin, UnitError> {
    let percent: f64 = number
        .trim()
        .parse()
        .map_err(|_| UnitError::NotAMargin(text.to_owned()))?;
    if percent.is_finite() && percent > 0.0 && percent <= 100.0 {
        Ok(Margin::Percent(percent))
    } else {
        Err(UnitError::PercentOutOfRange(text.to_owned()))
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "exact to the byte up to 8 PiB of memory, and a float's cast saturates"
)]
fn share(percent: f64, whole: u64) -> u64 {
    (whole as f64 * percent / 100.0) as u64
}

fn bytes_in(unit: &str) -> Option<u64> {
    let is = |name: &str| unit.eq_ignore_ascii_case(name);
    if unit.is_empty() || is("B") {
        return Some(1);
    }
    let binary = BINARY_UNITS.into_iter().find(|(_, name)| is(name));
    let decimal = || {
        (1..)
            .zip(["KB", "MB", "GB", "TB", "PB", "EB"])
            .find(|(_, name)| is(name))
    };
    binary
        .map(|(bytes, _)| bytes)
        .or_else(|| decimal().map(|(power, _)| 1000_u64.pow(power)))
}

/// A number without sign or exponent, kept exactly: a float would make `0.1s` a few nanoseconds too
/// short.
struct Decimal {
    whole: u64,
    billionths: u32,
}

impl Decimal {
    /// Splits `1.5 GiB` into the number and the unit behind it.
    fn split(text: &str) -> Option<(Self, &str)> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end)?;
        Some((Self::parse(number)?, unit.trim_start()))
    }

    fn parse(number: &str) -> Option<Self> {
        let (whole, fraction) = number
            .split_once('.')
            .map_or((number, None), |(w, f)| (w, Some(f)));
        Some(Self {
            whole: whole.parse().ok()?,
            billionths: fraction.map_or(Some(0), billionths)?,
        })
    }

    fn is_zero(&self) -> bool {
        self.whole == 0 && self.billionths == 0
    }

    /// The number times `unit`, rounded down.
    fn times(&self, unit: u128) -> Option<u128> {
        let whole = u128::from(self.whole).checked_mul(unit)?;
        whole.checked_add(u128::from(self.billionths).checked_mul(unit)? / NANOS)
    }
}

/// `5` in `1.5` is 500 million billionths. `None` for more than nine digits and for an empty text.
fn billionths(fraction: &str) -> Option<u32> {
    let missing = 9_usize.checked_sub(fraction.len())?;
    let scale = 10_u32.pow(u32::try_from(missing).ok()?);
    fraction.parse::<u32>().ok()?.checked_mul(scale)
}

fn from_nanos(nanos: u128) -> Option<Duration> {
    let seconds = u64::try_from(nanos / NANOS).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % NANOS).ok()?))
}

fn below_a_second(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => "0 s".to_owned(),
        nanos @ 1..1000 => format!("{nanos} ns"),
        nanos @ 1000..1_000_000 => format!("{} µs", nanos / 1000),
        nanos => format!("{} ms", nanos / 1_000_000),
    }
}

fn two_units(large: u64, large_name: &str, small: u64, small_name: &str) -> String {
    if small == 0 {
        format!("{large} {large_name}")
    } else {
        format!("{large} {large_name} {small} {small_name}")
    }
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;

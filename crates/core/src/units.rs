//! Sizes, durations and the overload margin, as people write and read them.
//!
//! Owns the text forms only; what a size or a duration limits is its owner's business. Invariant:
//! what does not fit, or carries no clear unit, is refused with an error that shows how to write
//! it. Nothing wraps or saturates.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

const NANOS: u128 = 1_000_000_000;

/// The longest duration that is read: ten years. Sums of a few of these and any time fit.
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

/// Why a size, a duration or a margin was not understood. Trying again cannot help: the text must
/// change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// The text is no size.
    #[error("`{0}` is no size; write e.g. 64MiB")]
    NotASize(String),
    /// The size needs more than 64 bits.
    #[error("`{0}` is too large a size; the largest is 15.9EiB")]
    SizeTooLarge(String),
    /// The text is no duration.
    #[error("`{0}` is no duration; write e.g. 20ms, 1.5s, 10m or 1h")]
    NotADuration(String),
    /// A number stands alone, and guessing its unit would be off by a thousand one time in two.
    #[error("`{0}` has no unit; write e.g. {0}s or {0}ms")]
    DurationWithoutUnit(String),
    /// The duration is longer than [`LONGEST_DURATION`].
    #[error("`{0}` is too long a duration; the longest is 87600h, which is ten years")]
    DurationTooLong(String),
    /// The text is neither a percentage nor a size.
    #[error(
        "`{0}` is no margin; write a share of the machine's memory, e.g. 0.025%, or a size, e.g. 64MiB"
    )]
    NotAMargin(String),
    /// The percentage is zero, negative, over 100 or no number.
    #[error(
        "`{0}` is out of range; a margin is more than 0% and at most 100% of the machine's memory"
    )]
    PercentOutOfRange(String),
    /// A margin of nothing would leave the server overloaded from its first moment.
    #[error("`{0}` leaves no margin; write e.g. 64MiB")]
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

/// Reads `20ms`, `1s`, `1.5s`, `10m`, `1h` or `0`, up to [`LONGEST_DURATION`]. A bare number other
/// than zero is refused.
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
        _ => return Err(not_a_duration()),
    };
    let duration = number
        .times(unit_nanos)
        .and_then(from_nanos)
        .filter(|duration| *duration <= LONGEST_DURATION);
    duration.ok_or_else(|| UnitError::DurationTooLong(text.to_owned()))
}

/// Writes a duration in its two largest units at most, rounded down: `20 ms`, `1.5 s`, `2 m 10 s`,
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

/// How far a server's memory may grow over its size at start before it calls itself overloaded.
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

/// A number without sign or exponent, kept exactly: floats would turn `0.1s` into a few nanoseconds
/// less.
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

    /// This many units, rounded down.
    fn times(&self, unit: u128) -> Option<u128> {
        let whole = u128::from(self.whole).checked_mul(unit)?;
        whole.checked_add(u128::from(self.billionths).checked_mul(unit)? / NANOS)
    }
}

/// `5` in `1.5` is 500 million billionths. None beyond nine digits, or for none.
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
mod tests {
    use super::*;

    fn size(text: &str) -> Result<u64, UnitError> {
        text.parse::<ByteSize>().map(|size| size.0)
    }

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        let cases = [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64KiB", 65_536),
            ("64 MiB", 67_108_864),
            ("  64\tmib ", 67_108_864),
            ("1GiB", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("2tib", 2 << 40),
            ("10KB", 10_000),
            ("10kb", 10_000),
            ("10MB", 10_000_000),
            ("0.5 MB", 500_000),
            ("15EiB", 15 << 60),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        let error = size("12 parsecs").unwrap_err().to_string();
        assert_eq!(error, "`12 parsecs` is no size; write e.g. 64MiB");
        for text in [
            "", " ", "MiB", "-1", "+1", "1.5", "1.5B", ".5KiB", "1.KiB", "1.2.3KiB", "1e3",
            "64 M iB", "٣KiB",
        ] {
            assert_eq!(
                size(text),
                Err(UnitError::NotASize(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn a_size_over_64_bits_is_an_error() {
        for text in ["16EiB", "17179869184GiB", "19EB", "18446744073709551615KiB"] {
            assert_eq!(
                size(text),
                Err(UnitError::SizeTooLarge(text.to_owned())),
                "{text}"
            );
        }
        assert!(size("18446744073709551616").is_err());
    }

    #[test]
    fn sizes_print_with_at_most_one_decimal() {
        let cases = [
            (0, "0 B"),
            (512, "512 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (1_572_864, "1.5 MiB"),
            (1_048_575, "1023.9 KiB"),
            (10_000_000, "9.5 MiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn a_printed_size_can_be_read_again() {
        for bytes in [0, 1, 1023, 1024, 1536, 1 << 20, 5 << 30, 3 << 60] {
            assert_eq!(size(&ByteSize(bytes).to_string()), Ok(bytes));
        }
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        let cases = [
            ("0", 0),
            ("0ms", 0),
            ("20ms", 20),
            ("20 ms", 20),
            ("1s", 1000),
            ("1.5s", 1500),
            ("0.1s", 100),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("0.5h", 1_800_000),
        ];
        for (text, millis) in cases {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_bare_number_is_told_to_add_a_unit() {
        let error = parse_duration("20").unwrap_err().to_string();
        assert_eq!(error, "`20` has no unit; write e.g. 20s or 20ms");
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "-1s",
            "1S",
            "1M",
            "1 fortnight",
            "1.s",
            "NaNs",
            "1.0000000001s",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::NotADuration(text.to_owned())),
                "{text}"
            );
        }
    }

    /// Times that no clock can be moved by made whoever waited for them panic.
    #[test]
    fn a_duration_of_more_than_ten_years_is_refused_with_the_longest() {
        assert_eq!(parse_duration("87600h"), Ok(LONGEST_DURATION));
        for text in [
            "87600.1h",
            "315360001s",
            "5000000000000000h",
            "18446744073709551615s",
            "18446744073709551615h",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(UnitError::DurationTooLong(text.to_owned())),
                "{text}"
            );
        }
        let error = parse_duration("87601h").unwrap_err().to_string();
        assert_eq!(
            error,
            "`87601h` is too long a duration; the longest is 87600h, which is ten years"
        );
    }

    #[test]
    fn durations_print_short() {
        let cases = [
            (Duration::ZERO, "0 s"),
            (Duration::from_nanos(7), "7 ns"),
            (Duration::from_micros(300), "300 µs"),
            (Duration::from_millis(20), "20 ms"),
            (Duration::from_millis(1500), "1.5 s"),
            (Duration::from_secs(2), "2 s"),
            (Duration::from_millis(59_999), "59.9 s"),
            (Duration::from_mins(1), "1 m"),
            (Duration::from_secs(130), "2 m 10 s"),
            (Duration::from_mins(65), "1 h 5 m"),
            (Duration::from_hours(76), "3 d 4 h"),
        ];
        for (duration, text) in cases {
            assert_eq!(format_duration(duration), text);
        }
    }

    #[test]
    fn a_margin_is_a_share_or_a_size() {
        assert_eq!("0.025%".parse(), Ok(Margin::Percent(0.025)));
        assert_eq!(" 100 % ".parse(), Ok(Margin::Percent(100.0)));
        assert_eq!("64MiB".parse(), Ok(Margin::Bytes(64 << 20)));
    }

    #[test]
    fn a_margin_out_of_range_is_refused() {
        for text in ["0%", "-1%", "100.1%", "inf%", "NaN%"] {
            assert_eq!(
                text.parse::<Margin>(),
                Err(UnitError::PercentOutOfRange(text.to_owned())),
                "{text}"
            );
        }
        for text in ["", "%", "much", "x%", "1%%"] {
            assert_eq!(
                text.parse::<Margin>(),
                Err(UnitError::NotAMargin(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(
            "0".parse::<Margin>(),
            Err(UnitError::EmptyMargin("0".to_owned()))
        );
        assert_eq!(
            "99EiB".parse::<Margin>(),
            Err(UnitError::SizeTooLarge("99EiB".to_owned()))
        );
    }

    #[test]
    fn a_margin_in_bytes_depends_on_the_machine() {
        assert_eq!(Margin::Percent(0.025).bytes(16_000_000_000), 4_000_000);
        assert_eq!(Margin::Percent(100.0).bytes(1 << 40), 1 << 40);
        assert_eq!(
            Margin::Percent(0.025).bytes(1),
            1,
            "never a margin of nothing"
        );
        assert_eq!(Margin::Bytes(4096).bytes(1 << 40), 4096);
    }

    #[test]
    fn margins_print_as_they_are_written() {
        assert_eq!(Margin::Percent(0.025).to_string(), "0.025%");
        assert_eq!(Margin::Bytes(64 << 20).to_string(), "64 MiB");
    }
}

//! Numbers as people read them: `1,234 files`, `1 file`; and times and shares with three decimals at
//! the most.

use std::fmt::{self, Display};
use std::time::Duration;

/// A whole number with a comma before each three digits: `12,345`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grouped(pub u64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A number of things whose plural ends with an s: `0 files`, `1 file`, `12,345 files`.
pub fn count(number: impl TryInto<u64>, thing: &str) -> String {
    plural(number, thing, &format!("{thing}s"))
}

/// A number of things with both forms of their name: `1 entry`, `2 entries`; `1 file is`, `2 files
/// are`.
pub fn plural(number: impl TryInto<u64>, one: &str, more: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!(
        "{} {}",
        Grouped(number),
        if number == 1 { one } else { more }
    )
}

/// The number rounded to three decimals. Times, rates and shares are measured no closer than that.
pub fn thousandths(value: f64) -> f64 {
    let rounded = (value * 1e3).round() / 1e3;
    // A number so large that it has no such decimals.
    if rounded.is_finite() { rounded } else { value }
}

/// The seconds of a duration, as logs and JSON have them.
pub fn seconds(duration: Duration) -> f64 {
    thousandths(duration.as_secs_f64())
}

/// The milliseconds of a duration, as logs and JSON have them.
pub fn millis(duration: Duration) -> f64 {
    thousandths(duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_groups_of_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345, "12,345"),
            (1_000_000, "1,000,000"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(Grouped(number).to_string(), text);
        }
        assert_eq!(format!("[{:>7}]", Grouped(1234)), "[  1,234]");
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!(count(0_u32, "file"), "0 files");
        assert_eq!(count(1_usize, "file"), "1 file");
        assert_eq!(count(17_999_u64, "file"), "17,999 files");
        assert_eq!(plural(1_u8, "file is", "files are"), "1 file is");
        assert_eq!(plural(2_u8, "file is", "files are"), "2 files are");
    }

    #[test]
    fn a_time_has_three_decimals_at_the_most() {
        for (value, text) in [
            (7.219_317_999_999_999_5, "7.219"),
            (0.000_4, "0"),
            (3.0, "3"),
            (66.666_666_666, "66.667"),
            (f64::MAX, &f64::MAX.to_string()),
        ] {
            assert_eq!(thousandths(value).to_string(), text);
        }
        assert!(thousandths(f64::NAN).is_nan());
        let duration = Duration::from_nanos(7_219_317_999);
        assert_eq!(seconds(duration).to_string(), "7.219");
        assert_eq!(millis(duration).to_string(), "7219.318");
    }
}

//! Value parsers and defaults that several commands share.

use std::error::Error;
use std::num::ParseIntError;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use crate::config::parse_address;
use crate::logging;
use crate::numbers::Grouped;
use crate::units::parse_duration;

/// Default address of the balancer.
pub(in crate::cli) const BALANCER: &str = "127.0.0.1:60002";

/// Default address of the balancer's admin listener.
pub(in crate::cli) const ADMIN: &str = "127.0.0.1:60080";

/// An address: HOST:PORT.
pub(in crate::cli) fn address(text: &str) -> Result<String, String> {
    parse_address(text).map_err(|error| error.to_string())
}

/// An address, or `none` for no listener.
pub(in crate::cli) fn address_or_none(text: &str) -> Result<Option<String>, String> {
    if text == "none" {
        return Ok(None);
    }
    address(text)
        .map(Some)
        .map_err(|error| format!("{error}; or `none`"))
}

/// A log level, or directives for single modules.
pub(in crate::cli) fn level(text: &str) -> Result<String, logging::LogError> {
    logging::check_level(text).map(|()| text.to_owned())
}

/// A time longer than zero.
pub(in crate::cli) fn positive(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err(format!("invalid time {text:?}: expected more than 0")),
        other => other.map_err(|error| error.to_string()),
    }
}

/// A whole number in this range, for an option of a number's type.
pub(in crate::cli) fn whole<T>(
    range: impl RangeBounds<u64> + 'static,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64> + Bounded + 'static,
{
    let least = match range.start_bound() {
        Bound::Included(least) => *least,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let most = match range.end_bound() {
        Bound::Included(most) => *most,
        Bound::Excluded(behind) => behind.saturating_sub(1),
        Bound::Unbounded => u64::MAX,
    };
    let most = most.min(T::MOST);
    move |text| {
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| expected(least, most))
    }
}

/// A type of numbers, and its largest.
pub(in crate::cli) trait Bounded {
    /// Its largest number.
    const MOST: u64;
}

impl Bounded for u32 {
    const MOST: u64 = u32::MAX as u64;
}

impl Bounded for u64 {
    const MOST: u64 = u64::MAX;
}

impl Bounded for usize {
    const MOST: u64 = usize::MAX as u64;
}

fn expected(least: u64, most: u64) -> String {
    let least = Grouped(least);
    if most == u64::MAX {
        format!("expected a whole number, {least} or more")
    } else {
        format!("expected a whole number from {least} to {}", Grouped(most))
    }
}

/// Why a value was refused, in words for people: the library's own speak of digits and types.
pub(in crate::cli) fn reason(source: &(dyn Error + 'static)) -> String {
    if source.is::<ParseIntError>() {
        "expected a whole number".to_owned()
    } else {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_refused_with_what_is_expected() {
        let weight = whole::<u32>(..=1_000_000);
        assert_eq!(weight("1000000"), Ok(1_000_000));
        for text in [
            "-1",
            "abc",
            "",
            "1000001",
            "1,000",
            "99999999999999999999",
            "1.5",
        ] {
            let wanted = "expected a whole number from 0 to 1,000,000";
            assert_eq!(weight(text), Err(wanted.to_owned()), "{text}");
        }
        let wanted = "expected a whole number from 1 to 4,294,967,295";
        assert_eq!(whole::<u32>(1..)("0"), Err(wanted.to_owned()));
        let wanted = "expected a whole number, 0 or more";
        assert_eq!(whole::<u64>(..)("x"), Err(wanted.to_owned()));
    }
}

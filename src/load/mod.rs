//! Role: a load generator. Measures a balancer as its clients see it.
//!
//! [`Plan`] says what is sent and how fast; a [`Lane`] is one connection without its socket: it
//! makes the bytes that go out and understands those that come in; [`Tally`] collects the times,
//! and [`Report`] is what they come to. All of these are cores: they are told what time it is, as
//! the time since the start. [`drive`] and [`hold`] own the connections and the clock. Everything
//! runs on one thread, for the generator shares its machine with what it measures.
//!
//! Invariant: in the open loop the time of a file begins when it was due, however late it could be
//! sent.

pub mod drive;
pub mod hold;
mod lane;
mod plan;
mod rate;
mod sizes;
mod slots;
mod tally;

pub use lane::{Lane, Run};
pub use plan::{Amount, Load, OPEN_LOOP_MOST, Plan};
pub use rate::{Rate, TICK};
pub use sizes::{Contents, Mix};
pub use tally::{Failed, Percentiles, Report, Tally};

use thiserror::Error;

/// Why a flag that says what is to be sent was not understood. Trying again cannot help: the text
/// must change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// A size is none.
    #[error(transparent)]
    Size(#[from] crate::units::UnitError),
    /// A size is more than content is prepared for.
    #[error("`{0}` is too large: content of up to 1 GiB is prepared")]
    TooLarge(String),
    /// What stands behind a size is no share.
    #[error(
        "`{0}` is no share; write more than 0% and at most 100%, with up to three decimals, e.g. 16KiB:10%"
    )]
    Share(String),
    /// All shares together are more than there is.
    #[error("the shares come to {0}%, which is more than 100%")]
    Above(String),
    /// All sizes have a share, and something is left.
    #[error(
        "the shares come to {0}%; make them 100%, or leave one size without a share for the rest"
    )]
    Below(String),
    /// Nothing is left for the size without a share.
    #[error("the shares come to 100%, so nothing is left for {0}")]
    NothingLeft(String),
    /// Two sizes want the rest.
    #[error("{0} and {1} have no share; only one can have the rest")]
    TwoRests(String, String),
    /// More sizes than are taken.
    #[error("{0} sizes; at most {max} are taken", max = sizes::MAX_SIZES)]
    TooMany(usize),
    /// The rate is none.
    #[error(
        "`{0}` is no rate; write files a second, from 0.001 to 10000000, with up to three decimals"
    )]
    Rate(String),
}

/// Reads a decimal number with up to three decimals, in thousandths.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(part)
}

/// Writes a number of thousandths as a decimal number.
fn decimal(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A well mixed number for each pair of numbers (the finalizer of `SplitMix64`).
fn mixed(seed: u64, number: u64) -> u64 {
    let mut state = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals() {
        for (text, value) in [
            ("0", 0),
            ("1", 1000),
            ("1.5", 1500),
            ("0.001", 1),
            ("12.340", 12_340),
        ] {
            assert_eq!(thousandths(text), Some(value), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.2345",
            "-1",
            "+1",
            "1e3",
            "1 ",
            "99999999999999999999",
        ] {
            assert_eq!(thousandths(text), None, "{text}");
        }
        assert_eq!(
            [decimal(0), decimal(1500), decimal(100_000), decimal(1)],
            ["0", "1.5", "100", "0.001"]
        );
    }
}

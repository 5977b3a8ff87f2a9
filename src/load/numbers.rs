//! Decimal numbers kept exactly, and a hash.

/// Parses a decimal number with up to three decimals, in thousandths.
pub(super) fn thousandths(text: &str) -> Option<u64> {
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

/// Formats thousandths as a decimal number.
pub(super) fn decimal(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A hash of two numbers (the finalizer of `SplitMix64`).
pub(super) fn mixed(seed: u64, number: u64) -> u64 {
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

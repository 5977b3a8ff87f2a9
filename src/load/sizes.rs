//! The mix of sizes, and the content of each size.

use std::fmt;
use std::str::FromStr;

use super::numbers::{decimal, mixed, thousandths};
use super::spec::{MAX_SIZES, SpecError};
use crate::checksum;
use crate::units::ByteSize;

/// The largest size, in bytes.
const MAX_SIZE: u64 = 1 << 30;

/// 100%, in thousandths of a percent.
const ALL: u64 = 100_000;

/// Sizes of files, each with its share.
///
/// Reads `1KiB`, and `1KiB,16KiB:10%,1MiB:0.5%`: the size without a share gets the rest. A size may
/// be 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    text: String,
    /// Each size, and the sum of the shares up to its own.
    sizes: Vec<(u64, u64)>,
}

impl Mix {
    /// The index of the size of this file; always the same for the same seed.
    pub fn pick(&self, seed: u64, file: u64) -> usize {
        if self.sizes.len() == 1 {
            return 0;
        }
        let point = mixed(seed, file) % ALL;
        self.sizes
            .iter()
            .position(|(_, end)| point < *end)
            .unwrap_or(0)
    }
}

impl FromStr for Mix {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let entries = text.split(',').map(entry).collect::<Result<Vec<_>, _>>()?;
        if entries.len() > MAX_SIZES {
            return Err(SpecError::TooMany(entries.len()));
        }
        let rest = rest(&entries)?;
        let mut end = 0;
        let sizes = entries.iter().map(|(size, share)| {
            end += share.unwrap_or(rest);
            (*size, end)
        });
        Ok(Self {
            text: text.to_owned(),
            sizes: sizes.collect(),
        })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A size, and its share; `None` for the rest.
fn entry(text: &str) -> Result<(u64, Option<u64>), SpecError> {
    let (size, share) = text
        .split_once(':')
        .map_or((text, None), |(size, share)| (size, Some(share)));
    let ByteSize(bytes) = size.parse()?;
    if bytes > MAX_SIZE {
        return Err(SpecError::TooLarge(size.to_owned()));
    }
    let read = |share: &str| {
        let share = thousandths(share.trim().strip_suffix('%')?)?;
        (1..=ALL).contains(&share).then_some(share)
    };
    let share = share.map(|share| read(share).ok_or_else(|| SpecError::Share(share.to_owned())));
    Ok((bytes, share.transpose()?))
}

/// The share that is left.
fn rest(entries: &[(u64, Option<u64>)]) -> Result<u64, SpecError> {
    let sum: u64 = entries.iter().filter_map(|(_, share)| *share).sum();
    let mut open = entries
        .iter()
        .filter(|(_, share)| share.is_none())
        .map(|(size, _)| ByteSize(*size).to_string());
    match (open.next(), open.next()) {
        _ if sum > ALL => Err(SpecError::Above(decimal(sum))),
        (None, _) if sum < ALL => Err(SpecError::Below(decimal(sum))),
        (Some(one), None) if sum == ALL => Err(SpecError::NothingLeft(one)),
        (Some(one), Some(other)) => Err(SpecError::TwoRests(one, other)),
        _ => Ok(ALL - sum),
    }
}

/// The content for each size of a mix, and its CRC32C: pseudo-random bytes, prepared once.
pub struct Contents {
    bytes: Vec<u8>,
    sizes: Vec<(usize, u32)>,
}

impl Contents {
    /// Prepares the content of all sizes.
    pub fn prepare(mix: &Mix, seed: u64) -> Self {
        let sizes: Vec<usize> = mix
            .sizes
            .iter()
            .map(|(size, _)| usize::try_from(*size).unwrap_or(0))
            .collect();
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let mut bytes: Vec<u8> = (0..=largest as u64 / 8)
            .flat_map(|at| mixed(!seed, at).to_le_bytes())
            .collect();
        bytes.truncate(largest);
        let summed = sizes.into_iter().map(|size| {
            (
                size,
                checksum::crc32c(bytes.get(..size).unwrap_or_default()),
            )
        });
        Self {
            sizes: summed.collect(),
            bytes,
        }
    }

    /// The content for the size of this index, and its CRC32C.
    pub fn of(&self, place: usize) -> (&[u8], u32) {
        let (size, crc) = self.sizes.get(place).copied().unwrap_or_default();
        (self.bytes.get(..size).unwrap_or_default(), crc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(text: &str) -> Mix {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn shares_and_the_rest() {
        assert_eq!(mix("1KiB").sizes, [(1024, ALL)]);
        assert_eq!(mix("0").sizes, [(0, ALL)]);
        assert_eq!(
            mix("1KiB,16KiB:10%,1MiB:0.5%").sizes,
            [(1024, 89_500), (16_384, 99_500), (1 << 20, ALL)]
        );
        assert_eq!(mix("5:25%, 6:75%").sizes, [(5, 25_000), (6, ALL)]);
        assert_eq!(mix("5:100%").sizes, [(5, ALL)]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Mix>().unwrap_err().to_string();
        for (text, says) in [
            ("", "invalid size"),
            ("1KiB,", "invalid size"),
            ("x:10%", "invalid size"),
            ("2GiB", "1 GiB"),
            ("1KiB:10", r#"invalid share "10""#),
            ("1KiB:0%,2KiB", r#"invalid share "0%""#),
            ("1KiB:101%", r#"invalid share "101%""#),
            ("1KiB:-5%", "invalid share"),
            ("1KiB:0.0001%,5", "invalid share"),
            ("1KiB:60%,2KiB:60%", "come to 120%, which is more than"),
            ("1KiB:60%,2KiB:39.5%", "come to 99.5%; make"),
            ("1KiB:60%,2KiB:40%,3KiB", "nothing is left for 3 KiB"),
            ("1KiB,2KiB", "1 KiB and 2 KiB have no share"),
        ] {
            assert!(error(text).contains(says), "{text}: {}", error(text));
        }
        assert_eq!(
            "1,".repeat(64).parse::<Mix>().map(drop),
            Err(SpecError::Size("".parse::<ByteSize>().unwrap_err()))
        );
        assert_eq!(
            vec!["1"; 65].join(",").parse::<Mix>().map(drop),
            Err(SpecError::TooMany(65))
        );
    }

    #[test]
    fn files_come_by_their_shares_and_the_same_for_the_same_seed() {
        let mix = mix("1,2:10%,3:0.5%");
        let mut counts = [0u32; 3];
        (0..100_000).for_each(|file| counts[mix.pick(7, file)] += 1);
        assert!(
            counts[1].abs_diff(10_000) < 500 && counts[2].abs_diff(500) < 120,
            "{counts:?}"
        );
        let picks = |seed| {
            (0..1000)
                .map(|file| mix.pick(seed, file))
                .collect::<Vec<_>>()
        };
        assert_eq!(picks(1), picks(1));
        assert_ne!(picks(1), picks(2));
    }

    #[test]
    fn content_has_its_size_and_checksum_and_does_not_repeat() {
        let contents = Contents::prepare(&mix("0:1%,5:1%,100KB"), 3);
        for (place, size) in [0, 5, 100_000].into_iter().enumerate() {
            let (content, crc) = contents.of(place);
            assert_eq!((content.len(), crc), (size, crc32c::crc32c(content)));
        }
        let mut seen = std::collections::BTreeSet::new();
        assert!(
            contents
                .of(2)
                .0
                .chunks_exact(8)
                .all(|chunk| seen.insert(chunk)),
            "eight bytes come twice"
        );
    }
}

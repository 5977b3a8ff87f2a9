//! How durable an accepted, or a stored, file has to be.

use std::fmt;
use std::str::FromStr;

/// What a file must outlive before it counts as accepted, or as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is synced to the disk: it survives kills, crashes and power cuts.
    Disk,
    /// The operating system has it: it survives the death of the process, not of the machine.
    Os,
}

impl Durability {
    /// Both levels, the safest first.
    pub const ALL: [Self; 2] = [Self::Disk, Self::Os];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Os => "os",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no level of durability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid durability \"{0}\": expected disk or os")]
pub struct UnknownDurability(String);

impl FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or_else(|| UnknownDurability(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_read_back_from_its_name() {
        for level in Durability::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let unknown = "dsk".parse::<Durability>().unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "invalid durability \"dsk\": expected disk or os"
        );
    }
}

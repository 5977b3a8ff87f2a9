//! Why the text of a flag of the load generator is invalid.

use thiserror::Error;

use crate::units::UnitError;

/// The most sizes in a mix.
pub(super) const MAX_SIZES: usize = 64;

/// Why the text of a mix of sizes or of a rate is invalid. Permanent: the text must change.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// A size is invalid.
    #[error(transparent)]
    Size(#[from] UnitError),
    /// A size is larger than the largest prepared content.
    #[error("size {0:?} is too large: the largest is 1 GiB")]
    TooLarge(String),
    /// The share of a size is invalid.
    #[error(
        "invalid share {0:?}: expected more than 0% and at most 100%, with up to three decimals, \
         e.g. 16KiB:10%"
    )]
    Share(String),
    /// The shares come to more than 100%.
    #[error("the shares come to {0}%, which is more than 100%")]
    Above(String),
    /// All sizes have a share, and the shares come to less than 100%.
    #[error(
        "the shares come to {0}%; make them 100%, or leave one size without a share for the rest"
    )]
    Below(String),
    /// The shares come to 100%, and one size has no share.
    #[error("the shares come to 100%, so nothing is left for {0}")]
    NothingLeft(String),
    /// Two sizes have no share.
    #[error("{0} and {1} have no share; only one size can have the rest")]
    TwoRests(String, String),
    /// More than `MAX_SIZES` sizes.
    #[error("too many sizes, {0}: expected at most {MAX_SIZES}")]
    TooMany(usize),
    /// The rate is invalid.
    #[error(
        "invalid rate {0:?}: expected files per second, from 0.001 to 10,000,000, with up to three \
         decimals"
    )]
    Rate(String),
}

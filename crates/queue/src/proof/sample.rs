//! Which of many damages a run tries: an eighth of them, or all.

/// One of so many places is tried by a run that is not asked for all.
const SHARE: usize = 8;

/// An eighth of the places of a proof, or all of them with `BILICO_PROOF=full`.
///
/// The eighths of the phases 0 to 7 share no place and are all places together. The phase comes
/// from `BILICO_SEED`, or is random, and is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sample {
    All,
    Phase(usize),
}

impl Sample {
    /// The sample that the environment asks for.
    pub(super) fn of_this_run() -> Self {
        if std::env::var("BILICO_PROOF").is_ok_and(|proof| proof == "full") {
            println!("BILICO_PROOF=full: every place");
            return Self::All;
        }
        let seed = super::from_environment("BILICO_SEED").unwrap_or_else(rand::random);
        let phase = usize::try_from(seed % SHARE as u64).unwrap_or(0);
        println!("BILICO_SEED={phase}: each {SHARE}th place");
        Self::Phase(phase)
    }

    /// Whether this run tries the place with this index, such as a bit of a file.
    pub(super) fn takes(self, index: usize) -> bool {
        match self {
            Self::All => true,
            // One of eight neighbours, but not the same one each time: records begin at multiples
            // of eight bytes.
            Self::Phase(phase) => (index / SHARE + index) % SHARE == phase,
        }
    }
}

#[test]
fn the_samples_of_eight_phases_are_everything_once() {
    for index in 0..10_000 {
        let taken = (0..SHARE).filter(|phase| Sample::Phase(*phase).takes(index));
        assert_eq!(taken.count(), 1, "{index}");
        assert!(Sample::All.takes(index));
    }
}

//! The values of `--durability`, with their help.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::queue::Durability;

/// Reads the name of a level of durability.
pub(super) fn durability() -> impl TypedValueParser<Value = Durability> {
    let values = Durability::ALL.map(|level| PossibleValue::new(level.name()).help(help(level)));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Durability>())
}

fn help(level: Durability) -> &'static str {
    match level {
        Durability::Disk => {
            "Once it is synced to disk: then it survives kills, crashes and power cuts"
        }
        Durability::Os => {
            "Once the system has it: then it survives the process's death, not the machine's"
        }
    }
}

//! Which server an operator means.

use crate::cli::output::{Exit, Failure};

/// The name among `names` that is `meant`, ends in `meant` behind its last colon, or else contains
/// it.
pub(in crate::cli) fn resolve<'a>(meant: &str, names: &[&'a str]) -> Result<&'a str, Failure> {
    let port = meant.strip_prefix(':').unwrap_or(meant);
    let is_exact = |name: &&str| *name == meant;
    let is_port = |name: &&str| {
        name.rsplit_once(':')
            .is_some_and(|(_, found)| found == port)
    };
    let contains_it = |name: &&str| !meant.is_empty() && name.contains(meant);
    let ways: [&dyn Fn(&&str) -> bool; 3] = [&is_exact, &is_port, &contains_it];
    let found = ways
        .iter()
        .map(|is| names.iter().copied().filter(is).collect::<Vec<_>>())
        .find(|found| !found.is_empty());
    match found.as_deref() {
        Some([one]) => Ok(one),
        Some(several) => Err(Failure::new(
            Exit::Failed,
            format!("{meant:?} may be any of {} servers", several.len()),
        )
        .hint(format!("write more of its name: {}", list(several)))),
        None => {
            let failure = Failure::new(Exit::Failed, format!("there is no server {meant:?}"));
            let nearest = names
                .iter()
                .map(|name| (strsim::damerau_levenshtein(name, meant), *name))
                .min();
            Err(match nearest {
                None => failure.hint("the balancer has no servers"),
                Some((changes, name)) if changes <= 2 => {
                    failure.hint(format!("did you mean {name}?"))
                }
                Some(_) => failure.hint(format!("there are {}", list(names))),
            })
        }
    }
}

/// The first names, and how many more there are.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_by_their_name_or_a_part_of_it() {
        let names = [
            "127.0.0.1:5001",
            "127.0.0.1:15001",
            "[::1]:5003",
            "store.example:7000",
        ];
        for (meant, name) in [
            ("127.0.0.1:5001", names[0]),
            (":5001", names[0]),
            ("5001", names[0]),
            ("15001", names[1]),
            ("1500", names[1]),
            ("::1", names[2]),
            ("store", names[3]),
        ] {
            assert_eq!(resolve(meant, &names).unwrap(), name, "{meant}");
        }
        let failed = |meant| {
            let failure = resolve(meant, &names).unwrap_err();
            format!("{} / {}", failure.error, failure.hint.unwrap_or_default())
        };
        assert!(
            failed("127.0.0.1").contains("127.0.0.1:5001, 127.0.0.1:15001"),
            "{}",
            failed("127.0.0.1")
        );
        assert!(
            failed("127.0.0.1:5002").contains("did you mean 127.0.0.1:5001?"),
            "{}",
            failed("127.0.0.1:5002")
        );
        assert!(failed("elsewhere").contains("store.example:7000"));
        assert!(failed("").contains("there is no server"));
        assert!(
            resolve("x", &[])
                .unwrap_err()
                .hint
                .unwrap()
                .contains("no servers")
        );
    }
}

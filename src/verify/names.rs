//! Derives possible titles from the name of a stored file.

use crate::server::name::{beside, stored_name};

/// How many names a server tries for a file whose name is taken.
const BESIDE: u32 = 1000;

/// Bytes of the title that every name of it has, however the name was shortened.
const KEPT: usize = 150;

/// The request number at the start of a name.
pub(super) fn number(name: &str) -> Option<u64> {
    let (digits, _) = name.split_once('_')?;
    let is_plain = digits == "0" || !digits.starts_with(['0', '+']);
    if is_plain { digits.parse().ok() } else { None }
}

/// Whether a server may have stored a file of the name `expected` under this name.
pub(super) fn is_called(name: &str, expected: &str) -> bool {
    name == expected || marks(name).any(|(_, n, _)| beside(expected, n) == name)
}

/// The start of the title in a name: the same for all names of the title.
pub(super) fn beginning(title: &str) -> String {
    kept(stored_name(0, title).get(2..).unwrap_or_default())
}

/// The possible starts of the title for a file of this name.
pub(super) fn beginnings(name: &str) -> Vec<String> {
    let Some((_, title)) = name.split_once('_') else {
        return Vec::new();
    };
    let mut all = vec![kept(title)];
    let unmarked = marks(title).map(|(before, _, after)| kept(&format!("{before}{after}")));
    all.extend(unmarked.collect::<Vec<_>>());
    all.dedup();
    all
}

fn kept(title: &str) -> String {
    title
        .get(..title.floor_char_boundary(KEPT))
        .unwrap_or_default()
        .to_owned()
}

/// The marks that distinguish a name from another file's, each with the text before and after it.
fn marks(name: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    name.match_indices('~').filter_map(|(at, _)| {
        let (before, mark) = name.split_at_checked(at)?;
        let digits = mark.get(1..)?;
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let (digits, after) = digits.split_at_checked(end)?;
        let n = digits.parse().ok().filter(|n| (2..=BESIDE).contains(n))?;
        Some((before, n, after))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_those_that_a_server_writes() {
        assert_eq!(number("7_a"), Some(7));
        assert_eq!(number("18446744073709551615_"), Some(u64::MAX));
        for name in [
            "",
            "7",
            "_a",
            "+7_a",
            "07_a",
            "18446744073709551616_a",
            "a_7",
        ] {
            assert_eq!(number(name), None, "{name}");
        }
    }

    #[test]
    fn a_mark_is_seen_wherever_it_stands() {
        for title in [
            "a",
            "a.json",
            "a~2.json",
            "a.x~3",
            "~2",
            &"è".repeat(300),
            &format!("{}.json", "x".repeat(300)),
        ] {
            let expected = stored_name(7, title);
            assert!(is_called(&expected, &expected));
            assert!(is_called(&beside(&expected, 2), &expected), "{title}");
            assert!(is_called(&beside(&expected, 1000), &expected), "{title}");
            assert!(!is_called(&beside(&expected, 1001), &expected), "{title}");
            assert!(!is_called(&stored_name(8, title), &expected));
        }
        assert!(!is_called("7_a~2.json", "7_b.json"));
    }

    proptest! {
        #[test]
        fn every_name_of_a_title_leads_back_to_it(
            number in any::<u64>(), title in "[a~2./%è🚚]{0,300}", n in 2..=1000_u32,
        ) {
            let name = stored_name(number, &title);
            prop_assert!(beginnings(&name).contains(&beginning(&title)));
            prop_assert!(beginnings(&beside(&name, n)).contains(&beginning(&title)));
            prop_assert!(is_called(&beside(&name, n), &name));
        }
    }
}

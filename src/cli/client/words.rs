//! Words as a shell reads them: quotes, `~` and patterns.

use std::path::PathBuf;

use glob::{MatchOptions, Pattern, glob_with};

use crate::cli::output::{Exit, Failure};

/// As in a shell: `*` passes over no `/`, and over no dot at the beginning of a name.
const AS_A_SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The quote that is open at the end of a line.
pub(super) fn open_quote(line: &str) -> Option<char> {
    let (mut open, mut chars) = (None, line.chars());
    while let Some(c) = chars.next() {
        match (open, c) {
            (None | Some('"'), '\\') => drop(chars.next()),
            (None, '"' | '\'') => open = Some(c),
            (Some(quote), c) if quote == c => open = None,
            _ => {}
        }
    }
    open
}

/// A path that begins with `~` or `~/`, with the home directory in its place.
pub(super) fn expand_home(name: &str) -> String {
    let rest = name
        .strip_prefix('~')
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    match (rest, std::env::home_dir()) {
        (Some(rest), Some(home)) => format!("{}{rest}", home.display()),
        _ => name.to_owned(),
    }
}

/// The pattern that a name is; `None` if it is the name of one file.
pub(super) fn pattern(name: &str) -> Option<Pattern> {
    if !name.contains(['*', '?', '[']) {
        return None;
    }
    Pattern::new(name).ok()
}

/// Which of these names a pattern matches.
pub(super) fn matching<'a>(pattern: &Pattern, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    names
        .filter(|name| pattern.matches_with(name, AS_A_SHELL))
        .map(str::to_owned)
        .collect()
}

/// The paths that a pattern matches, in alphabetical order.
pub(super) fn matched(pattern: &Pattern) -> Result<Vec<PathBuf>, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, format!("cannot look for {pattern}: {error}"))
    };
    let paths = glob_with(pattern.as_str(), AS_A_SHELL).map_err(|error| cannot(&error))?;
    paths
        .map(|path| path.map_err(|error| cannot(&error)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_quote_is_seen() {
        for (line, open) in [
            ("send 'a", Some('\'')),
            ("send 'a'", None),
            ("send \"it's", Some('"')),
            ("send it\\'s", None),
            ("send \"a\\\"", Some('"')),
            ("send 'a\\'", None),
        ] {
            assert_eq!(open_quote(line), open, "{line}");
        }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        let names = ["a.json", "b.txt", ".hidden.json", "sub/c.json"];
        let matched = |text: &str| matching(&pattern(text).unwrap(), names.iter().copied());
        assert_eq!(matched("*.json"), ["a.json"]);
        assert_eq!(matched("?.*"), ["a.json", "b.txt"]);
        assert_eq!(matched(".*"), [".hidden.json"]);
        assert_eq!(matched("[ab].*"), ["a.json", "b.txt"]);
        assert!(pattern("plain.txt").is_none() && pattern("a[").is_none());
    }

    #[test]
    fn the_home_directory_is_meant_by_a_tilde_of_its_own() {
        let home = std::env::home_dir().unwrap();
        assert_eq!(expand_home("~/a"), format!("{}/a", home.display()));
        assert_eq!(expand_home("~"), home.display().to_string());
        for name in ["~a", "a~", "a/~/b"] {
            assert_eq!(expand_home(name), name);
        }
    }
}

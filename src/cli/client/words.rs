//! Words as a shell reads them: quotes, `~` and patterns.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// A pattern of paths, as a shell has them: `*` passes over no `/`, and over no dot at the beginning
/// of a name.
pub(super) struct Pattern(Vec<Part>);

/// What one component of a path may be.
enum Part {
    /// This.
    Plain(PathBuf),
    /// A name that this matches, which begins with a dot only if the pattern does.
    Names { glob: GlobMatcher, has_dot: bool },
}

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
    if !is_special(name.as_ref()) {
        return None;
    }
    let parts: Option<Vec<Part>> = Path::new(name).components().map(Part::of).collect();
    parts.map(Pattern)
}

fn is_special(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.iter().any(|byte| b"*?[".contains(byte))
}

impl Part {
    fn of(component: Component<'_>) -> Option<Self> {
        let text = component.as_os_str();
        if !is_special(text) {
            return Some(Self::Plain(text.into()));
        }
        let glob = GlobBuilder::new(text.to_str()?).build().ok()?;
        Some(Self::Names {
            glob: glob.compile_matcher(),
            has_dot: text.as_bytes().starts_with(b"."),
        })
    }

    fn fits(&self, name: &OsStr) -> bool {
        match self {
            Self::Plain(plain) => plain.as_os_str() == name,
            Self::Names { glob, has_dot } => {
                (*has_dot || !name.as_bytes().starts_with(b".")) && glob.is_match(name)
            }
        }
    }
}

/// Which of these names a pattern matches.
pub(super) fn matching<'a>(pattern: &Pattern, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let Pattern(parts) = pattern;
    names
        .filter(|name| {
            let mut components = Path::new(name).components();
            parts.iter().all(|part| {
                let next = components.next();
                next.is_some_and(|component| part.fits(component.as_os_str()))
            }) && components.next().is_none()
        })
        .map(str::to_owned)
        .collect()
}

/// The paths that a pattern matches, in alphabetical order, and the folders that could not be looked
/// into.
pub(super) fn matched(pattern: &Pattern) -> (Vec<PathBuf>, Vec<(PathBuf, std::io::Error)>) {
    let mut unread = Vec::new();
    let mut paths = vec![PathBuf::new()];
    for part in &pattern.0 {
        paths = match part {
            Part::Plain(plain) => {
                let further = paths.into_iter().map(|path| path.join(plain));
                further
                    .filter(|path| fs::symlink_metadata(path).is_ok())
                    .collect()
            }
            Part::Names { .. } => paths
                .iter()
                .flat_map(|path| names_in(path, part, &mut unread))
                .collect(),
        };
    }
    (paths, unread)
}

/// The paths in a folder whose names fit.
fn names_in(
    folder: &Path,
    part: &Part,
    unread: &mut Vec<(PathBuf, std::io::Error)>,
) -> Vec<PathBuf> {
    let here = Path::new(".");
    let place = if folder.as_os_str().is_empty() {
        here
    } else {
        folder
    };
    let mut paths = Vec::new();
    let entries = fs::read_dir(place).map(|entries| {
        entries.flatten().for_each(|entry| {
            let name = entry.file_name();
            if part.fits(&name) {
                paths.push(folder.join(name));
            }
        });
    });
    match entries {
        Err(error) if place.is_dir() => unread.push((place.to_owned(), error)),
        // A file has nothing in it that could match.
        _ => {}
    }
    paths.sort_unstable();
    paths
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
        assert_eq!(matched("sub/*"), ["sub/c.json"]);
        assert!(pattern("plain.txt").is_none() && pattern("a[").is_none());
    }

    /// A name that is no UTF-8 ended the prompt, or was passed over.
    #[test]
    fn patterns_lead_to_all_files_whatever_their_names_and_through_folders() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| dir.path().join(OsStr::from_bytes(name));
        for folder in [&b"one"[..], b"two"] {
            fs::create_dir(at(folder)).unwrap();
        }
        for name in [
            &b"x\xff"[..],
            b"x\xfe",
            b".x",
            b"one/x1",
            b"two/x2",
            b"two/y",
        ] {
            fs::write(at(name), "").unwrap();
        }
        let found = |text: &str| {
            let text = format!("{}/{text}", dir.path().display());
            let (paths, unread) = super::matched(&pattern(&text).unwrap());
            assert!(unread.is_empty(), "{unread:?}");
            paths
        };
        assert_eq!(found("x*"), [at(b"x\xfe"), at(b"x\xff")]);
        assert_eq!(found("*/x?"), [at(b"one/x1"), at(b"two/x2")]);
        assert_eq!(found("t*/../.x"), [at(b"two/../.x")]);
        assert_eq!(found("x*/y"), [] as [PathBuf; 0]);
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

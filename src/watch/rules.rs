//! Which files are taken, and what happens to each.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::client::Wait;

/// What names of the watcher's own files begin with. They are never handed over.
pub(super) const OWN: &str = ".bilico-";

/// What happens to a file that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It is moved to the rule's folder.
    Move,
    /// It is deleted.
    Delete,
    /// It stays, and is remembered.
    Leave,
}

/// How files of one kind are treated.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The receipt that is waited for.
    pub until: Wait,
    /// What happens then.
    pub after: After,
    /// Where files are moved to.
    pub done: PathBuf,
    /// Where files go that cannot be handed over.
    pub failed: PathBuf,
}

/// Patterns of names. One without a slash is about the last part of a path.
#[derive(Debug, Clone)]
pub struct Globs(GlobSet);

impl Globs {
    /// From these patterns. The error names the one that is none.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let mut all = GlobSetBuilder::new();
        for pattern in patterns {
            let anywhere = if pattern.contains('/') {
                pattern.trim_start_matches('/').to_owned()
            } else {
                format!("**/{pattern}")
            };
            let glob = GlobBuilder::new(&anywhere).literal_separator(true).build();
            all.add(glob.map_err(|error| format!("{pattern:?} is no pattern: {}", error.kind()))?);
        }
        let built = all.build();
        Ok(Self(built.map_err(|error| error.to_string())?))
    }

    fn has(&self, path: &Path) -> bool {
        self.0.is_match(path)
    }
}

/// The rules of a folder.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Only these files are taken.
    pub include: Globs,
    /// And these are not; no folder of such a name is entered.
    pub exclude: Globs,
    /// The end of the names of markers: a file is taken once its marker is there.
    pub marker: Option<String>,
    /// Files of these patterns, the first that fits, have this rule.
    pub kinds: Vec<(Globs, Rule)>,
    /// All others have this one.
    pub other: Rule,
}

impl Rules {
    /// The place of the rule for a file with this path below the folder; `None` if it is not taken.
    pub fn place(&self, path: &Path) -> Option<usize> {
        if !self.is_open(path) || self.is_marker(path) || !self.include.has(path) {
            return None;
        }
        let fits = self.kinds.iter().position(|(names, _)| names.has(path));
        Some(fits.unwrap_or(self.kinds.len()))
    }

    /// The rule in this place.
    pub fn rule(&self, place: usize) -> &Rule {
        self.kinds.get(place).map_or(&self.other, |(_, rule)| rule)
    }

    /// All rules.
    pub fn all(&self) -> impl Iterator<Item = &Rule> {
        let kinds = self.kinds.iter().map(|(_, rule)| rule);
        kinds.chain([&self.other])
    }

    /// Whether a path is not excluded: a folder that is may not be entered.
    pub fn is_open(&self, path: &Path) -> bool {
        !is_own(path.file_name()) && !self.exclude.has(path)
    }

    /// Whether it is a marker.
    pub fn is_marker(&self, path: &Path) -> bool {
        let end = self.marker.as_ref();
        end.is_some_and(|end| path.as_os_str().as_bytes().ends_with(end.as_bytes()))
    }

    /// The path of a file's marker, if files have markers.
    pub fn marker_of(&self, path: &Path) -> Option<PathBuf> {
        let mut marked = path.as_os_str().to_owned();
        marked.push(self.marker.as_ref()?);
        Some(marked.into())
    }

    /// The path of the file that a marker is for.
    pub fn marked_by(&self, marker: &Path) -> Option<PathBuf> {
        let end = self.marker.as_ref()?;
        let name = marker.as_os_str().as_bytes().strip_suffix(end.as_bytes())?;
        Some(OsStr::from_bytes(name).into())
    }
}

/// Whether a name is of the watcher itself.
pub(super) fn is_own(name: Option<&OsStr>) -> bool {
    name.is_some_and(|name| name.as_bytes().starts_with(OWN.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        let owned: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Globs::new(&owned).unwrap()
    }

    fn rules() -> Rules {
        let rule = |after| Rule {
            until: Wait::Accepted,
            after,
            done: "/done".into(),
            failed: "/failed".into(),
        };
        Rules {
            include: globs(&["*"]),
            exclude: globs(&[".*", "*.tmp", "~$*", "old/**"]),
            marker: Some(".done".to_owned()),
            kinds: vec![
                (globs(&["*.{pdf,PDF}"]), rule(After::Delete)),
                (globs(&["in/*"]), rule(After::Leave)),
            ],
            other: rule(After::Move),
        }
    }

    #[test]
    fn the_first_rule_that_fits_takes_a_file() {
        let rules = rules();
        for (path, place) in [
            ("a.pdf", Some(0)),
            ("deep/er/a.PDF", Some(0)),
            ("in/a.pdf", Some(0)),
            ("in/a.txt", Some(1)),
            ("in/deep/a.txt", Some(2)),
            ("a.txt", Some(2)),
            ("a.tmp", None),
            (".hidden", None),
            ("deep/.hidden", None),
            ("~$letter.docx", None),
            ("old/a.pdf", None),
            ("a.pdf.done", None),
            (".bilico-taken-1-a", None),
        ] {
            assert_eq!(rules.place(Path::new(path)), place, "{path}");
        }
        assert!(!rules.is_open(Path::new(".git")) && rules.is_open(Path::new("in")));
    }

    #[test]
    fn names_that_are_not_text_are_matched_too() {
        let rules = rules();
        let name = |bytes| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(rules.place(name(b"\xff.pdf")), Some(0));
        assert_eq!(rules.place(name(b"\xff.tmp")), None);
    }

    #[test]
    fn markers_name_their_files() {
        let rules = rules();
        let marker = rules.marker_of(Path::new("in/a.pdf")).unwrap();
        assert_eq!(marker, Path::new("in/a.pdf.done"));
        assert_eq!(rules.marked_by(&marker).unwrap(), Path::new("in/a.pdf"));
        assert_eq!(rules.marked_by(Path::new("a.pdf")), None);
    }

    #[test]
    fn a_pattern_that_is_none_is_named() {
        let error = Globs::new(&["ok".to_owned(), "[a".to_owned()]).unwrap_err();
        assert!(error.contains("\"[a\""), "{error}");
    }
}

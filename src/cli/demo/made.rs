//! What a demo makes on disk: it stays for the next demo, unless the start fails.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::paths::show;

/// How often a directory is removed anew, because a process that was killed a moment ago has written
/// into it.
const TRIES: usize = 5;

/// Time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The directories that a demo writes to.
pub(super) struct Made {
    /// All of them.
    dirs: Vec<PathBuf>,
    /// Those that were not there before.
    new: Vec<PathBuf>,
    /// Directories around them that were not there before, the innermost first.
    around: Vec<PathBuf>,
}

impl Made {
    /// Looks at what is there before anything is started.
    pub(super) fn before_start(dirs: Vec<PathBuf>) -> Self {
        let is_missing = |path: &Path| {
            let found = fs::symlink_metadata(path);
            found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        let new: Vec<_> = dirs.iter().filter(|dir| is_missing(dir)).cloned().collect();
        let mut around: Vec<PathBuf> = Vec::new();
        for dir in &new {
            let parents = dir.ancestors().skip(1);
            let parents = parents.filter(|dir| !dir.as_os_str().is_empty() && is_missing(dir));
            around.extend(parents.map(Path::to_owned));
        }
        around.sort_by_key(|dir| std::cmp::Reverse(dir.components().count()));
        around.dedup();
        Self { dirs, new, around }
    }

    /// The command that removes them all.
    pub(super) fn removal(&self) -> String {
        let mut words = vec!["rm".to_owned(), "-r".to_owned()];
        words.extend(self.dirs.iter().map(|dir| show(dir)));
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
    }

    /// Removes what a failed start has made. Nothing can have been accepted into it: the balancer
    /// never listened.
    pub(super) fn undo(self) {
        for dir in self.new {
            for _ in 0..TRIES {
                match fs::remove_dir_all(&dir) {
                    Err(error) if error.kind() != ErrorKind::NotFound => thread::sleep(PAUSE),
                    _ => break,
                }
            }
        }
        for dir in self.around {
            // Others may have put something into it.
            let _ = fs::remove_dir(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_there_before_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("old")).unwrap();
        let dirs = ["old/journal", "new/deep/a", "new/deep/b", "old"];
        let made = Made::before_start(dirs.map(at).to_vec());
        for dir in dirs {
            fs::create_dir_all(at(dir)).unwrap();
            fs::write(at(dir).join("file"), "").unwrap();
        }
        made.undo();
        assert!(at("old/file").exists() && !at("old/journal").exists());
        assert!(!at("new").exists());
    }

    #[test]
    fn the_command_that_starts_over_quotes_what_needs_it() {
        let made = Made::before_start(vec!["./journal".into(), "two words/logs".into()]);
        assert_eq!(made.removal(), "rm -r journal 'two words/logs'");
    }
}

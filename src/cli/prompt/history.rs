//! The lines of earlier sessions.
//!
//! Only commands are kept: what was pasted by mistake, which may be a secret, is not. A file that
//! cannot be read or written is no error: the prompt then remembers this session only.

use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustyline::Config;
use rustyline::history::{FileHistory, History as _};

/// The most lines that are kept.
const MOST: usize = 1000;

/// The longest line that is kept, in bytes.
const LONGEST: usize = 1024;

/// The largest file that is read.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Lines of this and of earlier sessions, in a file that all sessions share.
pub(in crate::cli) struct History {
    /// `None`: nothing is kept.
    file: Option<PathBuf>,
    lines: FileHistory,
}

impl History {
    /// Reads the lines that are kept in a file; without one, nothing is kept.
    pub(in crate::cli) fn open(file: Option<PathBuf>) -> Self {
        let config = Config::builder().max_history_size(MOST);
        let config = config.map(|config| config.history_ignore_space(true).build());
        let mut lines = FileHistory::with_config(&config.unwrap_or_default());
        let file = file.filter(|file| is_fit(file));
        if let Some(file) = file.as_deref().filter(|file| file.exists()) {
            let _ = lines.load(file);
        }
        Self { file, lines }
    }

    /// The lines of earlier sessions.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Keeps a line.
    pub(super) fn keep(&mut self, line: &str) {
        let Some(file) = &self.file else {
            return;
        };
        let line = line.trim_end();
        if line.len() > LONGEST || !matches!(self.lines.add(line), Ok(true)) {
            return;
        }
        if let Some(dir) = file.parent() {
            let _ = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        }
        if is_fit(file) {
            let _ = self.lines.append(file);
        }
    }
}

/// Whether a file can be a history: there is none yet, or it is text of a reasonable size.
fn is_fit(file: &Path) -> bool {
    let Ok(metadata) = file.metadata() else {
        return true;
    };
    let mut text = String::new();
    metadata.is_file()
        && metadata.len() <= LARGEST
        && File::open(file).is_ok_and(|file| file.take(LARGEST).read_to_string(&mut text).is_ok())
}

/// Where the history is kept unless another place is named: `bilico/history` in
/// `$XDG_STATE_HOME`, or in `~/.local/state`.
pub(in crate::cli) fn usual_place() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))?;
    Some(state.join("bilico/history"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn kept(file: &Path) -> Vec<String> {
        let history = History::open(Some(file.to_owned()));
        history.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_kept_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/bilico/history");
        let mut history = History::open(Some(file.clone()));
        history.keep("FTP 20");
        history.keep("send 'a \\ b'");
        assert_eq!(kept(&file), ["FTP 20", "send 'a \\ b'"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn two_sessions_lose_no_line_of_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history");
        let mut one = History::open(Some(file.clone()));
        let mut other = History::open(Some(file.clone()));
        for number in 0..5 {
            one.keep(&format!("FTP 1{number}"));
            other.keep(&format!("FTP 2{number}"));
        }
        let mut lines = kept(&file);
        lines.sort();
        let expected = (10..15).chain(20..25).map(|number| format!("FTP {number}"));
        assert_eq!(lines, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("history");
        let mut history = History::open(Some(file.clone()));
        history.keep(&format!("send {}", "x".repeat(LONGEST)));
        history.keep(" FTP 7");
        for number in 0..MOST + 20 {
            history.keep(&format!("FTP {number}"));
        }
        let lines = kept(&file);
        assert_eq!((lines.len(), lines[0].as_str()), (MOST, "FTP 20"));
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), MOST + 1);
    }

    #[test]
    fn a_file_that_is_no_history_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("binary");
        fs::write(&file, b"\xff\xfe\0").unwrap();
        History::open(Some(file.clone())).keep("FTP 20");
        assert_eq!(fs::read(&file).unwrap(), b"\xff\xfe\0");
        History::open(Some(dir.path().to_owned())).keep("FTP 20");
        History::open(Some("/proc/no/such/place".into())).keep("FTP 20");
        History::open(None).keep("FTP 20");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

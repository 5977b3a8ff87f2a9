//! The history file of the first system, `historico.json`: an array of averages, which is continued.
//!
//! Invariants: what stands in the file stays as it is, byte by byte; whoever reads it, or kills us,
//! finds a whole array; and what cannot be read as one is never written over.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::samples::Entry;
use crate::cli::output::{Exit, Failure};

/// The largest file that is continued: 300,000 entries.
const MAX_FILE: u64 = 64 << 20;

/// How far an entry is indented, and each of its keys.
const INDENT: &str = "    ";

/// A history file that was found to be one, or that is not there yet.
#[derive(Debug)]
pub(super) struct HistoryFile {
    path: PathBuf,
}

impl HistoryFile {
    /// Refuses what cannot be continued.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        // A link stays one: what it leads to is continued.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let file = Self { path };
        file.read()?;
        Ok(file)
    }

    /// Adds an entry. The file is read anew: another program may have written to it.
    pub(super) fn add(&self, entry: &Entry) -> Result<(), Failure> {
        let text = continued(self.read()?.as_deref(), entry);
        self.replace(&text).map_err(|error| {
            let path = self.path.display();
            Failure::new(
                Exit::Failed,
                format!("cannot write the history file {path}: {error}"),
            )
            .hint("what stood in it is untouched; name another with --history-file")
        })
    }

    /// What stands in it; `None` if it is not there.
    fn read(&self) -> Result<Option<String>, Failure> {
        let path = self.path.display();
        let refused = |why: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Failed,
                format!("the history file {path} is not continued: {why}"),
            )
            .hint("nothing in it was changed; move it away, or name another with --history-file")
        };
        let about = match fs::metadata(&self.path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(&error)),
        };
        if !about.is_file() {
            return Err(refused(&"it is no regular file"));
        }
        let mut text = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        read.map_err(|error| refused(&error))?;
        if text.len() as u64 > MAX_FILE {
            return Err(refused(&"it is larger than 64 MiB"));
        }
        match serde_json::from_str::<Vec<Value>>(&text) {
            Ok(_) => Ok(Some(text)),
            Err(error) => Err(refused(&format_args!("it is no JSON array ({error})"))),
        }
    }

    /// Puts a whole file in the place of the old one.
    fn replace(&self, text: &str) -> io::Result<()> {
        let dir = match self.path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut part = tempfile::Builder::new()
            .prefix(".history-")
            .suffix(".part")
            .tempfile_in(dir)?;
        part.write_all(text.as_bytes())?;
        let rights = match fs::metadata(&self.path) {
            Ok(about) => about.permissions(),
            Err(_) => std::os::unix::fs::PermissionsExt::from_mode(0o644),
        };
        part.as_file().set_permissions(rights)?;
        part.as_file().sync_all()?;
        part.persist(&self.path).map_err(|error| error.error)?;
        File::open(dir)?.sync_all()
    }
}

/// The text of an array with one more entry, as the first system writes it.
fn continued(text: Option<&str>, entry: &Entry) -> String {
    let text = text.unwrap_or("[]").trim_end();
    let before = text.strip_suffix(']').unwrap_or(text).trim_end();
    let comma = if before.ends_with('[') { "" } else { "," };
    // Texts and finite numbers are always JSON.
    let entry = serde_json::to_string_pretty(entry).unwrap_or_default();
    let lines = entry.lines().map(|line| {
        let rest = line.trim_start();
        // It indents by two.
        let depth = (line.len() - rest.len()) / 2;
        format!("{}{rest}", INDENT.repeat(depth + 1))
    });
    let lines: Vec<String> = lines.collect();
    format!("{before}{comma}\n{}\n]", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(cpu: f64) -> Entry {
        Entry {
            data_hora: "2026-11-25 04:21:11".to_owned(),
            avg_cpu: Some(cpu),
            avg_memory: Some(3.5),
            avg_disk: None,
            total_time: "0:00:20".to_owned(),
        }
    }

    /// As the first system wrote it.
    const ORIGINAL: &str = r#"[
    {
        "data_hora": "2026-11-25 04:21:01",
        "avg_cpu": 60.9,
        "avg_memory": 3.5,
        "avg_disk": 29.839999999999996,
        "total_time": "0:00:10"
    }
]"#;

    #[test]
    fn a_file_of_the_first_system_is_continued_key_by_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("historico.json");
        fs::write(&path, ORIGINAL).unwrap();
        let file = HistoryFile::open(&path).unwrap();
        file.add(&entry(29.839_999_999_999_996)).unwrap();
        let expected = r#"[
    {
        "data_hora": "2026-11-25 04:21:01",
        "avg_cpu": 60.9,
        "avg_memory": 3.5,
        "avg_disk": 29.839999999999996,
        "total_time": "0:00:10"
    },
    {
        "data_hora": "2026-11-25 04:21:11",
        "avg_cpu": 29.839999999999996,
        "avg_memory": 3.5,
        "avg_disk": null,
        "total_time": "0:00:20"
    }
]"#;
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_file_that_is_missing_or_empty_begins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("historico.json");
        for before in [None, Some("[]"), Some(" [ ]\n")] {
            if let Some(before) = before {
                fs::write(&path, before).unwrap();
            }
            let file = HistoryFile::open(&path).unwrap();
            file.add(&entry(1.0)).unwrap();
            file.add(&entry(2.0)).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let entries: Vec<Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(entries.len(), 2, "{text}");
            assert!(
                text.trim_start()
                    .starts_with("[\n    {\n        \"data_hora\"")
                    || before == Some(" [ ]\n")
            );
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_history_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("historico.json");
        for bad in ["", "{}", "[1", "[{}]]", "não", &ORIGINAL[..100]] {
            fs::write(&path, bad).unwrap();
            let failure = HistoryFile::open(&path).unwrap_err();
            assert!(
                failure
                    .error
                    .contains("is not continued: it is no JSON array"),
                "{failure:?}"
            );
            assert!(failure.hint.unwrap().contains("move it away"));
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        fs::write(&path, b"[\xff]").unwrap();
        HistoryFile::open(&path).unwrap_err();
        HistoryFile::open(dir.path()).unwrap_err();
        // It becomes bad while we run.
        fs::write(&path, "[]").unwrap();
        let file = HistoryFile::open(&path).unwrap();
        fs::write(&path, "[").unwrap();
        file.add(&entry(1.0)).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[");
    }

    #[test]
    fn a_link_and_the_rights_of_the_file_stay() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "[]").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        HistoryFile::open(&link).unwrap().add(&entry(1.0)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let about = fs::metadata(&path).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o640);
        assert!(about.len() > 100);
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "nothing is left beside it");
    }
}

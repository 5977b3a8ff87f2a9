//! The folder that files are picked from.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use rand::seq::IndexedRandom;

use crate::cli::output::{Exit, Failure, say};
use crate::client::{Form, Source};
use crate::numbers::count;
use crate::os_text;
use crate::text::Printable;
use crate::units::ByteSize;

/// The most names that are listed.
const LISTED: usize = 40;

/// A folder and the regular files in it, with their sizes, by name.
pub(super) struct Folder {
    path: PathBuf,
    files: Vec<(OsString, u64)>,
}

impl Folder {
    /// Lists the files in the folder at `path`; an error if it has none.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        Ok(Self {
            path: path.to_owned(),
            files: list(path)?,
        })
    }

    /// Lists the files again. After an error the list is as before.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        self.files = list(&self.path)?;
        Ok(())
    }

    /// Picks this many files at random; the same one may come several times.
    pub(super) fn pick(&self, count: usize) -> Vec<Source> {
        let mut rng = rand::rng();
        (0..count)
            .filter_map(|_| self.files.choose(&mut rng))
            .map(|(name, _)| Source::named(&self.path.join(name), Form::Either))
            .collect()
    }

    /// The path of a file of the folder by its name, or of any file by its path: as it is, or as
    /// [`os_text`] has it.
    pub(super) fn find(&self, name: &str) -> PathBuf {
        let decoded = os_text::decode(name);
        let ways = [self.path.join(name), name.into(), self.path.join(decoded)];
        let [_, path, _] = &ways;
        let found = ways.iter().find(|path| fs::symlink_metadata(path).is_ok());
        found.unwrap_or(path).clone()
    }

    /// Shows the files and their sizes.
    pub(super) fn show(&self) {
        say(format_args!(
            "{} in {}:",
            count(self.files.len(), "file"),
            Printable(self.path.display())
        ));
        let listed = self.files.iter().take(LISTED);
        let listed: Vec<_> = listed
            .map(|(name, size)| (shown(name), ByteSize(*size).to_string()))
            .collect();
        let widths = listed.iter().map(|(name, _)| name.chars().count());
        let widest = widths.max().unwrap_or(0);
        for (name, size) in listed {
            say(format_args!("  {name:widest$}  {size:>10}"));
        }
        if self.files.len() > LISTED {
            say(format_args!("  … and {} more", self.files.len() - LISTED));
        }
    }
}

fn shown(name: &OsStr) -> String {
    Printable(os_text::encode(name)).to_string()
}

/// The regular files in a folder with their sizes, by name.
fn list(folder: &Path) -> Result<Vec<(OsString, u64)>, Failure> {
    let cannot = |error| {
        let failure = Failure::new(
            Exit::Failed,
            format!("cannot read the folder {}: {error}", folder.display()),
        );
        failure.hint("name a folder of files with --files")
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        // A file without metadata, such as a dangling link, could not be sent either.
        if let Ok(metadata) = fs::metadata(entry.path())
            && metadata.is_file()
        {
            files.push((entry.file_name(), metadata.len()));
        }
    }
    if files.is_empty() {
        let failure = Failure::new(
            Exit::Failed,
            format!("the folder {} has no files in it", folder.display()),
        );
        return Err(failure.hint("put files into it, or name another folder with --files"));
    }
    files.sort();
    Ok(files)
}

//! Where files are picked from: a folder, or the sample files that are in the program.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rand::seq::IndexedRandom;

use super::complete::Names;
use super::samples::Samples;
use crate::cli::output::{Exit, Failure, say};
use crate::client::{Form, Source};
use crate::numbers::count;
use crate::os_text;
use crate::text::Printable;
use crate::units::ByteSize;

/// The most names that are listed.
const LISTED: usize = 40;

/// The regular files of a folder, or the sample files, with their sizes, by name.
pub(in crate::cli) struct Folder {
    from: From,
    files: Vec<(OsString, u64)>,
    names: Names,
}

enum From {
    Dir(PathBuf),
    Samples(Samples),
}

impl Folder {
    /// Lists the files in the folder at `path`; an error if it has none. Without a path, these are
    /// the sample files.
    pub(in crate::cli) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let from = match path {
            Some(path) => From::Dir(path.to_owned()),
            None => From::Samples(Samples::make()?),
        };
        let files = from.list()?;
        let names = Names::default();
        share(&names, &files);
        Ok(Self { from, files, names })
    }

    /// Lists the files again. After an error the list is as before.
    pub(super) fn refresh(&mut self) -> Result<(), Failure> {
        self.files = self.from.list()?;
        share(&self.names, &self.files);
        Ok(())
    }

    /// The names of the files, as they were listed last; they follow [`Self::refresh`].
    pub(super) fn shared_names(&self) -> Names {
        Arc::clone(&self.names)
    }

    /// The names of the files that are text.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().filter_map(|(name, _)| name.to_str())
    }

    /// Picks this many files at random; the same one may come several times.
    pub(super) fn pick(&self, count: usize) -> Vec<Source> {
        let mut rng = rand::rng();
        (0..count)
            .filter_map(|_| self.files.choose(&mut rng))
            .filter_map(|(name, _)| match &self.from {
                From::Dir(dir) => Some(Source::named(&dir.join(name), Form::Either)),
                From::Samples(samples) => samples.source(name.to_str()?),
            })
            .collect()
    }

    /// The sample file of this name.
    pub(super) fn sample(&self, name: &str) -> Option<Source> {
        match &self.from {
            From::Dir(_) => None,
            From::Samples(samples) => samples.source(name),
        }
    }

    /// The path of a file of the folder by its name, or of any file by its path: as it is, or as
    /// [`os_text`] has it.
    pub(super) fn find(&self, name: &str) -> PathBuf {
        let From::Dir(dir) = &self.from else {
            return name.into();
        };
        let decoded = os_text::decode(name);
        let ways = [dir.join(name), name.into(), dir.join(decoded)];
        let [_, path, _] = &ways;
        let found = ways.iter().find(|path| fs::symlink_metadata(path).is_ok());
        found.unwrap_or(path).clone()
    }

    /// Shows the files and their sizes.
    pub(super) fn show(&self) {
        let from = match &self.from {
            From::Dir(dir) => {
                let files = count(self.files.len(), "file");
                format!("{files} in {}", Printable(dir.display()))
            }
            From::Samples(_) => {
                let files = count(self.files.len(), "sample file");
                format!("{files} in the program; --files DIR takes yours")
            }
        };
        say(format_args!("{from}:"));
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

impl From {
    fn list(&self) -> Result<Vec<(OsString, u64)>, Failure> {
        match self {
            Self::Dir(dir) => list(dir),
            Self::Samples(samples) => Ok(samples.list()),
        }
    }
}

fn shown(name: &OsStr) -> String {
    Printable(os_text::encode(name)).to_string()
}

fn share(names: &Names, files: &[(OsString, u64)]) {
    let listed = files.iter().filter_map(|(name, _)| name.to_str());
    let listed = listed.map(str::to_owned).collect();
    *names.lock().unwrap_or_else(PoisonError::into_inner) = listed;
}

/// The regular files in a folder with their sizes, by name.
fn list(folder: &Path) -> Result<Vec<(OsString, u64)>, Failure> {
    let cannot = |error| {
        let failure = Failure::new(
            Exit::Failed,
            format!("cannot read the folder {}: {error}", folder.display()),
        );
        failure
            .hint("name a folder of files with --files, or leave it out to send the sample files")
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

//! What is done with a file that needs nothing more from the balancer: it is moved, deleted, or put
//! with the failed ones.
//!
//! Only the file that was handed over is touched: it is first taken out of the folder by a rename,
//! and looked at then. Another file, which took its name meanwhile, goes back. Nothing is ever
//! overwritten.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::file::Ident;
use super::rules::{OWN, is_own};

/// How many names with a number are tried before one that nobody has.
const NUMBERED: u32 = 20;

/// How a file was left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// It was moved here.
    Moved(PathBuf),
    /// It is deleted.
    Deleted,
    /// It is not there.
    Missing,
    /// Its place has other content, or another file, by now.
    Changed,
}

/// A file, and where it is.
pub(super) struct Taken<'a> {
    pub(super) n: u64,
    /// Its place.
    pub(super) place: PathBuf,
    /// Its path below the folder, as it came.
    pub(super) path: &'a Path,
    pub(super) ident: Ident,
}

impl Taken<'_> {
    fn is_at(&self, path: &Path) -> io::Result<bool> {
        Ok(Ident::of(&fs::symlink_metadata(path)?) == self.ident)
    }

    /// Deletes it.
    pub(super) fn delete(&self) -> io::Result<Left> {
        match self.is_at(&self.place) {
            Ok(true) => {}
            Ok(false) => return Ok(Left::Changed),
            Err(error) if is_missing(&error) => return Ok(Left::Missing),
            Err(error) => return Err(error),
        }
        if is_own(self.place.file_name()) {
            fs::remove_file(&self.place)?;
            return Ok(Left::Deleted);
        }
        let aside = free_name(&self.aside(), |name| rename_new(&self.place, name))?;
        if !self.is_at(&aside)? {
            give_back(&aside, &self.place)?;
            return Ok(Left::Changed);
        }
        fs::remove_file(&aside)?;
        Ok(Left::Deleted)
    }

    /// Where it is put aside: in its own folder, under a name that only watchers use.
    fn aside(&self) -> PathBuf {
        let name = self.path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| name.len() < 200).unwrap_or("file");
        self.place
            .with_file_name(format!("{OWN}taken-{}-{name}", self.n))
    }

    /// Moves it below a folder, to the path that it had.
    pub(super) fn move_to(&self, to: &Path) -> io::Result<Left> {
        match self.is_at(&self.place) {
            Ok(true) => {}
            Ok(false) => return Ok(Left::Changed),
            Err(error) if is_missing(&error) => return Ok(Left::Missing),
            Err(error) => return Err(error),
        }
        let wanted = to.join(self.path);
        make_parent(&wanted)?;
        let renamed = free_name(&wanted, |name| rename_new(&self.place, name));
        let name = match renamed {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                return self.copy_to(&wanted);
            }
            Err(error) if is_missing(&error) => return Ok(Left::Missing),
            other => other?,
        };
        if self.is_at(&name)? {
            return Ok(Left::Moved(name));
        }
        give_back(&name, &self.place)?;
        Ok(Left::Changed)
    }

    /// Copies it to another file system, durably, and deletes it then.
    fn copy_to(&self, wanted: &Path) -> io::Result<Left> {
        let mut from = File::open(&self.place)?;
        let metadata = from.metadata()?;
        if Ident::of(&metadata) != self.ident {
            return Ok(Left::Changed);
        }
        // An earlier process may have been killed between copy and delete.
        let name = if is_copy(wanted, &metadata, &mut from)? {
            wanted.to_owned()
        } else {
            let part = wanted.with_file_name(format!("{OWN}copy-{}", self.n));
            let copied = copy(&mut from, &metadata, &part);
            let placed = copied.and_then(|()| free_name(wanted, |name| rename_new(&part, name)));
            if placed.is_err() {
                let _ = fs::remove_file(&part);
            }
            placed?
        };
        if let Some(parent) = name.parent() {
            super::state::sync_dir(parent)?;
        }
        match self.delete()? {
            Left::Deleted | Left::Missing => Ok(Left::Moved(name)),
            other => {
                fs::remove_file(&name)?;
                Ok(other)
            }
        }
    }

    /// Moves it below the folder for failed files, beside a file with the reason.
    pub(super) fn fail(&self, to: &Path, reason: &str) -> io::Result<Left> {
        let wanted = to.join(self.path);
        make_parent(&wanted)?;
        let left = self.move_to(to)?;
        if let Left::Moved(name) = &left {
            let mut noted = name.as_os_str().to_owned();
            noted.push(".reason");
            let text = format!("{reason}\n");
            let written = free_name(Path::new(&noted), |name| {
                let mut file = File::options().write(true).create_new(true).open(name)?;
                file.write_all(text.as_bytes())
            });
            written?;
        }
        Ok(left)
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Makes the folder that a file goes to.
fn make_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => {
            DirBuilder::new().recursive(true).mode(0o750).create(parent)
        }
        _ => Ok(()),
    }
}

/// Puts a file that was taken by mistake back, or beside the one that has its name by now.
pub(super) fn give_back(from: &Path, to: &Path) -> io::Result<PathBuf> {
    free_name(to, |name| rename_new(from, name))
}

/// Renames, and fails if the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not on this file system: a link fails in the same way.
        Err(Errno::INVAL | Errno::NOSYS) => {
            match fs::hard_link(from, to) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // Nor are there links: the last resort is to look first.
                    match fs::symlink_metadata(to) {
                        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                        Err(_) => fs::rename(from, to),
                    }
                }
                linked => linked.and_then(|()| fs::remove_file(from)),
            }
        }
        other => Ok(other?),
    }
}

/// Does something with the first name of this kind that is free: `a.txt`, `a-2.txt`, …
fn free_name(
    wanted: &Path,
    mut attempt: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for number in 1..=NUMBERED {
        let name = match number {
            1 => wanted.to_owned(),
            // A name that comes again and again soon has one of its own.
            NUMBERED => numbered(wanted, &format!("{:016x}", rand::random::<u64>())),
            number => numbered(wanted, &number.to_string()),
        };
        match attempt(&name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn numbered(path: &Path, number: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push("-");
    name.push(number);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn copy(from: &mut File, metadata: &Metadata, to: &Path) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    let copied = io::copy(from, &mut file)?;
    if copied != metadata.len() {
        return Err(io::Error::other("the file changed while it was copied"));
    }
    file.set_permissions(Permissions::from_mode(
        metadata.permissions().mode() & 0o777,
    ))?;
    file.set_modified(metadata.modified()?)?;
    file.sync_all()
}

/// Whether there is a copy of the file under this name.
fn is_copy(path: &Path, metadata: &Metadata, from: &mut File) -> io::Result<bool> {
    let Ok(there) = fs::symlink_metadata(path) else {
        return Ok(false);
    };
    if !there.is_file()
        || there.len() != metadata.len()
        || there.modified()? != metadata.modified()?
    {
        return Ok(false);
    }
    let (one, other) = (hash(from)?, hash(&mut File::open(path)?)?);
    io::Seek::rewind(from)?;
    Ok(one == other)
}

fn hash(file: &mut File) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str, content: &str) -> Taken<'static> {
            fs::write(self.path(name), content).unwrap();
            let ident = Ident::of(&fs::symlink_metadata(self.path(name)).unwrap());
            Taken {
                n: 7,
                place: self.path(name),
                path: Path::new(name.to_owned().leak()),
                ident,
            }
        }
    }

    #[test]
    fn a_name_that_is_taken_is_never_overwritten() {
        let place = Place::new();
        let done = place.path("done");
        let mut names = std::collections::BTreeSet::new();
        for round in 0..40 {
            let taken = place.file("a.b.txt", &round.to_string());
            let Left::Moved(name) = taken.move_to(&done).unwrap() else {
                panic!("round {round}");
            };
            assert_eq!(fs::read_to_string(&name).unwrap(), round.to_string());
            names.insert(name);
        }
        assert_eq!(names.len(), 40);
        assert!(names.contains(&done.join("a.b-2.txt")), "{names:?}");
    }

    #[test]
    fn another_file_under_the_name_stays_and_a_missing_one_is_told() {
        let place = Place::new();
        let taken = place.file("a", "old");
        fs::write(place.path("b"), "new").unwrap();
        fs::rename(place.path("b"), place.path("a")).unwrap();
        assert_eq!(taken.delete().unwrap(), Left::Changed);
        assert_eq!(taken.move_to(&place.path("done")).unwrap(), Left::Changed);
        assert_eq!(fs::read_to_string(place.path("a")).unwrap(), "new");
        fs::remove_file(place.path("a")).unwrap();
        assert_eq!(taken.delete().unwrap(), Left::Missing);
        assert_eq!(taken.move_to(&place.path("done")).unwrap(), Left::Missing);
    }

    #[test]
    fn a_file_that_was_put_aside_is_deleted_there() {
        let place = Place::new();
        let taken = place.file("a", "x");
        fs::rename(&taken.place, taken.aside()).unwrap();
        let again = Taken {
            place: taken.aside(),
            ..taken
        };
        assert_eq!(again.delete().unwrap(), Left::Deleted);
        assert!(!again.place.exists());
    }

    #[test]
    fn failed_files_have_their_reason_beside_them() {
        let place = Place::new();
        for (round, note) in [(1, "a.txt.reason"), (2, "a-2.txt.reason")] {
            let taken = place.file("a.txt", &round.to_string());
            taken
                .fail(&place.path("failed"), &format!("reason {round}"))
                .unwrap();
            let note = fs::read_to_string(place.path("failed").join(note)).unwrap();
            assert_eq!(note, format!("reason {round}\n"));
        }
    }

    /// `/dev/shm` is another file system than the one of temporary files, as a rule.
    #[test]
    fn a_move_to_another_file_system_copies_and_a_second_one_finds_the_copy() {
        let place = Place::new();
        let Ok(other) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let taken = place.file("a.txt", "content");
        let kept = fs::read(&taken.place).unwrap();
        let left = taken.move_to(other.path()).unwrap();
        assert_eq!(left, Left::Moved(other.path().join("a.txt")));
        assert_eq!(fs::read(other.path().join("a.txt")).unwrap(), kept);
        assert!(!taken.place.exists());
        // Killed between copy and delete: the file is there, and its copy, too.
        let modified = fs::metadata(other.path().join("a.txt"))
            .unwrap()
            .modified()
            .unwrap();
        fs::write(&taken.place, &kept).unwrap();
        let file = File::options().write(true).open(&taken.place).unwrap();
        file.set_modified(modified).unwrap();
        let ident = Ident::of(&fs::metadata(&taken.place).unwrap());
        let again = Taken { ident, ..taken };
        again.move_to(other.path()).unwrap();
        assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
    }
}

//! One balancer a journal.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use super::error::JournalError;

/// Makes the journal's directory, if it is missing, and keeps other balancers out of it for as long as the lock is
/// held. The lock's file names the process that has it.
pub fn lock(dir: &Path) -> Result<File, JournalError> {
    let shown = dir.display().to_string();
    let cannot = |source| JournalError::Directory { path: shown.clone(), source };
    if let Err(error) = fs::create_dir_all(dir) {
        // What is there and no directory "exists" to the system, which helps nobody.
        let is_in_the_way = error.kind() == io::ErrorKind::AlreadyExists;
        return Err(cannot(if is_in_the_way { io::ErrorKind::NotADirectory.into() } else { error }));
    }
    let path = dir.join("lock");
    let opened = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = opened.map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned()).filter(|pid| !pid.is_empty());
            return Err(JournalError::Locked { path: shown, pid });
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    // The pid is a help, and no reason to fail: the disk may be full.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_balancer_a_journal() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        lock(dir.path()).unwrap();
    }
}

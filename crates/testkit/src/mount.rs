//! Small file systems of their own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A small file system, unmounted on drop.
pub struct Mount(TempDir);

impl Mount {
    /// Mounts a file system in memory of a size like `4m`. Without the right to mount, it prints a
    /// line and returns `None`.
    pub fn tmpfs(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if mount(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "none"],
            dir.path(),
        ) {
            return Some(Self(dir));
        }
        // Straight to standard error: a skipped test must be seen, and `eprintln!` is captured.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this user may not mount a tmpfs"
        );
        None
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Runs `mount` with these arguments on this directory. Returns whether it succeeded.
pub fn mount(args: &[&str], dir: &Path) -> bool {
    let status = Command::new("mount")
        .args(args)
        .arg(dir)
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

//! Small file systems of their own.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

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

/// A file system that never answers, as one whose server has gone; unmounted on drop.
pub struct HungMount {
    dir: TempDir,
    /// Holds the file system's other end, and answers nothing.
    holder: Child,
}

impl HungMount {
    /// Mounts it. Without the right to mount, or without FUSE, it prints a line and returns `None`.
    pub fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let script = "exec 3<>/dev/fuse || exit; \
             mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none \"$1\" || exit; \
             echo; read line";
        let holder = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut this = Self {
            dir,
            holder: holder.unwrap(),
        };
        let mut said = [0];
        let stdout = this.holder.stdout.as_mut().unwrap();
        if stdout.read(&mut said).is_ok_and(|read| read > 0) {
            return Some(this);
        }
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this user may not mount by FUSE"
        );
        None
    }

    /// The mount point. Whoever asks for anything there waits.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // With its other end it fails, and whoever waits goes on.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
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

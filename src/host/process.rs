//! The memory of this process.

use sysinfo::{Error, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Measures the resident memory of this process. On Linux without the pages of files, such as those of
/// the program: they come one by one as its code is used first, the system takes them back when it
/// needs room, and the process can give none of them back.
#[derive(Debug)]
pub struct Resident {
    system: System,
    pid: Pid,
}

impl Resident {
    /// Begins; an error where the system does not say.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            pid: sysinfo::get_current_pid()?,
            system: System::new()?,
        })
    }

    /// The resident memory in bytes; 0 if it cannot be read.
    pub fn measure(&mut self) -> u64 {
        if let Some(own) = own() {
            return own;
        }
        let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
        let this = ProcessesToUpdate::Some(&[self.pid]);
        self.system.refresh_processes_specifics(this, false, what);
        self.system
            .process(self.pid)
            .map_or(0, sysinfo::Process::memory)
    }

    /// The machine's memory in bytes.
    pub fn of_machine(&mut self) -> u64 {
        self.system.refresh_memory();
        self.system.total_memory()
    }
}

/// `RssAnon` of `proc_pid_status(5)`, in bytes.
#[cfg(target_os = "linux")]
fn own() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The system does not tell them apart.
#[cfg(not(target_os = "linux"))]
fn own() -> Option<u64> {
    None
}

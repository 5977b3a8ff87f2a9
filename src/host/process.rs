//! The memory of this process.

use sysinfo::{Error, Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Measures the resident memory of this process.
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

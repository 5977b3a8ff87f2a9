//! Takes samples: puts together what the parts of this room read.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use sysinfo::{MINIMUM_CPU_UPDATE_INTERVAL, System};

use super::cgroup::Cgroup;
use super::counters::{self, Device, Disk};
use super::disk::{Ask, DiskWatch, Known, Space, space};
use super::network::{Networks, Rates};
use super::process::Resident;
use crate::fleet_core::Facts;

/// The figures of this machine, and of the file system of one directory.
pub struct Host {
    system: System,
    cgroup: Cgroup,
    networks: Networks,
    resident: Option<Resident>,
    disk: Option<DiskWatch>,
    /// The disk that the directory lies on, as it was last answered.
    device: Option<Device>,
    /// What that disk had counted at the last sample.
    counted: Option<(Device, Disk)>,
    /// When the last sample was taken.
    at: Instant,
    /// When the processor was last looked at: too soon after that there is nothing to tell.
    cpu_at: Instant,
}

impl Host {
    /// Begins to measure. Rates and the processor's use are told from the second sample on, since
    /// they are measured from one sample to the next.
    pub fn new(dir: &Path) -> Result<Self, sysinfo::Error> {
        Self::asking(dir, Box::new(space))
    }

    /// The name of this machine.
    pub fn name() -> Option<String> {
        System::host_name().ok()
    }

    pub(super) fn asking(dir: &Path, ask: Ask) -> Result<Self, sysinfo::Error> {
        let disk = DiskWatch::new(dir, ask).inspect_err(|error| {
            tracing::warn!(error = %error, "disk space is not measured: no thread for it");
        });
        let now = Instant::now();
        let mut host = Self {
            system: System::new()?,
            cgroup: Cgroup::new(),
            networks: Networks::default(),
            resident: Resident::new().ok(),
            disk: disk.ok(),
            device: None,
            counted: None,
            at: now,
            cpu_at: now,
        };
        host.system.refresh_cpu_usage();
        host.cgroup.cpu(now, host.system.cpus().len());
        host.networks.count();
        host.ask_disk();
        Ok(host)
    }

    /// Asks for the disk's space, so that the next sample has an answer that is not old.
    pub fn ask_disk(&self) {
        if let Some(disk) = &self.disk {
            disk.look(SystemTime::now());
        }
    }

    /// The figures now; rates since the last sample. It waits for nothing.
    pub fn sample(&mut self) -> Facts {
        let now = Instant::now();
        let over = now.duration_since(self.at);
        self.at = now;
        let mut facts = Facts {
            uptime_s: System::uptime().ok(),
            process_memory: self.resident.as_mut().map(Resident::measure),
            ..Facts::default()
        };
        self.add_processor(&mut facts, now);
        self.add_memory(&mut facts, now);
        self.add_disk(&mut facts, over);
        self.add_network(&mut facts, over);
        facts
    }

    fn add_processor(&mut self, facts: &mut Facts, now: Instant) {
        if now.duration_since(self.cpu_at) < MINIMUM_CPU_UPDATE_INTERVAL {
            return;
        }
        self.cpu_at = now;
        self.system.refresh_cpu_usage();
        let part = |percent: f32| (percent / 100.0).clamp(0.0, 1.0);
        let cores = self.system.cpus().iter();
        facts.cores = cores.map(|core| part(core.usage())).collect();
        if facts.cores.is_empty() {
            return;
        }
        let all = part(self.system.global_cpu_usage());
        facts.cpu = Some(self.cgroup.cpu(now, facts.cores.len()).unwrap_or(all));
    }

    fn add_memory(&mut self, facts: &mut Facts, now: Instant) {
        self.system.refresh_memory();
        let (total, available) = (self.system.total_memory(), self.system.available_memory());
        if total == 0 {
            return;
        }
        let limited = self.cgroup.memory(now, total);
        let (used, total) = limited.map_or((total.saturating_sub(available), total), |limited| {
            (limited.used, limited.limit)
        });
        facts.memory_used = Some(used);
        facts.memory_total = Some(total);
        facts.swap_used = Some(self.system.used_swap());
        facts.swap_total = Some(self.system.total_swap());
    }

    fn add_disk(&mut self, facts: &mut Facts, over: Duration) {
        let known = self.disk.as_ref().map(|disk| disk.look(SystemTime::now()));
        match known {
            None | Some(Known::Nothing) => {}
            Some(Known::Trouble(trouble)) => facts.disk_trouble = Some(trouble),
            Some(Known::Space(Space {
                total,
                used,
                free,
                device,
            })) => {
                facts.disk_total = Some(total);
                facts.disk_used = Some(used);
                facts.disk_free = Some(free);
                self.device = device;
            }
        }
        let earlier = self.counted.take();
        let Some(device) = self.device else { return };
        let stats = fs::read_to_string("/proc/diskstats").unwrap_or_default();
        let Some(now) = counters::disk(&stats, device) else {
            return;
        };
        self.counted = Some((device, now));
        if let Some((_, before)) = earlier.filter(|it| it.0 == device) {
            let rate = |now: u64, before| counters::rate(now.saturating_sub(before), over);
            facts.disk_read = rate(now.read, before.read);
            facts.disk_write = rate(now.written, before.written);
        }
    }

    fn add_network(&mut self, facts: &mut Facts, over: Duration) {
        let Some(counted) = self.networks.count() else {
            return;
        };
        let rates = Rates::of(counted, over);
        facts.net_rx = rates.received;
        facts.net_tx = rates.sent;
        facts.net_dropped = rates.dropped;
        facts.network_up = self.networks.is_up();
    }
}

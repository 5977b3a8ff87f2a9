//! The limits of the process's cgroup: processor time and memory, in both versions of cgroups.
//!
//! A limit may stand at any level above the process; the narrowest one counts. They are looked at
//! anew every few seconds, because operators change them while a process runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::counters::unescaped;

/// How long a limit is believed before it is looked at again.
const BELIEVED: Duration = Duration::from_secs(10);

/// A controller of cgroups, and its directories from the process's own up to where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) version: Version,
    pub(super) dirs: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The directories of one controller, from `/proc/self/cgroup` and `/proc/self/mountinfo`.
pub(super) fn levels(cgroups: &str, mountinfo: &str, controller: &str) -> Option<Levels> {
    let memberships = || {
        cgroups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
    };
    let has = |list: &str| list.split(',').any(|name| name == controller);
    let one = memberships().find(|(controllers, _)| has(controllers));
    let (version, (_, path)) = match one {
        Some(one) => (Version::One, one),
        None => (Version::Two, memberships().find(|it| it.0.is_empty())?),
    };
    let (root, point) = mountinfo.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let is_it = match (kind.next()?, version) {
            ("cgroup", Version::One) => kind.nth(1).is_some_and(has),
            ("cgroup2", Version::Two) => true,
            _ => false,
        };
        is_it.then(|| (unescaped(root), PathBuf::from(unescaped(point))))
    })?;
    // Of a part of the tree that is not mounted nothing can be read, and no limit of it is known.
    let below = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(""));
    let own = point.join(below);
    let dirs = own
        .ancestors()
        .take_while(|dir| dir.starts_with(&point))
        .map(Path::to_owned);
    Some(Levels {
        version,
        dirs: dirs.collect(),
    })
}

/// The quota in `cpu.max`, as a number of processors.
pub(super) fn quota(text: &str) -> Option<f64> {
    let mut fields = text.split_whitespace();
    let quota: f64 = fields.next()?.parse().ok()?;
    let period: f64 = fields.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// The number behind a name in a file of names and numbers.
pub(super) fn entry(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, number) = line.split_once(' ')?;
        (key == name).then(|| number.trim().parse().ok())?
    })
}

fn read(dir: &Path, name: &str) -> Option<String> {
    fs::read_to_string(dir.join(name)).ok()
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    read(dir, name)?.trim().parse().ok()
}

/// The narrowest limit among the levels, and its level.
fn narrowest<T: PartialOrd + Copy>(
    levels: &Levels,
    limit: impl Fn(&Path) -> Option<T>,
) -> Option<(T, PathBuf)> {
    let limits = levels
        .dirs
        .iter()
        .filter_map(|dir| Some((limit(dir)?, dir)));
    let narrowest = limits.reduce(|a, b| if b.0 < a.0 { b } else { a });
    narrowest.map(|(limit, dir)| (limit, dir.clone()))
}

/// Memory of the cgroup that is not available, and its limit, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) used: u64,
    pub(super) limit: u64,
}

/// The limits of this process's cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    cpu: Option<Levels>,
    /// Where the first version counts processor time.
    accounting: Option<Levels>,
    memory: Option<Levels>,
    found: Option<(Instant, Limits)>,
    /// Processor time that was used, and when that was read.
    used: Option<(Duration, Instant)>,
}

#[derive(Debug, Clone, Default)]
struct Limits {
    /// Processors, and the directory that has the quota.
    quota: Option<(f64, PathBuf)>,
    memory: Option<(u64, PathBuf)>,
}

impl Cgroup {
    pub(super) fn new() -> Self {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let find = |controller| levels(&cgroups, &mounts, controller);
        Self::of(find("cpu"), find("cpuacct"), find("memory"))
    }

    pub(super) fn of(
        cpu: Option<Levels>,
        accounting: Option<Levels>,
        memory: Option<Levels>,
    ) -> Self {
        Self {
            cpu,
            accounting,
            memory,
            found: None,
            used: None,
        }
    }

    /// How much of its quota the cgroup has used since the last call, 0 to 1; `None` if it may use all
    /// processors of the machine, and at the first call.
    pub(super) fn cpu(&mut self, now: Instant, processors: usize) -> Option<f32> {
        let (quota, dir) = self.limits(now).quota.clone()?;
        #[expect(clippy::cast_precision_loss, reason = "no machine has 2^53 processors")]
        if quota >= processors as f64 {
            return None;
        }
        let used = self.processor_time(&dir)?;
        let (before, at) = self.used.replace((used, now))?;
        let most = now.duration_since(at).as_secs_f64() * quota;
        let part = used.saturating_sub(before).as_secs_f64() / most;
        #[expect(clippy::cast_possible_truncation, reason = "it is between 0 and 1")]
        part.is_finite().then_some(part.clamp(0.0, 1.0) as f32)
    }

    /// The cgroup's memory; `None` if it may use all of the machine's.
    pub(super) fn memory(&mut self, now: Instant, machine: u64) -> Option<Memory> {
        let (limit, dir) = self.limits(now).memory.clone()?;
        if limit >= machine {
            return None;
        }
        let version = self.memory.as_ref()?.version;
        let (usage, prefix) = match version {
            Version::One => ("memory.usage_in_bytes", "total_"),
            Version::Two => ("memory.current", ""),
        };
        let all = number(&dir, usage)?;
        // Content of files is given back as soon as memory is needed.
        let stat = read(&dir, "memory.stat")?;
        let files = ["active_file", "inactive_file"]
            .iter()
            .filter_map(|name| entry(&stat, &format!("{prefix}{name}")));
        let used = files.fold(all, u64::saturating_sub);
        Some(Memory { used, limit })
    }

    fn limits(&mut self, now: Instant) -> &Limits {
        let is_old = |at: Instant| now.duration_since(at) >= BELIEVED;
        if self.found.as_ref().is_none_or(|(at, _)| is_old(*at)) {
            let limits = self.look();
            let quota_at = |limits: &Limits| limits.quota.as_ref().map(|it| it.1.clone());
            let had = self.found.as_ref().and_then(|it| quota_at(&it.1));
            if had != quota_at(&limits) {
                // What another level has used is no measure of this one.
                self.used = None;
            }
            self.found = Some((now, limits));
        }
        &self.found.get_or_insert_with(|| (now, Limits::default())).1
    }

    fn look(&self) -> Limits {
        let quota = self.cpu.as_ref().and_then(|levels| {
            narrowest(levels, |dir| match levels.version {
                Version::Two => quota(&read(dir, "cpu.max")?),
                Version::One => {
                    let [most, period] = ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
                        .map(|name| read(dir, name).unwrap_or_default());
                    quota(&format!("{most} {period}"))
                }
            })
        });
        let memory = self.memory.as_ref().and_then(|levels| {
            let file = match levels.version {
                Version::One => "memory.limit_in_bytes",
                Version::Two => "memory.max",
            };
            narrowest(levels, |dir| number(dir, file))
        });
        Limits { quota, memory }
    }

    /// The processor time that was used at the level of the quota.
    fn processor_time(&self, dir: &Path) -> Option<Duration> {
        let levels = self.cpu.as_ref()?;
        match levels.version {
            Version::Two => {
                let micros = entry(&read(dir, "cpu.stat")?, "usage_usec")?;
                Some(Duration::from_micros(micros))
            }
            Version::One => {
                let height = levels.dirs.iter().position(|level| level == dir)?;
                let dir = self.accounting.as_ref()?.dirs.get(height)?;
                Some(Duration::from_nanos(number(dir, "cpuacct.usage")?))
            }
        }
    }
}

//! What a member tells of its host and of itself: one record for all ways in which it can be told.
//!
//! Units: bytes, seconds, and parts of 1. Every field may be missing: missing is not zero.

use serde::{Deserialize, Serialize};

/// The most processor cores that are told of one by one.
pub const MAX_CORES: usize = 512;

/// The longest text among the facts, in bytes.
pub const MAX_FACT_TEXT: usize = 256;

/// What a member tells of its host and of itself. Unknown fields are ignored, so that later versions
/// can add some.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// How busy the processor is, all cores together: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f32>,
    /// How busy each core is: 0 to 1. Empty if that is not told.
    #[serde(skip_serializing_if = "is_empty")]
    pub cores: Box<[f32]>,
    /// Memory that is not available, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used: Option<u64>,
    /// The host's memory, or that of its container, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total: Option<u64>,
    /// How much of the memory is in use, from a member that tells no bytes: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_ratio: Option<f32>,
    /// Swap in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_used: Option<u64>,
    /// Swap in all, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_total: Option<u64>,
    /// Space in use on the file system of the member's directory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_used: Option<u64>,
    /// That file system's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_total: Option<u64>,
    /// Space on it that the member may still use, in bytes. Less than the rest if some is reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    /// How much of its disk is in use, from a member that tells no bytes: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_ratio: Option<f32>,
    /// Why nothing is known of the file system, such as a mount that does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_trouble: Option<Box<str>>,
    /// Bytes a second read from the disk of that file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_read: Option<f32>,
    /// Bytes a second written to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_write: Option<f32>,
    /// Bytes a second received over all network interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_rx: Option<f32>,
    /// Bytes a second sent over them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_tx: Option<f32>,
    /// Packets a second that they dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_dropped: Option<f32>,
    /// Whether any network interface but the loopback is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_up: Option<bool>,
    /// The measured speed of the host's line toward it, in bits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_down: Option<f32>,
    /// The same away from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link_up: Option<f32>,
    /// Seconds since the host was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// What the member wants to be scaled by: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<f32>,
    /// Files that a server's directory holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_files: Option<u64>,
    /// Bytes of content of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_bytes: Option<u64>,
    /// The resident memory of the member's own process, in bytes: on Linux without pages of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_memory: Option<u64>,
    /// The limit above which a server is overloaded, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_limit: Option<u64>,
    /// The member's state in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_text: Option<Box<str>>,
}

#[expect(clippy::borrowed_box, reason = "serde's signature")]
fn is_empty(cores: &Box<[f32]>) -> bool {
    cores.is_empty()
}

/// Why facts are not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadFact {
    /// A number that is negative, infinite or none.
    #[error("`{0}` must be a number of 0 or more")]
    Number(&'static str),
    /// A part of 1 that is more than 1.
    #[error("`{0}` must be a part of 1, at most 1")]
    Ratio(&'static str),
    /// More cores than are taken.
    #[error("it tells of {0} cores, at most {MAX_CORES} are taken")]
    Cores(usize),
    /// A text that is too long.
    #[error("`{0}` is longer than {MAX_FACT_TEXT} bytes")]
    Text(&'static str),
}

impl Facts {
    /// Whether all figures are possible.
    pub fn check(&self) -> Result<(), BadFact> {
        if self.cores.len() > MAX_CORES {
            return Err(BadFact::Cores(self.cores.len()));
        }
        let ratios = [
            ("cpu", self.cpu),
            ("memory_ratio", self.memory_ratio),
            ("disk_ratio", self.disk_ratio),
            ("load", self.load),
        ]
        .into_iter();
        let cores = self.cores.iter().map(|core| ("cores", Some(*core)));
        for (name, ratio) in ratios.chain(cores) {
            check_number(name, ratio)?;
            if ratio.is_some_and(|ratio| ratio > 1.0) {
                return Err(BadFact::Ratio(name));
            }
        }
        for (name, number) in [
            ("disk_read", self.disk_read),
            ("disk_write", self.disk_write),
            ("net_rx", self.net_rx),
            ("net_tx", self.net_tx),
            ("net_dropped", self.net_dropped),
            ("link_down", self.link_down),
            ("link_up", self.link_up),
        ] {
            check_number(name, number)?;
        }
        for (name, text) in [
            ("disk_trouble", &self.disk_trouble),
            ("status_text", &self.status_text),
        ] {
            if text.as_ref().is_some_and(|text| text.len() > MAX_FACT_TEXT) {
                return Err(BadFact::Text(name));
            }
        }
        Ok(())
    }

    /// Takes over what the newer facts tell, and keeps what they do not tell.
    pub fn merge(&mut self, newer: &Self) {
        macro_rules! take {
            ($($field:ident),* $(,)?) => {
                $(if newer.$field.is_some() {
                    self.$field.clone_from(&newer.$field);
                })*
            };
        }
        take!(
            cpu,
            memory_used,
            memory_total,
            memory_ratio,
            swap_used,
            swap_total,
            disk_used,
            disk_total,
            disk_free,
            disk_ratio,
            disk_read,
            disk_write,
            net_rx,
            net_tx,
            net_dropped,
            network_up,
            link_down,
            link_up,
            uptime_s,
            load,
            held_files,
            held_bytes,
            process_memory,
            process_limit,
            status_text,
        );
        if !newer.cores.is_empty() {
            self.cores.clone_from(&newer.cores);
        }
        // Space and trouble exclude each other.
        if newer.disk_trouble.is_some() {
            self.disk_trouble.clone_from(&newer.disk_trouble);
            (self.disk_used, self.disk_total, self.disk_free) = (None, None, None);
            self.disk_ratio = None;
        } else if newer.disk_total.is_some() {
            self.disk_trouble = None;
        }
    }

    /// How much of the memory is in use, 0 to 1: from its bytes, or as it was told.
    pub fn memory_part(&self) -> Option<f32> {
        part(self.memory_used, self.memory_total).or(self.memory_ratio)
    }

    /// How much of the disk is in use, 0 to 1: of what the member may use, which is less than the
    /// disk's size if some of it is reserved.
    pub fn disk_part(&self) -> Option<f32> {
        let may_use = match (self.disk_used, self.disk_free) {
            (Some(used), Some(free)) => used.checked_add(free),
            _ => self.disk_total,
        };
        part(self.disk_used, may_use).or(self.disk_ratio)
    }

    /// One figure of the history, if it is told.
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes in charts need no 53 bits"
    )]
    pub fn figure(&self, figure: Figure) -> Option<f64> {
        let whole = |number: Option<u64>| number.map(|number| number as f64);
        let broken = |number: Option<f32>| number.map(f64::from);
        match figure {
            Figure::Cpu => broken(self.cpu),
            Figure::Memory => whole(self.memory_used),
            Figure::Swap => whole(self.swap_used),
            Figure::Disk => whole(self.disk_used),
            Figure::DiskRead => broken(self.disk_read),
            Figure::DiskWrite => broken(self.disk_write),
            Figure::NetRx => broken(self.net_rx),
            Figure::NetTx => broken(self.net_tx),
            Figure::NetDropped => broken(self.net_dropped),
            Figure::Load => broken(self.load),
            Figure::Process => whole(self.process_memory),
            Figure::Held => whole(self.held_bytes),
        }
    }
}

/// How much of `whole` is in use.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a part of 1 needs no 53 bits"
)]
fn part(used: Option<u64>, whole: Option<u64>) -> Option<f32> {
    let whole = whole.filter(|whole| *whole > 0)?;
    Some((used? as f64 / whole as f64).min(1.0) as f32)
}

fn check_number(name: &'static str, number: Option<f32>) -> Result<(), BadFact> {
    match number {
        Some(number) if !number.is_finite() || number < 0.0 => Err(BadFact::Number(name)),
        _ => Ok(()),
    }
}

/// What the history keeps of each member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// How busy the processor is: 0 to 1.
    Cpu,
    /// Memory in use, in bytes.
    Memory,
    /// Swap in use, in bytes.
    Swap,
    /// Disk space in use, in bytes.
    Disk,
    /// Bytes a second read.
    DiskRead,
    /// Bytes a second written.
    DiskWrite,
    /// Bytes a second received.
    NetRx,
    /// Bytes a second sent.
    NetTx,
    /// Packets a second dropped.
    NetDropped,
    /// What the member wants to be scaled by: 0 to 1.
    Load,
    /// Resident memory of its process, in bytes.
    Process,
    /// Bytes that its directory holds.
    Held,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Cpu,
        Self::Memory,
        Self::Swap,
        Self::Disk,
        Self::DiskRead,
        Self::DiskWrite,
        Self::NetRx,
        Self::NetTx,
        Self::NetDropped,
        Self::Load,
        Self::Process,
        Self::Held,
    ];

    /// Its name for people and programs, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Swap => "swap",
            Self::Disk => "disk",
            Self::DiskRead => "disk_read",
            Self::DiskWrite => "disk_write",
            Self::NetRx => "net_rx",
            Self::NetTx => "net_tx",
            Self::NetDropped => "net_dropped",
            Self::Load => "load",
            Self::Process => "process",
            Self::Held => "held",
        }
    }

    /// The figure of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|figure| figure.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_figures_are_refused() {
        let good = Facts {
            cpu: Some(1.0),
            cores: vec![0.0, 1.0].into(),
            net_rx: Some(1e9),
            ..Facts::default()
        };
        assert_eq!(good.check(), Ok(()));
        for (bad, error) in [
            (
                Facts {
                    cpu: Some(1.01),
                    ..Facts::default()
                },
                BadFact::Ratio("cpu"),
            ),
            (
                Facts {
                    load: Some(-0.1),
                    ..Facts::default()
                },
                BadFact::Number("load"),
            ),
            (
                Facts {
                    net_tx: Some(f32::NAN),
                    ..Facts::default()
                },
                BadFact::Number("net_tx"),
            ),
            (
                Facts {
                    disk_read: Some(f32::INFINITY),
                    ..Facts::default()
                },
                BadFact::Number("disk_read"),
            ),
            (
                Facts {
                    cores: vec![0.5; MAX_CORES + 1].into(),
                    ..Facts::default()
                },
                BadFact::Cores(MAX_CORES + 1),
            ),
            (
                Facts {
                    status_text: Some("x".repeat(257).into()),
                    ..Facts::default()
                },
                BadFact::Text("status_text"),
            ),
        ] {
            assert_eq!(bad.check(), Err(error));
        }
    }

    #[test]
    fn what_is_not_told_anew_stays() {
        let mut facts = Facts {
            cpu: Some(0.5),
            disk_total: Some(9),
            ..Facts::default()
        };
        facts.merge(&Facts {
            net_rx: Some(1.0),
            disk_trouble: Some("hung".into()),
            ..Facts::default()
        });
        assert_eq!(
            (facts.cpu, facts.net_rx, facts.disk_total),
            (Some(0.5), Some(1.0), None)
        );
        facts.merge(&Facts {
            disk_total: Some(8),
            ..Facts::default()
        });
        assert_eq!((facts.disk_total, facts.disk_trouble), (Some(8), None));
    }

    #[test]
    fn parts_are_of_bytes_or_as_they_were_told() {
        let mut facts = Facts {
            memory_ratio: Some(0.035),
            disk_ratio: Some(0.5),
            disk_used: Some(30),
            disk_total: Some(100),
            ..Facts::default()
        };
        assert_eq!(facts.memory_part(), Some(0.035));
        assert_eq!(facts.disk_part(), Some(0.3));
        facts.disk_free = Some(30);
        assert_eq!(facts.disk_part(), Some(0.5));
        facts.memory_used = Some(9);
        facts.memory_total = Some(0);
        assert_eq!(facts.memory_part(), Some(0.035));
        facts.memory_total = Some(3);
        assert_eq!(facts.memory_part(), Some(1.0), "more than there is");
        assert_eq!(Facts::default().disk_part(), None);
    }

    #[test]
    fn figures_are_found_by_their_names() {
        for figure in Figure::ALL {
            assert_eq!(Figure::named(figure.name()), Some(figure));
            let json = serde_json::to_string(&figure).unwrap();
            assert_eq!(json, format!("\"{}\"", figure.name()));
        }
        assert_eq!(Figure::named("CPU"), None);
    }
}

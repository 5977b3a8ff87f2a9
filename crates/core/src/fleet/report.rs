//! Members and their history as programs and pages get to see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::told::{Source, Trust};

/// The state of a member in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It has registered, and no probe was answered yet.
    Joining,
    /// It was heard of as often as it should be.
    Active,
    /// A word of it is overdue.
    Late,
    /// Nothing was heard of it for as long as its lease lasts: it may be there or not.
    Unknown,
    /// It has said that it leaves, or an operator removed it.
    Leaving,
    /// It has left.
    Gone,
}

impl MemberState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Joining,
        Self::Active,
        Self::Late,
        Self::Unknown,
        Self::Leaving,
        Self::Gone,
    ];

    /// Its name, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Late => "late",
            Self::Unknown => "unknown",
            Self::Leaving => "leaving",
            Self::Gone => "gone",
        }
    }

    /// Which state needs somebody first: the lowest.
    pub fn urgency(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Late => 1,
            Self::Joining => 2,
            Self::Leaving => 3,
            Self::Active => 4,
            Self::Gone => 5,
        }
    }
}

/// What a member can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// It takes files: it is one of the balancer's servers.
    pub files: bool,
    /// It tells figures of its host.
    pub facts: bool,
    /// It tells a load.
    pub load: bool,
}

/// A member as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its identity: `directory:…`, `agent:…`, `instance:…`, `address:…` or `source:…`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The address at which it listens, if it does: a server's name among the servers.
    pub address: Option<String>,
    /// The machine that it runs on: the address that its words come from.
    pub host: Option<String>,
    /// What it came by.
    pub source: Source,
    /// Its state in a word.
    pub state: MemberState,
    /// Why it is in that state, in words, unless it is active.
    pub reason: Option<String>,
    /// Seconds since it is in that state.
    pub since_s: f64,
    /// Seconds since the last word of it, if there was one since the balancer started.
    pub heard_s: Option<f64>,
    /// Seconds until its lease ends, if it has one.
    pub lease_s: Option<f64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// How far its facts can be believed.
    pub trust: Trust,
    /// Whether it is kept, however long nothing is heard of it, and is never scaled in.
    pub protected: bool,
    /// What it last told.
    pub facts: Facts,
    /// What people should know beside its state, such as two agents that speak from one address.
    pub notes: Vec<String>,
}

/// The figures of one member over time, one column for each: what a chart is drawn from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// The time at which each row begins, in seconds since 1970.
    pub time: Vec<u64>,
    /// Seconds from one row to the next.
    pub step_s: u64,
    /// A column for each figure, by its name.
    pub figures: BTreeMap<String, Column>,
}

/// One figure over time. Rows of which nothing is known are `None`: gaps are never filled.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The average of each row.
    pub avg: Vec<Option<f32>>,
    /// The least of each row.
    pub min: Vec<Option<f32>>,
    /// The most of each row.
    pub max: Vec<Option<f32>>,
}

/// One member's averages over a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// The member's identity.
    pub id: String,
    /// The member's name.
    pub name: String,
    /// Seconds of the stretch in which something was told.
    pub known_s: u64,
    /// The averages by the figure's name; figures of which nothing is known are left out.
    pub figures: BTreeMap<String, Summary>,
}

/// A figure over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The average.
    pub avg: f32,
    /// The least.
    pub min: f32,
    /// The most.
    pub max: f32,
}

//! The JSON bodies of requests and answers. Readers of answers must ignore unknown fields, so that
//! later versions can add some; requests with unknown fields are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::balancer::events::Event;
use crate::balancer::query::{BulkDone, FileReport, Left};
use crate::balancer::standing::Held;
use crate::config::{MAX_WEIGHT, SpecError, parse_server};
use crate::fleet::Command;
use crate::fleet_core::{Averages, MemberReport, MemberState, Trust};
use crate::protocol::status::ServerReport;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The problem.
    pub error: String,
    /// A remedy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// `GET /api/v1/overview`: the balancer at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// The version of the program.
    pub version: String,
    /// The process's id.
    pub pid: u32,
    /// Seconds since the balancer started.
    pub uptime_s: f64,
    /// Where clients connect.
    pub listen: String,
    /// Whether files are taken.
    pub accepting: bool,
    /// Why files are not taken, or why no file gets to a server.
    pub reason: Option<String>,
    /// Files accepted since the start.
    pub accepted: u64,
    /// Bytes of content of those.
    pub accepted_bytes: u64,
    /// Files delivered since the start.
    pub delivered: u64,
    /// Bytes of content of those.
    pub delivered_bytes: u64,
    /// Rates over the last 5 seconds.
    pub rates: Rates,
    /// Latencies over the last 60 seconds.
    pub latency: Latencies,
    /// Files in each of the last 60 seconds, the newest last.
    pub history: History,
    /// Files that wait.
    pub queue: Queue,
    /// Numbers of servers.
    pub servers: ServerCounts,
}

/// Rates over the last 5 seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Files accepted a second.
    pub accepted_per_s: f64,
    /// Files delivered a second.
    pub delivered_per_s: f64,
    /// Bytes of content accepted a second.
    pub accepted_bytes_per_s: f64,
    /// Bytes of content delivered a second.
    pub delivered_bytes_per_s: f64,
}

/// Latencies over the last 60 seconds; `None` if no file passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// From a file being read whole to its receipt.
    pub accept_ms: Option<Quantiles>,
    /// From a file's acceptance to the acknowledgement of its server.
    pub deliver_ms: Option<Quantiles>,
}

/// Quantiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Files in each of the last 60 seconds, the newest last; shorter after the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Accepted ones.
    pub accepted: Vec<u64>,
    /// Delivered ones.
    pub delivered: Vec<u64>,
}

/// Files that wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// All files that are accepted and not delivered.
    pub files: usize,
    /// Files that can go to a server now.
    pub ready: usize,
    /// Files that wait for the time of their next attempt.
    pub delayed: usize,
    /// Files that are sent to a server and not acknowledged yet.
    pub in_flight: usize,
    /// Bytes of content of all of them.
    pub bytes: u64,
    /// Seconds since the oldest of them was accepted.
    pub oldest_s: Option<f64>,
    /// Dead letters.
    pub dead: usize,
    /// The most files that may wait.
    pub max_files: usize,
    /// The most bytes that may wait.
    pub max_bytes: u64,
}

/// Numbers of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCounts {
    /// All of them.
    pub total: usize,
    /// Servers that may get files, even if their window is full.
    pub eligible: usize,
}

/// A server with its share and rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Its state.
    #[serde(flatten)]
    pub report: ServerReport,
    /// What stands about it by an order: in that it differs from its configuration.
    #[serde(default)]
    pub ordered: Option<Held>,
    /// The share of files that it is to get, from 0 to 1: its weight among the weights of all
    /// servers that may get files.
    #[serde(serialize_with = "share")]
    pub share_wanted: f64,
    /// The share of the last 60 seconds' files that it got; `None` if none were delivered.
    #[serde(serialize_with = "some_share")]
    pub share_had: Option<f64>,
    /// Files that it stored a second, over the last 5 seconds.
    pub files_per_s: f64,
    /// Bytes of content of those.
    pub bytes_per_s: f64,
    /// Files that it stored in each of the last 60 seconds, the newest last.
    pub history: Vec<u64>,
    /// What it tells of its host; `None` if it is no member of the fleet yet.
    #[serde(default)]
    pub host: Option<HostReport>,
}

/// What a server tells of its host. A figure that it does not tell, or that anybody could have told,
/// is `None`: missing is not zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostReport {
    /// Its state as a member of the fleet.
    pub state: MemberState,
    /// How far what is told of it can be believed.
    #[serde(default)]
    pub trust: Trust,
    /// Seconds since its last word: the age of the figures.
    pub heard_s: Option<f64>,
    /// How busy the processor is, from 0 to 1.
    pub cpu: Option<f32>,
    /// Memory in use, in bytes.
    pub memory_used: Option<u64>,
    /// The host's memory in bytes.
    pub memory_total: Option<u64>,
    /// How much of the memory is in use, from a member that tells no bytes: 0 to 1.
    #[serde(default)]
    pub memory_ratio: Option<f32>,
    /// Space in use on the file system of the server's directory, in bytes.
    pub disk_used: Option<u64>,
    /// That file system's size in bytes.
    pub disk_total: Option<u64>,
    /// Space on it that the server may still use, in bytes.
    #[serde(default)]
    pub disk_free: Option<u64>,
    /// How much of its disk is in use, from a member that tells no bytes: 0 to 1.
    #[serde(default)]
    pub disk_ratio: Option<f32>,
    /// Why nothing is known of the file system.
    pub disk_trouble: Option<String>,
    /// Files that its directory holds.
    pub held_files: Option<u64>,
    /// Bytes of content of those.
    pub held_bytes: Option<u64>,
}

/// `GET /api/v1/servers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerList {
    /// The servers, in the order in which they were added.
    pub servers: Vec<Server>,
}

/// `PATCH /api/v1/servers/{name}`: the changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchServer {
    /// Its new weight.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_weight"
    )]
    pub weight: Option<u32>,
    /// Whether it is drained: it finishes its files and gets no new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<bool>,
}

/// `GET /api/v1/orders`: what operators have ordered about servers and stands, also over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingOrders {
    /// By server.
    pub orders: Vec<StandingOrder>,
}

/// What stands about one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingOrder {
    /// The server's name.
    pub server: String,
    /// All of it in words.
    pub text: String,
    /// What stands.
    #[serde(flatten)]
    pub held: Held,
}

/// `POST /api/v1/servers`: a new server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewServer {
    /// Its host and port, which are its name as well.
    #[serde(deserialize_with = "address")]
    pub address: String,
    /// Its weight.
    #[serde(default = "one", deserialize_with = "weight")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    parse_server(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let weight = value
        .as_u64()
        .and_then(|weight| u32::try_from(weight).ok())
        .filter(|weight| *weight <= MAX_WEIGHT);
    weight.ok_or_else(|| serde::de::Error::custom(SpecError::Weight(value.to_string())))
}

fn some_weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    weight(deserializer).map(Some)
}

/// `GET /api/v1/queue` and `GET /api/v1/dead`: a page of files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileList {
    /// The files, by number.
    pub files: Vec<FileReport>,
    /// Number of files on all pages.
    pub total: usize,
    /// Bytes of their content.
    pub total_bytes: u64,
}

/// `GET /api/v1/files?title=…`: the files with this title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The files, the newest first.
    pub files: Vec<FileReport>,
    /// Whether all known files were searched.
    pub complete: bool,
}

/// How many files were replayed, dropped or cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub files: usize,
}

/// What became of an order about many files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many files it was carried out on.
    pub files: usize,
    /// How many chosen files it left alone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_files: usize,
    /// The first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftFile>,
    /// It ended at its limit: the next order goes on behind this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Files with higher numbers came later.
    #[serde(default)]
    pub up_to: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A file that an order left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFile {
    /// Its request number.
    pub number: u64,
    /// Why.
    pub reason: String,
}

impl From<BulkDone> for Done {
    fn from(done: BulkDone) -> Self {
        let left = done
            .left
            .into_iter()
            .map(|Left { number, reason }| LeftFile { number, reason });
        Self {
            files: done.files,
            left_files: done.left_files,
            left: left.collect(),
            after: done.after,
            up_to: done.up_to,
        }
    }
}

/// `GET /api/v1/notices`: the last events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoticeList {
    /// The events, by id.
    pub notices: Vec<Event>,
}

/// `GET /api/v1/fleet`: the members of the fleet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberList {
    /// By name.
    pub members: Vec<MemberReport>,
}

/// `GET /api/v1/fleet/{name}/commands`: what users have typed on a member's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandList {
    /// The member's identity.
    pub id: String,
    /// The oldest first.
    pub commands: Vec<Command>,
}

/// `GET /api/v1/fleet/averages`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AverageList {
    /// Seconds of the stretch of time.
    pub over_s: u64,
    /// By name; members of which nothing is known are left out.
    pub members: Vec<Averages>,
}

/// The data of a `state` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The balancer at a glance.
    pub overview: Overview,
    /// The servers, in the order in which they were added.
    pub servers: Vec<Server>,
    /// The other members of the fleet.
    #[serde(default)]
    pub fleet: FleetState,
}

/// The members of the fleet in a `state` event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FleetState {
    /// How many members that are no servers are in each state.
    pub states: BTreeMap<MemberState, usize>,
    /// The first of these, those that need somebody before others; without their cores.
    pub members: Vec<MemberReport>,
    /// How many of those are left out: an event has a bounded length.
    pub more: usize,
}

/// A share from 0 to 1, whose percentage has three decimals.
fn hundred_thousandths(share: f64) -> f64 {
    (share * 1e5).round() / 1e5
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn share<S: Serializer>(share: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(hundred_thousandths(*share))
}

#[expect(clippy::ref_option, reason = "serde passes references")]
fn some_share<S: Serializer>(share: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
    share.map(hundred_thousandths).serialize(to)
}

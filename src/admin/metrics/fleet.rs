//! The figures of a balancer's fleet: of its members, and of the doorways that they come by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Error;

use super::families::{Families, MAX_SERVER_SERIES, OTHER};
use crate::admin::history::to_f64;
use crate::fleet::{Count, DoorName};
use crate::fleet_core::{MemberReport, MemberState, Trust};

/// Writes the figures of the fleet.
pub(super) fn encode(
    members: &[MemberReport],
    doors: &BTreeMap<DoorName, Count>,
    to: &mut Families<'_>,
) -> Result<(), Error> {
    let kinds = MemberState::ALL.into_iter().flat_map(|state| {
        Trust::ALL.into_iter().map(move |trust| {
            let is_it = |member: &&MemberReport| (member.state, member.trust) == (state, trust);
            let labels = [("state", state.name()), ("trust", trust.name())];
            (labels, members.iter().filter(is_it).count())
        })
    });
    let help = "Members of the fleet in each state.";
    to.labelled(("bilico_fleet_members", help), kinds)?;
    let (named, others) = named(members);
    for figure in FIGURES {
        let own = named
            .iter()
            .filter_map(|(name, member)| Some((labels(name, member), (figure.of)(member)?)));
        let rest = others.iter().filter_map(|member| (figure.of)(member));
        let rest = rest.reduce(|one, other| one + other);
        let rest = rest
            .filter(|_| figure.adds_up)
            .map(|sum| (rest_labels(), sum));
        let name = format!("bilico_member_{}", figure.name);
        to.labelled((&name, figure.help), own.chain(rest))?;
    }
    let taken = doors.iter().map(|(door, count)| (door.name(), count.taken));
    let help = "Messages that a doorway of the fleet has taken.";
    to.counters(("bilico_door_messages", help), "door", taken)?;
    let refused = doors.iter().flat_map(|(door, count)| {
        let reasons = count.refused.iter();
        reasons.map(|(reason, count)| ([("door", door.name()), ("reason", *reason)], *count))
    });
    let help = "Messages that a doorway of the fleet has refused.";
    to.labelled_counters(("bilico_door_refused", help), refused)
}

/// The members that have series of their own, by name, and the others. Two members may have the same
/// name: they are called by their identities then, since a series is there once.
fn named(members: &[MemberReport]) -> (Vec<(&str, &MemberReport)>, Vec<&MemberReport>) {
    let mut sorted: Vec<&MemberReport> = members.iter().collect();
    sorted.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    let (own, others) = sorted.split_at(sorted.len().min(MAX_SERVER_SERIES));
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = own
        .iter()
        .map(|member| &*member.name)
        .filter(|name| *name == OTHER || !seen.insert(*name))
        .collect();
    let own = own.iter().map(|member| {
        let is_plain = !twice.contains(&*member.name);
        let name = if is_plain { &member.name } else { &member.id };
        (&**name, *member)
    });
    (own.collect(), others.to_vec())
}

type Labels<'a> = [(&'static str, &'a str); 3];

fn labels<'a>(name: &'a str, member: &'a MemberReport) -> Labels<'a> {
    let host = member.host.as_deref().unwrap_or_default();
    [
        ("member", name),
        ("host", host),
        ("trust", member.trust.name()),
    ]
}

fn rest_labels() -> Labels<'static> {
    [("member", OTHER), ("host", ""), ("trust", "")]
}

/// A figure of each member; `None` leaves the member out, since missing is not zero.
struct Figure {
    /// Without the prefix.
    name: &'static str,
    help: &'static str,
    /// Whether the sum over several members says something.
    adds_up: bool,
    of: fn(&MemberReport) -> Option<f64>,
}

macro_rules! figure {
    ($name:literal, $help:literal, $adds_up:literal, $of:expr) => {
        Figure {
            name: $name,
            help: $help,
            adds_up: $adds_up,
            of: $of,
        }
    };
}

fn whole(number: Option<u64>) -> Option<f64> {
    number.map(to_f64)
}

fn broken(number: Option<f32>) -> Option<f64> {
    number.map(f64::from)
}

const FIGURES: [Figure; 16] = [
    figure!(
        "up",
        "1 if it was heard of as often as it should be.",
        true,
        |member| Some(f64::from(u8::from(member.state == MemberState::Active)))
    ),
    figure!(
        "last_seen_seconds",
        "Since the last word of it: the age of its figures.",
        false,
        |member| member.heard_s
    ),
    figure!(
        "cpu_ratio",
        "How busy its processor is, from 0 to 1.",
        false,
        |member| broken(member.facts.cpu)
    ),
    figure!("memory_used_bytes", "Memory in use.", true, |member| whole(
        member.facts.memory_used
    )),
    figure!("memory_total_bytes", "Its memory.", true, |member| whole(
        member.facts.memory_total
    )),
    figure!("swap_used_bytes", "Swap in use.", true, |member| whole(
        member.facts.swap_used
    )),
    figure!(
        "disk_used_bytes",
        "Space in use on the file system of its directory.",
        true,
        |member| whole(member.facts.disk_used)
    ),
    figure!(
        "disk_total_bytes",
        "The size of that file system.",
        true,
        |member| whole(member.facts.disk_total)
    ),
    figure!(
        "disk_free_bytes",
        "Space on it that the member may still use.",
        true,
        |member| whole(member.facts.disk_free)
    ),
    figure!(
        "disk_trouble",
        "1 if its file system does not answer, or nothing can be known of it.",
        true,
        |member| Some(f64::from(u8::from(member.facts.disk_trouble.is_some())))
    ),
    figure!(
        "network_receive_bytes_per_second",
        "Received over all network interfaces.",
        true,
        |member| broken(member.facts.net_rx)
    ),
    figure!(
        "network_transmit_bytes_per_second",
        "Sent over all network interfaces.",
        true,
        |member| broken(member.facts.net_tx)
    ),
    figure!(
        "network_dropped_packets_per_second",
        "Packets that its network interfaces dropped.",
        true,
        |member| broken(member.facts.net_dropped)
    ),
    figure!(
        "load_ratio",
        "What it wants to be scaled by, from 0 to 1.",
        false,
        |member| broken(member.facts.load)
    ),
    figure!(
        "held_files",
        "Files that its directory holds.",
        true,
        |member| whole(member.facts.held_files)
    ),
    figure!("held_bytes", "Bytes of content of those.", true, |member| {
        whole(member.facts.held_bytes)
    }),
];

//! The figures of a balancer's fleet: of its members, and of the doorways that they come by.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Error;

use super::families::{Families, MAX_SERVER_SERIES, OTHER};
use crate::admin::history::to_f64;
use crate::fleet::{Count, DoorName};
use crate::fleet_core::{Figure, Identity, MemberReport, MemberState, Source, Trust};

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
    to.gauges(("bilico_fleet_members", help), kinds)?;
    let (named, others) = named(members);
    for metric in METRICS {
        let own = named
            .iter()
            .filter_map(|(name, member)| Some((labels(name, member), (metric.of)(member)?)));
        let rest = others.iter().filter_map(|member| (metric.of)(member));
        let rest = rest.reduce(|one, other| one + other);
        let rest = rest
            .filter(|_| metric.adds_up)
            .map(|sum| (rest_labels(), sum));
        let name = format!("bilico_member_{}", metric.name);
        to.gauges((&name, metric.help), own.chain(rest))?;
    }
    let taken = doors
        .iter()
        .map(|(door, count)| ([("door", door.name())], count.taken));
    let help = "Messages that a doorway of the fleet has taken.";
    to.counters(("bilico_door_messages", help), taken)?;
    let refused = doors.iter().flat_map(|(door, count)| {
        let reasons = count.refused.iter();
        reasons.map(|(reason, count)| ([("door", door.name()), ("reason", *reason)], *count))
    });
    let help = "Messages that a doorway of the fleet has refused.";
    to.counters(("bilico_door_refused", help), refused)
}

/// The members that have series of their own, by what they are called, and the others. A series is
/// there once, and whoever only claims something takes nobody's place and nobody's name: known members
/// come first and are called by their names, unless two have the same one; claims come after them, by
/// their identities.
fn named(members: &[MemberReport]) -> (Vec<(&str, &MemberReport)>, Vec<&MemberReport>) {
    let (mut sorted, mut claims): (Vec<_>, Vec<_>) =
        members.iter().partition(|member| !is_claim(member));
    sorted.sort_by(|one, other| (&one.name, &one.id).cmp(&(&other.name, &other.id)));
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<&str> = sorted
        .iter()
        .map(|member| &*member.name)
        .filter(|name| !seen.insert(*name))
        .collect();
    // What looks like an identity may be somebody else's.
    let is_plain =
        |name: &str| name != OTHER && !twice.contains(name) && name.parse::<Identity>().is_err();
    claims.sort_by(|one, other| one.id.cmp(&other.id));
    let known = sorted.iter().map(|member| {
        let name = if is_plain(&member.name) {
            &member.name
        } else {
            &member.id
        };
        (&**name, *member)
    });
    let claimed = claims.iter().map(|member| (&*member.id, *member));
    let mut own: Vec<_> = known.chain(claimed).collect();
    let others = own.split_off(own.len().min(MAX_SERVER_SERIES));
    (own, others.into_iter().map(|(_, member)| member).collect())
}

/// Whether anybody could have made this member. One that was known once stays it, also while only
/// claims are heard of it.
fn is_claim(member: &MemberReport) -> bool {
    let is_free = matches!(
        member.source,
        Source::Announced | Source::Datagram | Source::Posted
    );
    is_free && member.trust == Trust::Claimed
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
struct Metric {
    /// Without the prefix.
    name: &'static str,
    help: &'static str,
    /// Whether the sum over several members says something.
    adds_up: bool,
    of: fn(&MemberReport) -> Option<f64>,
}

/// A figure whose sum over several members says something.
const fn amount(
    name: &'static str,
    help: &'static str,
    of: fn(&MemberReport) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        help,
        adds_up: true,
        of,
    }
}

/// A figure that belongs to one member.
const fn level(
    name: &'static str,
    help: &'static str,
    of: fn(&MemberReport) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        help,
        adds_up: false,
        of,
    }
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

const METRICS: [Metric; 16] = [
    amount(
        "up",
        "1 if it was heard of as often as it should be; none once it has left.",
        |member| {
            let is_there = member.state != MemberState::Gone;
            is_there.then(|| flag(member.state == MemberState::Active))
        },
    ),
    level(
        "last_seen_seconds",
        "Since the last word of it: the age of its figures.",
        |member| member.heard_s,
    ),
    level(
        "cpu_ratio",
        "How busy its processor is, from 0 to 1.",
        |member| member.facts.figure(Figure::Cpu),
    ),
    amount("memory_used_bytes", "Memory in use.", |member| {
        member.facts.figure(Figure::Memory)
    }),
    amount("memory_total_bytes", "Its memory.", |member| {
        member.facts.memory_total.map(to_f64)
    }),
    amount("swap_used_bytes", "Swap in use.", |member| {
        member.facts.figure(Figure::Swap)
    }),
    amount(
        "disk_used_bytes",
        "Space in use on the file system of its directory.",
        |member| member.facts.figure(Figure::Disk),
    ),
    amount(
        "disk_total_bytes",
        "The size of that file system.",
        |member| member.facts.disk_total.map(to_f64),
    ),
    amount(
        "disk_free_bytes",
        "Space on it that the member may still use.",
        |member| member.facts.disk_free.map(to_f64),
    ),
    amount(
        "disk_trouble",
        "1 if its file system does not answer, or nothing can be known of it.",
        |member| Some(flag(member.facts.disk_trouble.is_some())),
    ),
    amount(
        "network_receive_bytes_per_second",
        "Received over all network interfaces.",
        |member| member.facts.figure(Figure::NetRx),
    ),
    amount(
        "network_transmit_bytes_per_second",
        "Sent over all network interfaces.",
        |member| member.facts.figure(Figure::NetTx),
    ),
    amount(
        "network_dropped_packets_per_second",
        "Packets that its network interfaces dropped.",
        |member| member.facts.figure(Figure::NetDropped),
    ),
    level(
        "load_ratio",
        "What it wants to be scaled by, from 0 to 1.",
        |member| member.facts.figure(Figure::Load),
    ),
    amount("held_files", "Files that its directory holds.", |member| {
        member.facts.held_files.map(to_f64)
    }),
    amount("held_bytes", "Bytes of content of those.", |member| {
        member.facts.figure(Figure::Held)
    }),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::Fleet;
    use crate::fleet_core::{Facts, Told};

    fn told(who: Identity, name: &str, source: Source, trust: Trust) -> Told {
        Told {
            who,
            name: Some(name.into()),
            source,
            trust,
            peer: None,
            every: Duration::from_mins(1),
            facts: Facts::default(),
        }
    }

    fn known(user: &str, name: &str) -> Told {
        let who = Identity::Agent(user.into());
        told(who, name, Source::Token, Trust::Proved)
    }

    fn claim(last: u16, name: &str) -> Told {
        let [high, low] = last.to_be_bytes();
        let who = Identity::Source([10, 0, high, low].into());
        told(who, name, Source::Datagram, Trust::Claimed)
    }

    fn members(all: impl IntoIterator<Item = Told>) -> Vec<MemberReport> {
        let fleet = Fleet::default();
        for told in all {
            fleet.told(told).unwrap();
        }
        fleet.members()
    }

    /// A datagram with the name of a host renamed that host's series.
    #[test]
    fn a_claim_takes_nobody_s_name() {
        let members = members([
            known("a", "rome"),
            claim(1, "rome"),
            claim(2, "milan"),
            known("b", "twin"),
            known("c", "twin"),
            known("d", "other"),
            known("e", "source:10.0.0.2"),
        ]);
        let (own, others) = named(&members);
        let names: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "agent:d",
                "rome",
                "agent:e",
                "agent:b",
                "agent:c",
                "source:10.0.0.1",
                "source:10.0.0.2"
            ]
        );
        assert!(others.is_empty());
    }

    /// A thousand datagrams with names that come first pushed all real hosts out of the metrics.
    #[test]
    fn claims_take_nobody_s_place() {
        let most = u16::try_from(MAX_SERVER_SERIES).unwrap();
        let claims = (0..most).map(|last| claim(last, &format!("a-{last:04}")));
        let members = members([known("z", "zurich")].into_iter().chain(claims));
        let (own, others) = named(&members);
        assert_eq!((own[0].0, own.len()), ("zurich", MAX_SERVER_SERIES));
        assert_eq!(others.len(), 1);
        assert!(is_claim(others[0]));
    }

    #[test]
    fn who_has_left_is_neither_up_nor_down() {
        let mut member = members([known("a", "rome")]).remove(0);
        let [up, ..] = METRICS;
        assert_eq!((up.name, (up.of)(&member)), ("up", Some(1.0)));
        for (state, value) in [
            (MemberState::Late, Some(0.0)),
            (MemberState::Unknown, Some(0.0)),
            (MemberState::Leaving, Some(0.0)),
            (MemberState::Gone, None),
        ] {
            member.state = state;
            assert_eq!((up.of)(&member), value, "{state:?}");
        }
    }
}

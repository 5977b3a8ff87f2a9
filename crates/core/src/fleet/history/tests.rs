#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "figures of tests are small"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::fleet::report::{Column, Summary};

/// A time that lies in the middle of a minute.
const START: u64 = 1_790_000_015;

const PLENTY: usize = 64 << 20;
const EVERY: Duration = Duration::from_secs(5);
const MINUTES: fn(u64) -> Duration = Duration::from_mins;

fn who(name: &str) -> Identity {
    Identity::Agent(name.into())
}

fn cpu(value: f32) -> Facts {
    Facts {
        cpu: Some(value),
        ..Facts::default()
    }
}

/// Facts of which all figures are told.
fn all(value: u32) -> Facts {
    let (broken, whole) = (Some(value as f32), Some(u64::from(value)));
    Facts {
        cpu: broken,
        memory_used: whole,
        swap_used: whole,
        disk_used: whole,
        disk_read: broken,
        disk_write: broken,
        net_rx: broken,
        net_tx: broken,
        net_dropped: broken,
        load: broken,
        process_memory: whole,
        held_bytes: whole,
        ..Facts::default()
    }
}

fn columns(history: &mut History, name: &str, over: Duration, now: u64) -> Columns {
    history.columns(&who(name), &[], over, None, now).unwrap()
}

fn known(column: &Column) -> Vec<f32> {
    column.avg.iter().copied().flatten().collect()
}

/// What was told, word by word: the history as it would be without any bound.
#[derive(Default)]
struct Oracle(Vec<(u64, BTreeMap<Figure, f64>)>);

impl Oracle {
    fn tell(&mut self, facts: &Facts, now: u64) {
        let figures = Figure::ALL.into_iter();
        let figures = figures.filter_map(|figure| Some((figure, facts.figure(figure)?)));
        self.0.push((now, figures.collect()));
    }

    fn values(&self, figure: Figure, from: u64, until: u64) -> Vec<f64> {
        let within = self
            .0
            .iter()
            .filter(|(time, _)| (from..until).contains(time));
        within
            .filter_map(|(_, figures)| figures.get(&figure).copied())
            .collect()
    }

    /// The average, the least and the most, and how far off an average of an f32 may be: each word
    /// may round it by half of the last digit.
    fn rounded(&self, figure: Figure, from: u64, until: u64) -> Option<([f64; 3], f64)> {
        let summary = self.summary(figure, from, until)?;
        let words = self.values(figure, from, until).len();
        Some((
            summary,
            summary[2] * words as f64 * f64::from(f32::EPSILON / 2.0),
        ))
    }

    /// The average, the least and the most.
    fn summary(&self, figure: Figure, from: u64, until: u64) -> Option<[f64; 3]> {
        let values = self.values(figure, from, until);
        let sum: f64 = values.iter().sum();
        (!values.is_empty()).then(|| {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            [sum / values.len() as f64, least, most]
        })
    }

    /// All rows are what was told in their time. Five seconds keep the average alone.
    fn check(&self, found: &Columns, now: u64) -> Result<(), TestCaseError> {
        for (name, column) in &found.figures {
            let figure = Figure::named(name).unwrap();
            prop_assert_eq!(column.avg.len(), found.time.len());
            for (row, time) in found.time.iter().enumerate() {
                let expected = self.rounded(figure, *time, (*time + found.step_s).min(now + 1));
                let row = [column.avg[row], column.min[row], column.max[row]];
                let Some((expected, off)) = expected else {
                    prop_assert_eq!(row, [None; 3], "{} at {}: a gap is filled", name, time);
                    continue;
                };
                let [avg, min, max] = row.map(Option::unwrap);
                prop_assert!(
                    is_within(avg, expected[0], off),
                    "{name}: {avg}, {expected:?}"
                );
                prop_assert!(min <= avg && avg <= max, "{name}: {min} {avg} {max}");
                if found.step_s >= 60 && found.time.len() != 10 {
                    prop_assert!(is_near(min, expected[1]), "{name}: {min}, {expected:?}");
                    prop_assert!(is_near(max, expected[2]), "{name}: {max}, {expected:?}");
                }
            }
        }
        Ok(())
    }
}

fn is_near(found: f32, expected: f64) -> bool {
    is_within(found, expected, 0.0)
}

fn is_within(found: f32, expected: f64, off: f64) -> bool {
    (f64::from(found) - expected).abs() <= expected.abs() * 1e-5 + 1e-9 + off
}

/// How a member speaks for a while: seconds from word to word, how many words, and the silence after
/// them.
#[derive(Debug, Clone)]
struct Spell {
    every: u64,
    words: u64,
    silence: u64,
    value: u32,
    has_network: bool,
}

fn spells(days: u64) -> impl Strategy<Value = Vec<Spell>> {
    let spell = (
        1..40_u64,
        1..2000_u64,
        0..20_000_u64,
        0..1000_u32,
        any::<bool>(),
    );
    let spell = spell.prop_map(|(every, words, silence, value, has_network)| Spell {
        every,
        words,
        // Most silences are short.
        silence: silence * silence / 20_000,
        value,
        has_network,
    });
    let count = usize::try_from(days * 6).unwrap();
    prop::collection::vec(spell, count..count * 2)
}

/// Tells a history and the oracle all of it, and gives the time of the last word.
fn live(history: &mut History, oracle: &mut Oracle, spells: &[Spell]) -> u64 {
    let mut now = START;
    for spell in spells {
        for word in 0..spell.words {
            now += spell.every;
            let value = f64::from(spell.value) + (word * 7 % 13) as f64;
            let facts = Facts {
                cpu: Some((value / 2000.0) as f32),
                disk_used: (word % 4 == 0).then_some(spell.value.into()),
                net_rx: spell.has_network.then_some(value as f32 * 1e4),
                ..Facts::default()
            };
            history.told(&who("a"), Duration::from_secs(spell.every), &facts, now);
            oracle.tell(&facts, now);
        }
        now += spell.silence;
    }
    now
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_day_or_a_week_is_what_was_told(
        spells in spells(7),
        over in prop::sample::select(vec![10, 60, 599, 600, 601, 3600, 21_600, 86_400, 604_800]),
        step in prop::option::of(1..5000_u64),
        later in 0..700_u64,
    ) {
        let (mut history, mut oracle) = (History::new(PLENTY, false), Oracle::default());
        let now = live(&mut history, &mut oracle, &spells) + later;
        let step = step.map(Duration::from_secs);
        let seconds = Duration::from_secs(over);
        let found = history.columns(&who("a"), &[], seconds, step, now).unwrap();
        oracle.check(&found, now)?;
        let rows = found.time.len() as u64;
        prop_assert!(rows <= MAX_ROWS);
        prop_assert!(rows * found.step_s >= over);
        prop_assert!((*found.time.last().unwrap()..=now).contains(&now));

        let known = history.averages(&who("a"), seconds, now).unwrap();
        prop_assert!(known.seconds <= over);
        let step = [5, 60, 900][[600, 21_600, u64::MAX].iter().position(|most| over <= *most).unwrap()];
        let from = now - now % step + step - over.next_multiple_of(step);
        for figure in [Figure::Cpu, Figure::Disk, Figure::NetRx, Figure::Load] {
            let expected = oracle.rounded(figure, from, now + 1);
            let found = known.figures.get(&figure);
            prop_assert_eq!(found.is_some(), expected.is_some(), "{:?}", figure);
            if let (Some(found), Some((expected, off))) = (found, expected) {
                prop_assert!(is_within(found.avg, expected[0], off), "{found:?} {expected:?}");
            }
        }
        prop_assert_eq!(history.memory(), measured(&history));
    }

    /// Neither panics nor fills gaps nor makes figures up, whatever the clock does.
    #[test]
    fn a_clock_that_jumps_corrupts_nothing(
        jumps in prop::collection::vec(
            (prop_oneof![-40..40_i64, -9000..9000_i64, any::<i64>()], 1..300_u64),
            1..12,
        ),
        over in 1..700_000_u64,
    ) {
        let (mut history, mut oracle) = (History::new(PLENTY, true), Oracle::default());
        let mut now = START;
        for (jump, words) in jumps {
            now = now.saturating_add_signed(jump);
            for word in 0..words {
                now = now.saturating_add(5);
                let facts = cpu(word as f32 / 300.0);
                history.told(&who("a"), EVERY, &facts, now);
                oracle.tell(&facts, now.min(LAST));
            }
            let found = columns(&mut history, "a", Duration::from_secs(over), now);
            for (row, time) in found.time.iter().enumerate() {
                let told = oracle.summary(Figure::Cpu, *time, *time + found.step_s);
                let column = &found.figures["cpu"];
                if let Some(avg) = column.avg[row] {
                    let [_, least, most] = told.expect("a gap is filled");
                    prop_assert!((least - 1e-6..=most + 1e-6).contains(&f64::from(avg)));
                }
            }
            history.averages(&who("a"), Duration::from_secs(over), now);
            history.finished(now, false);
            prop_assert_eq!(history.memory(), measured(&history));
        }
    }
}

/// The memory of all members, counted anew.
fn measured(history: &History) -> usize {
    let members = history.members.iter();
    let members: usize = members
        .map(|(who, member)| entry(who) + member.memory())
        .sum();
    let places = (history.members.capacity() + 1).next_power_of_two();
    members + places * (size_of::<(Identity, Box<Member>)>() + 1)
}

#[test]
fn a_silence_is_a_gap() {
    let mut history = History::new(PLENTY, false);
    for second in (0..600)
        .step_by(5)
        .filter(|second| !(200..300).contains(second))
    {
        history.told(&who("a"), Duration::from_secs(1), &cpu(0.5), START + second);
    }
    let found = columns(&mut history, "a", MINUTES(10), START + 599);
    assert_eq!((found.step_s, found.time.len()), (5, 120));
    let column = &found.figures["cpu"];
    let gap: Vec<u64> = found
        .time
        .iter()
        .zip(&column.avg)
        .filter_map(|(time, avg)| avg.is_none().then_some(time - START))
        .collect();
    assert_eq!(gap, (200..300).step_by(5).collect::<Vec<_>>());
    let averages = history.averages(&who("a"), MINUTES(10), START + 599);
    assert_eq!(averages.unwrap().seconds, 500);
}

/// The row of 616 seconds reaches back beyond the ring of ten minutes, which would answer for the ten
/// seconds.
#[test]
fn a_row_that_is_longer_than_the_stretch_is_whole() {
    let (mut history, mut oracle) = (History::new(PLENTY, false), Oracle::default());
    for now in START..START + 1000 {
        let facts = cpu(if now < START + 400 { 1.0 } else { 0.0 });
        history.told(&who("a"), EVERY, &facts, now);
        oracle.tell(&facts, now);
        for step in [595, 601, 616, 659, 901] {
            let step = Some(Duration::from_secs(step));
            let found = history.columns(&who("a"), &[], Duration::from_secs(10), step, now);
            oracle.check(&found.unwrap(), now).unwrap();
        }
    }
}

/// The worst case: each of 900 words rounds the average of its quarter of an hour.
#[test]
fn an_average_over_many_words_is_right_to_four_digits() {
    let (mut history, mut oracle) = (History::new(PLENTY, false), Oracle::default());
    let spell = |value| Spell {
        every: 1,
        words: 1800,
        silence: 0,
        value,
        has_network: true,
    };
    let now = live(&mut history, &mut oracle, &[134, 32, 791].map(spell));
    let found = history.columns(&who("a"), &[], LONGEST, None, now).unwrap();
    assert_eq!(found.step_s, 900);
    oracle.check(&found, now).unwrap();
    for (row, time) in found.time.iter().enumerate() {
        if let Some([expected, ..]) = oracle.summary(Figure::Cpu, *time, *time + 900) {
            let found = f64::from(found.figures["cpu"].avg[row].unwrap());
            assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
        }
    }
}

/// A chart of words that come every ten seconds would be a row of dots.
#[test]
fn rows_are_as_long_as_words_are_apart() {
    let mut history = History::new(PLENTY, false);
    for word in 0..60 {
        let late = word % 3;
        history.told(
            &who("a"),
            Duration::from_secs(10),
            &cpu(0.5),
            START + word * 10 + late,
        );
    }
    let found = columns(&mut history, "a", MINUTES(5), START + 600);
    assert_eq!(found.step_s, 20);
    assert_eq!(known(&found.figures["cpu"]).len(), found.time.len());
    let found = history.columns(&who("a"), &[], MINUTES(5), Some(EVERY), START + 600);
    assert_eq!(found.unwrap().step_s, 5, "who asks for it gets it");
}

#[test]
fn only_figures_that_are_told_take_room() {
    let memory = |facts: &Facts| {
        let mut history = History::new(PLENTY, false);
        for word in 0..200_000 {
            history.told(&who("a"), EVERY, facts, START + word * 5);
        }
        history.memory()
    };
    let (nothing, one, whole) = (
        memory(&Facts::default()),
        memory(&cpu(0.1)),
        memory(&all(1)),
    );
    assert_eq!(nothing, 0);
    assert!((19_000..22_000).contains(&one), "{one}");
    assert!((180_000..190_000).contains(&whole), "{whole}");
}

#[test]
fn the_longest_rings_of_those_that_nobody_looks_at_are_given_up_first() {
    let limit = 4 << 20;
    let mut history = History::new(limit, false);
    let name = |member: u64| who(&format!("{member:02}"));
    let mut worst = 0;
    let mut tell = |history: &mut History, words: std::ops::Range<u64>| {
        for word in words {
            for member in 0..40 {
                history.told(&name(member), EVERY, &all(1), START + word * 60);
            }
            worst = worst.max(history.memory());
        }
    };
    tell(&mut history, 0..1_700);
    for member in [3, 7] {
        history.columns(&name(member), &[], MINUTES(10), None, START + 102_000);
    }
    assert_eq!(history.given_up(), GivenUp::default());
    tell(&mut history, 1_700..11_700);
    let given_up = history.given_up();
    assert!((10..=38).contains(&given_up.long), "{given_up:?}");
    assert_eq!((given_up.middle, given_up.short), (0, 0));
    let now = START + 11_700 * 60;
    let days = |history: &mut History, member| {
        let week = MINUTES(7 * 24 * 60);
        known(
            &history
                .columns(&name(member), &[], week, None, now)
                .unwrap()
                .figures["cpu"],
        )
        .len()
    };
    assert_eq!(days(&mut history, 3), 672, "somebody looks at it");
    let gone = (0..40)
        .find(|member| history.members[&name(*member)].rings[2].is_none())
        .unwrap();
    let hours = days(&mut history, gone);
    // Two thousand rows of a week are six minutes each.
    assert!((60..=61).contains(&hours), "{hours}: six hours are left");
    assert!(
        history.members[&name(gone)].rings[2].is_some(),
        "taken up with the look"
    );
    assert!(worst <= limit, "{worst}");
}

#[test]
fn ten_thousand_members_stay_within_the_memory() {
    let limit = 24 << 20;
    let mut history = History::new(limit, true);
    for word in 0..150 {
        for member in 0..10_000_u32 {
            let who = Identity::Source(member.to_be_bytes().into());
            history.told(&who, EVERY, &all(member), START + word * 5);
        }
        assert!(history.memory() <= limit, "{word}");
        assert_eq!(history.memory(), measured(&history));
    }
    let given_up = history.given_up();
    assert!(
        given_up.long == 10_000 && given_up.middle == 10_000,
        "{given_up:?}"
    );
    assert!((1..10_000).contains(&given_up.short), "{given_up:?}");
    assert_eq!(history.members().count(), 10_000);
}

#[test]
fn without_room_for_a_member_there_is_none() {
    for limit in [0, 100, 2000, 10_000] {
        let mut history = History::new(limit, true);
        for word in 0..2000 {
            for member in 0..9_u8 {
                let facts = all(1);
                history.told(
                    &Identity::Source([member; 4].into()),
                    EVERY,
                    &facts,
                    START + word,
                );
                assert!(history.memory() <= limit, "{limit}: {}", history.memory());
            }
        }
    }
}

#[test]
fn a_member_with_another_identity_keeps_its_history() {
    let mut history = History::new(PLENTY, true);
    for word in 0..1000 {
        history.told(&who("address"), EVERY, &cpu(0.2), START + word * 5);
    }
    let now = START + 5000;
    history.rename(&who("address"), &who("directory"));
    assert!(
        history
            .columns(&who("address"), &[], MINUTES(60), None, now)
            .is_none()
    );
    let found = columns(&mut history, "directory", MINUTES(60), now);
    assert_eq!(known(&found.figures["cpu"]).len(), 60);

    // Both have spoken, each of something that the other has not.
    for word in 0..100 {
        let facts = Facts {
            load: Some(0.9),
            ..Facts::default()
        };
        history.told(&who("address"), EVERY, &facts, now + word * 5);
        history.told(&who("directory"), EVERY, &cpu(0.4), now + word * 5 + 2);
    }
    let now = now + 500;
    history.rename(&who("address"), &who("directory"));
    history.rename(&who("nobody"), &who("directory"));
    history.rename(&who("directory"), &who("directory"));
    let found = columns(&mut history, "directory", MINUTES(10), now);
    assert_eq!(known(&found.figures["load"]), vec![0.9; 51]);
    let cpu = known(&found.figures["cpu"]);
    assert_eq!(
        (cpu.first(), cpu.last(), cpu.len()),
        (Some(&0.2), Some(&0.4), 60)
    );
    assert_eq!(history.memory(), measured(&history));
}

/// Where there was no room for another member, one that got another identity once lost its history.
#[test]
fn a_full_history_keeps_a_member_with_another_identity() {
    let mut history = History::new(10_000, false);
    history.told(&who("old"), EVERY, &cpu(0.5), START);
    history.told(&who(&"x".repeat(10_000)), EVERY, &cpu(0.5), START);
    // A look takes up what was given up for nothing.
    columns(&mut history, "old", MINUTES(10), START);
    history.told(&who("old"), EVERY, &cpu(0.5), START);
    assert!(history.is_full);
    history.rename(&who("old"), &who("new"));
    let known = history.averages(&who("new"), MINUTES(10), START);
    assert!(known.is_some_and(|known| known.figures.contains_key(&Figure::Cpu)));
    assert!(history.memory() <= 10_000);
}

#[test]
fn what_is_forgotten_is_gone() {
    let mut history = History::new(PLENTY, true);
    history.told(&who("a"), EVERY, &cpu(0.2), START);
    history.forget(&who("a"));
    history.forget(&who("a"));
    assert!(history.averages(&who("a"), MINUTES(10), START).is_none());
    assert!(history.finished(START + 120, true).is_empty());
}

#[test]
fn minutes_go_to_disk_once_and_come_back() {
    let mut history = History::new(PLENTY, true);
    let mut minutes = Vec::new();
    let hours = 7 * 720;
    for word in 0..hours {
        let now = START + word * 5;
        history.told(
            &who("a"),
            EVERY,
            &all(u32::try_from(word % 12).unwrap()),
            now,
        );
        if word % 3 == 0 {
            history.told(&who("b"), EVERY, &cpu(0.5), now);
        }
        minutes.extend(history.finished(now, false));
    }
    let now = START + hours * 5;
    minutes.extend(history.finished(now, true));
    assert_eq!(history.take_lost(), 0);
    let of_a: Vec<_> = minutes
        .iter()
        .filter(|minute| minute.member == who("a"))
        .collect();
    assert_eq!(of_a.len(), 7 * 60 + 1);
    assert_eq!(of_a[1].samples, 12);
    assert_eq!((of_a[1].time % 60, of_a[1].figures.len()), (0, 12));

    let mut read = History::new(PLENTY, false);
    assert!(minutes.iter().all(|minute| read.restore(minute)));
    let six = MINUTES(6 * 60);
    for name in ["a", "b"] {
        let mut before = columns(&mut history, name, six, now);
        let mut after = columns(&mut read, name, six, now);
        for columns in [&mut before, &mut after] {
            // An average of averages differs in its last digit.
            let columns = columns.figures.values_mut();
            let averages = columns.flat_map(|column| &mut column.avg).flatten();
            averages.for_each(|avg| *avg = (*avg * 1e4).round());
        }
        assert_eq!(before, after, "{name}");
    }
    // A start: the first words of the new life come before the old one is read.
    let mut again = History::new(PLENTY, true);
    for word in 0..24 {
        again.told(&who("a"), EVERY, &all(99), now + 300 + word * 5);
    }
    again.absorb(read);
    let now = now + 420;
    let found = columns(&mut again, "a", MINUTES(10), now);
    assert_eq!(
        found.step_s, 60,
        "minutes are all that is known of the time before"
    );
    let known_rows = known(&found.figures["net_rx"]);
    assert_eq!(
        (known_rows.first().copied(), known_rows.last().copied()),
        (Some(5.5), Some(99.0))
    );
    let gap = found.figures["net_rx"]
        .avg
        .iter()
        .filter(|avg| avg.is_none())
        .count();
    assert!((4..=5).contains(&gap), "{found:?}");
    assert_eq!(columns(&mut again, "b", six, now).step_s, 60);
    assert_eq!(again.memory(), measured(&again));
}

#[test]
fn a_minute_that_nobody_takes_is_counted() {
    let mut history = History::new(PLENTY, true);
    for minute in 0..10 {
        history.told(&who("a"), EVERY, &cpu(0.2), START + minute * 60);
    }
    assert_eq!(history.take_lost(), 8, "one waits, and one is open");
    assert_eq!(history.take_lost(), 0);
    assert_eq!(history.finished(START + 540, true).len(), 2);
}

#[test]
fn damaged_minutes_are_not_taken() {
    let sound = Summary {
        avg: 2.0,
        min: 1.0,
        max: 3.0,
    };
    let minute = |samples, summary| Minute {
        time: START - START % 60,
        member: who("a"),
        samples,
        figures: vec![(Figure::Cpu, summary)],
    };
    let mut history = History::new(PLENTY, false);
    assert!(history.restore(&minute(3, sound)));
    for bad in [
        minute(0, sound),
        minute(
            3,
            Summary {
                avg: f32::NAN,
                ..sound
            },
        ),
        minute(3, Summary { avg: 4.0, ..sound }),
        minute(3, Summary { min: -1.0, ..sound }),
        minute(
            3,
            Summary {
                max: f32::INFINITY,
                ..sound
            },
        ),
        Minute {
            figures: Vec::new(),
            ..minute(3, sound)
        },
    ] {
        assert!(!history.restore(&bad), "{bad:?}");
    }
}

//! The scheduler with 3, 100 and 10,000 eligible servers of mixed weights, called as
//! `src/balancer/dispatch` calls it.

use std::hint::black_box;

use bilico::schedule::{Scheduler, Slot};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};

const SIZES: [usize; 3] = [3, 100, 10_000];

/// A server's weight: 3, 2, 1 for the first three, then 1 to 31 in no order.
fn weight(place: usize) -> u32 {
    [3, 2, 1]
        .get(place)
        .copied()
        .unwrap_or_else(|| u32::try_from(place * 7_919 % 31 + 1).unwrap_or(1))
}

/// A scheduler in the middle of its work, and its slots in an order that has nothing to do with
/// their turns.
fn fleet(servers: usize) -> (Scheduler, Vec<Slot>) {
    let mut scheduler = Scheduler::new();
    let slots: Vec<Slot> = (0..servers)
        .map(|place| scheduler.add(weight(place)))
        .collect();
    for &slot in &slots {
        scheduler.set_eligible(slot, true);
    }
    for _ in 0..4 * servers {
        scheduler.pick();
    }
    let step = if servers > 100 { 7_919 } else { 1 };
    let shuffled = (0..servers)
        .filter_map(|n| slots.get(n * step % servers).copied())
        .collect();
    (scheduler, shuffled)
}

/// Runs `one` at each size, with a scheduler and the next slot.
fn at_each_size(
    group: &mut BenchmarkGroup<'_, WallTime>,
    mut one: impl FnMut(&mut Scheduler, Slot),
) {
    for servers in SIZES {
        let (mut scheduler, slots) = fleet(servers);
        let mut next = slots.iter().copied().cycle();
        group.bench_function(BenchmarkId::from_parameter(servers), |bencher| {
            bencher.iter(|| next.next().map(|slot| one(&mut scheduler, slot)));
        });
    }
}

/// One iteration is one pick.
fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    at_each_size(&mut group, |scheduler, _| {
        black_box(scheduler.pick());
    });
}

/// One iteration is two flips of one server: out, and back.
fn flip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flip out and back");
    at_each_size(&mut group, |scheduler, slot| {
        scheduler.set_eligible(slot, false);
        scheduler.set_eligible(slot, true);
    });
}

/// One iteration is what a server brings about whose window gets full with each file: it is picked,
/// goes out, and comes back after the next pick.
fn full_window(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick, out, pick, back");
    at_each_size(&mut group, |scheduler, _| {
        let Some(full) = scheduler.pick() else { return };
        scheduler.set_eligible(full, false);
        black_box(scheduler.pick());
        scheduler.set_eligible(full, true);
    });
}

/// One iteration is two changes of one server's weight: to another one, and back.
fn reweigh(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("weight there and back");
    at_each_size(&mut group, |scheduler, slot| {
        let weight = scheduler.weight(slot).unwrap_or_default();
        scheduler.set_weight(slot, weight + 7);
        scheduler.set_weight(slot, weight);
    });
}

criterion_group!(benches, pick, flip, full_window, reweigh);
criterion_main!(benches);

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn flight(file: u64, start: Duration) -> Flight {
    Flight {
        file,
        start,
        size: 1000,
        accepted: false,
    }
}

#[test]
fn percentiles_are_right_to_three_digits() {
    let mut times = Times::new();
    (1..=10_000).for_each(|n| times.add(Duration::from_micros(n * 10)));
    let Percentiles {
        p50,
        p90,
        p99,
        p999,
        max,
    } = times.percentiles();
    for (is, should) in [
        (p50, 50.0),
        (p90, 90.0),
        (p99, 99.0),
        (p999, 99.9),
        (max, 100.0),
    ] {
        assert!((is / should - 1.0_f64).abs() < 0.001, "{is} for {should}");
    }
    assert!(p999 <= max);
    let none = Times::new().percentiles();
    assert!(none.p50 == 0.0 && none.max == 0.0);
    times.add(LONGEST * 3);
    assert!(
        times.percentiles().max >= 86_400_000.0,
        "what is longer than the longest is not lost"
    );
}

#[test]
fn the_warm_up_is_sent_and_left_out() {
    let mut tally = Tally::new(Wait::Delivered);
    for file in 0..20 {
        let (start, counts) = (ms(file * 10), file >= 10);
        tally.send(start, start, counts);
        let long = ms(if counts { 1 } else { 500 });
        assert!(!tally.accept(&flight(file, start), start + long, counts));
        tally.deliver(&flight(file, start), start + long * 2, counts);
    }
    let report = tally.report(false);
    assert_eq!(
        (
            tally.sent,
            tally.reached,
            report.files,
            report.bytes,
            report.missing
        ),
        (20, 20, 10, 10_000, 0)
    );
    // From 100 ms, when the first one that counts was sent, to 192 ms.
    assert!((report.seconds - 0.092).abs() < 1e-9, "{report:?}");
    assert!(
        (report.files_per_s - 10.0 / 0.092).abs() < 0.01 && (report.mb_per_s - 0.109).abs() < 1e-9
    );
    assert!(
        (report.accepted_ms.max - 1.0).abs() < 0.002
            && report.late_ms.is_none()
            && report.held_back.is_none()
    );
    assert!((report.delivered_ms.unwrap().max - 2.0).abs() < 0.004);
}

#[test]
fn what_is_not_waited_for_has_no_figures() {
    let mut tally = Tally::new(Wait::Accepted);
    tally.send(ms(3), ms(5), true);
    assert!(tally.accept(&flight(0, ms(3)), ms(10), true));
    let report = tally.report(true);
    assert_eq!(
        (report.files, report.delivered_ms.clone(), report.held_back),
        (1, None, Some(0))
    );
    assert!((report.late_ms.as_ref().unwrap().max - 2.0).abs() < 0.004);
    assert!(
        (report.accepted_ms.p50 - 7.0).abs() < 0.014,
        "the time counts from when it was due"
    );
    let text = report.to_string();
    assert!(
        text.contains("1 files in 7 ms: 142.9 files/s") && !text.contains("delivered"),
        "{text}"
    );
}

#[test]
fn failures_are_counted_by_kind_with_the_first_of_each() {
    let mut tally = Tally::new(Wait::Delivered);
    (0..4).for_each(|_| tally.send(ms(0), ms(0), true));
    tally.fail(
        "refused",
        Some(RefusalCode::TooLarge),
        "b-0",
        "first reason",
    );
    tally.fail(
        "refused",
        Some(RefusalCode::TooLarge),
        "b-1",
        "second reason",
    );
    tally.fail("dead", None, "b-2", "nobody");
    let report = tally.report(false);
    assert_eq!(
        (
            report.files,
            report.refused,
            report.dead,
            report.missing,
            tally.failed()
        ),
        (0, 2, 1, 1, 3)
    );
    let lines: Vec<String> = report.failures().collect();
    assert_eq!(
        lines[1],
        "2 files refused (too_large); the first was b-0: first reason"
    );
    assert_eq!(lines[0], "1 file dead; the first was b-2: nobody");
    assert!(
        report.to_string().contains("2 refused, 1 dead, 1 missing"),
        "{report}"
    );
    assert!(report.files_per_s == 0.0);
}

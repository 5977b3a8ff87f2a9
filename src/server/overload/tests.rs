use super::*;

#[test]
fn sets_above_the_margin_and_clears_at_four_fifths() {
    let mut gauge = Gauge::new(1000, 100);
    assert_eq!(gauge.limit(), 1100);
    assert_eq!(gauge.sample(1100), None);
    assert_eq!(gauge.sample(1101), Some(true));
    assert_eq!(gauge.sample(2000), None);
    assert_eq!(gauge.sample(1081), None);
    assert_eq!(gauge.sample(1080), Some(false));
    assert_eq!(gauge.sample(1100), None);
}

#[test]
fn a_margin_past_all_memory_never_sets() {
    let mut gauge = Gauge::new(1000, u64::MAX);
    assert_eq!(gauge.sample(u64::MAX), None);
}

#[test]
fn memory_that_is_used_is_seen() {
    let mut resident = Resident::new().unwrap();
    let before = resident.measure();
    assert!(before > 0);
    // Far more than other tests in this process give back meanwhile.
    let used = vec![1u8; 256 << 20];
    let after = resident.measure();
    assert!(after > before + (160 << 20), "{before} {after}");
    drop(used);
}

/// A server with a small margin stayed overloaded for ever once it had used enough of its program.
#[cfg(target_os = "linux")]
#[test]
fn the_pages_of_the_program_do_not_count() {
    // Other tests of this process run meanwhile.
    let found = (0..100).any(|_| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
            kibibytes.parse::<u64>().unwrap() * 1024
        };
        let (all, files) = (of("VmRSS:"), of("RssFile:"));
        assert!(files > 4 << 20, "the program is larger than that: {files}");
        Resident::new().unwrap().measure() < all - files / 2
    });
    assert!(found, "the pages of files are counted");
}

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use super::cgroup::{self, Cgroup, Memory, Version};
use super::counters::{self, Disk, Network};
use super::disk::{DiskWatch, Known, PATIENCE, Space, block_device, space};
use super::*;

const NET_DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1000 9 0 3 0 0 0 0 1000 9 0 0 0 0 0 0
  eth0:18446744073709551615 5 0 0 0 0 0 0 2000 7 0 4 0 0 0 0
 short: 1 2 3
 words: a b c d e f g h i j k l m n o p
";

#[test]
fn interfaces_are_read_and_counted_from_one_sample_to_the_next() {
    let before = counters::networks(NET_DEV);
    let network = |received, sent, dropped| Network {
        received,
        sent,
        dropped,
    };
    assert_eq!(
        before,
        HashMap::from([
            ("lo".to_owned(), network(1000, 1000, 3)),
            ("eth0".to_owned(), network(u64::MAX, 2000, 4)),
        ])
    );
    // The loopback goes on, eth0 was made anew, and another one came.
    let now = HashMap::from([
        ("lo".to_owned(), network(1500, 1600, 4)),
        ("eth0".to_owned(), network(10, 10, 0)),
        ("eth1".to_owned(), network(1 << 40, 1 << 40, 9)),
    ]);
    assert_eq!(counters::since(&before, &now), network(500, 600, 1));
    // What the kernel says of many interfaces together may be more than a number has room for.
    let zero = [("a", 0), ("b", 0)].map(|(name, at)| (name.to_owned(), network(at, at, at)));
    let full = zero
        .clone()
        .map(|(name, _)| (name, network(u64::MAX, u64::MAX, u64::MAX)));
    assert_eq!(
        counters::since(&HashMap::from(zero), &HashMap::from(full)),
        network(u64::MAX, u64::MAX, u64::MAX)
    );
    assert_eq!(counters::networks(""), HashMap::new());
    assert_eq!(counters::rate(500, Duration::from_secs(2)), Some(250.0));
    assert_eq!(counters::rate(500, Duration::ZERO), None);
}

#[test]
fn a_disk_is_found_by_its_number() {
    let stats = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0
 254       0 vda 1979090 100290 72312002 1956384 6243380 6723566 465374264 6485714 0 972688 9307079 4797744 301 571467488 601397
 259       1 nvme0n1p1 1 2 4 5 6 7
";
    let vda = Disk {
        read: 72_312_002 * 512,
        written: 465_374_264 * 512,
    };
    assert_eq!(counters::disk(stats, (254, 0)), Some(vda));
    assert_eq!(counters::disk(stats, (254, 1)), None);
    assert_eq!(counters::disk(stats, (259, 1)), None, "a line that is cut");
}

#[test]
fn a_mount_leads_to_its_device() {
    let mounts = "\
22 1 0:20 / / rw - btrfs /dev/sda2 rw
23 22 0:21 / /data rw shared:1 - tmpfs tmpfs rw
24 22 0:22 / /data/with\\040space rw - btrfs /dev/mapper/b rw
25 22 0:23 / /data/with\\040space rw - btrfs /dev/mapper/c rw
";
    let of = |path| counters::source_of(mounts, path);
    assert_eq!(of("/"), Some("/dev/sda2"));
    assert_eq!(of("/database"), Some("/dev/sda2"));
    assert_eq!(of("/data/x"), None, "no device");
    assert_eq!(of("/data/with space/x"), Some("/dev/mapper/c"));
    assert_eq!(counters::source_of("nonsense\n", "/"), None);
}

/// A service with `PrivateDevices=` sees no disks in `/dev`.
#[test]
fn a_disk_has_its_number_in_sys_too() {
    let tree = Tree::new(&[
        ("sda2/dev", "8:2\n"),
        ("dm-0/dev", "253:0\n"),
        ("dm-0/dm/name", "other\n"),
        ("dm-1/dev", "253:1\n"),
        ("dm-1/dm/name", "b\n"),
        ("torn/dev", "8\n"),
    ]);
    for (source, expected) in [
        ("/dev/sda2", Some((8, 2))),
        ("/dev/mapper/b", Some((253, 1))),
        ("/dev/mapper/c", None),
        ("/dev/torn", None),
    ] {
        assert_eq!(block_device(tree.0.path(), source), expected, "{source}");
    }
}

/// A directory that plays `/sys/fs/cgroup`, or a part of `/sys`.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            tree.write(path, text);
        }
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn mount(&self, sub: &str, root: &str, kind: &str, options: &str) -> String {
        let point = self.0.path().join(sub);
        let point = point.to_str().unwrap().trim_end_matches('/');
        format!("31 23 0:28 {root} {point} rw,relatime shared:9 - {kind} none {options}\n")
    }
}

#[test]
fn the_quota_and_the_memory_of_a_cgroup_of_version_2() {
    let tree = Tree::new(&[
        ("a/cpu.max", "300000 100000\n"),
        ("a/cpu.stat", "usage_usec 9000000\nuser_usec 1\n"),
        ("a/memory.max", "1000000\n"),
        ("a/memory.current", "900000\n"),
        (
            "a/memory.stat",
            "anon 1\nactive_file 100000\ninactive_file 200000\n",
        ),
        ("a/b/cpu.max", "50000 100000\n"),
        ("a/b/cpu.stat", "usage_usec 1000000\n"),
        ("a/b/memory.max", "max\n"),
    ]);
    let mounts = tree.mount("", "/", "cgroup2", "rw");
    let find = |name| cgroup::levels("0::/a/b\n", &mounts, name);
    let mut cgroup = Cgroup::of(find("cpu"), find("cpuacct"), find("memory"));
    let began = Instant::now();
    assert_eq!(cgroup.cpu(began, 8), None, "nothing to compare with");
    // Half a processor for two seconds is one second of processor time.
    tree.write("a/b/cpu.stat", "usage_usec 1250000\n");
    let at = |seconds| began + Duration::from_secs(seconds);
    assert_eq!(cgroup.cpu(at(2), 8), Some(0.25));
    tree.write("a/b/cpu.stat", "usage_usec 9000000\n");
    assert_eq!(cgroup.cpu(at(4), 8), Some(1.0), "never more than all");
    let memory = Memory {
        used: 600_000,
        limit: 1_000_000,
    };
    assert_eq!(cgroup.memory(at(4), 1 << 30), Some(memory));
    assert_eq!(
        cgroup.memory(at(4), 999_999),
        None,
        "the machine has less than the limit"
    );
    // A machine with fewer processors than a quota has: how busy it is says more.
    tree.write("a/b/cpu.max", "400000 100000\n");
    tree.write("a/cpu.max", "400000 100000\n");
    assert_eq!(cgroup.cpu(at(15), 4), None);
    tree.write("a/b/cpu.stat", "usage_usec 13000000\n");
    assert_eq!(cgroup.cpu(at(17), 4), None);
    tree.write("a/cpu.max", "300000 100000\n");
    // An operator lifts the inner quota: the outer one counts, from a measure of its own.
    tree.write("a/b/cpu.max", "max 100000\n");
    assert_eq!(cgroup.cpu(at(30), 8), None);
    tree.write("a/cpu.stat", "usage_usec 12000000\n");
    assert_eq!(cgroup.cpu(at(32), 8), Some(0.5));
    // And the outer one.
    tree.write("a/cpu.max", "max 100000\n");
    assert_eq!(cgroup.cpu(at(40), 8), None);
    assert_eq!(cgroup.cpu(at(41), 8), None);
}

#[test]
fn the_quota_and_the_memory_of_a_cgroup_of_version_1() {
    let tree = Tree::new(&[
        ("cpu/x/cpu.cfs_quota_us", "200000\n"),
        ("cpu/x/cpu.cfs_period_us", "100000\n"),
        ("cpu/cpu.cfs_quota_us", "-1\n"),
        ("cpu/cpu.cfs_period_us", "100000\n"),
        ("acct/x/cpuacct.usage", "1000000000\n"),
        ("memory/x/memory.limit_in_bytes", "5000\n"),
        ("memory/x/memory.usage_in_bytes", "4000\n"),
        (
            "memory/x/memory.stat",
            "active_file 9\ntotal_active_file 500\ntotal_inactive_file 500\n",
        ),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
    ]);
    let mounts = [
        tree.mount("cpu", "/docker/id", "cgroup", "rw,cpu"),
        tree.mount("acct", "/docker/id", "cgroup", "rw,cpuacct"),
        tree.mount("memory", "/docker/id", "cgroup", "rw,memory"),
        tree.mount("unified", "/", "cgroup2", "rw"),
    ]
    .concat();
    let cgroups = "4:memory:/docker/id/x\n3:cpuacct:/docker/id/x\n2:cpu:/docker/id/x\n0::/\n";
    let find = |name| cgroup::levels(cgroups, &mounts, name);
    let mut cgroup = Cgroup::of(find("cpu"), find("cpuacct"), find("memory"));
    let began = Instant::now();
    assert_eq!(cgroup.cpu(began, 8), None);
    tree.write("acct/x/cpuacct.usage", "2000000000\n");
    assert_eq!(cgroup.cpu(began + Duration::from_secs(1), 8), Some(0.5));
    let memory = Memory {
        used: 3000,
        limit: 5000,
    };
    assert_eq!(cgroup.memory(began, 1 << 30), Some(memory));
}

#[test]
fn a_process_without_limits_has_none() {
    assert_eq!(cgroup::levels("", "", "cpu"), None);
    assert_eq!(cgroup::levels("0::/a\n", "1 2 3\n", "cpu"), None);
    for none in ["max 100000", "-1 100000", "", "1", "x y", "1 0"] {
        assert_eq!(cgroup::quota(none), None, "{none}");
    }
    // A container whose cgroup is the root of what it sees.
    let mounts = "9 8 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let levels = cgroup::levels("0::/\n", mounts, "cpu");
    let expected = cgroup::Levels {
        version: Version::Two,
        dirs: vec![PathBuf::from("/sys/fs/cgroup")],
    };
    assert_eq!(levels, Some(expected));
    let now = Instant::now();
    let mut cgroup = Cgroup::of(levels, None, None);
    assert_eq!((cgroup.cpu(now, 8), cgroup.memory(now, 1)), (None, None));
}

const SPACE: Space = Space {
    total: 100,
    used: 60,
    free: 30,
    device: None,
};

/// Waits until the watch knows something else than nothing.
fn known(watch: &DiskWatch, now: SystemTime) -> Known {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match watch.look(now) {
            Known::Nothing if Instant::now() < deadline => std::thread::yield_now(),
            known => return known,
        }
    }
}

/// A mount whose server was gone held a thread for each question, until no thread was left.
#[test]
fn a_file_system_that_hangs_is_asked_once() {
    let (asked, questions) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let ask = move |dir: &Path| {
        asked.send(dir.to_owned()).unwrap();
        answers.recv().unwrap()
    };
    let watch = DiskWatch::new(Path::new("/mnt/gone"), Box::new(ask)).unwrap();
    let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_580_531);
    let next = || questions.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(watch.look(began), Known::Nothing);
    next();
    assert_eq!(watch.look(began + PATIENCE / 2), Known::Nothing);
    for seconds in [2, 3, 100_000] {
        let trouble = watch.look(began + Duration::from_secs(seconds));
        let expected = "hung since 2026-11-25T04:22:11Z: /mnt/gone does not answer";
        assert_eq!(trouble, Known::Trouble(expected.into()));
    }
    assert!(questions.try_recv().is_err(), "a second question");
    // The mount comes back.
    answer.send(Ok(SPACE)).unwrap();
    let later = began + Duration::from_secs(100_001);
    let deadline = Instant::now() + Duration::from_secs(10);
    while watch.look(later) != Known::Space(SPACE) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    next();
    answer
        .send(Err(std::io::Error::other("stale handle")))
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while watch.look(later) != Known::Trouble("/mnt/gone: stale handle".into()) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    drop(watch);
    drop(answer);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let gone = format!("/nowhere/{}", "x".repeat(300));
    let watch = DiskWatch::new(Path::new(&gone), Box::new(space)).unwrap();
    let Known::Trouble(trouble) = known(&watch, SystemTime::now()) else {
        panic!("space of nothing");
    };
    assert!(trouble.starts_with("/nowhere/xxx"), "{trouble}");
    assert!(trouble.len() <= 256);
}

/// One figure of `/proc`, in bytes.
fn meminfo(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let number = line.split_whitespace().nth(1).unwrap();
    number.parse::<u64>().unwrap() * 1024
}

/// Busy and all time of the machine, in ticks.
fn processor() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap();
    let ticks: Vec<f64> = text
        .lines()
        .next()
        .unwrap()
        .split_whitespace()
        .skip(1)
        .map(|ticks| ticks.parse().unwrap())
        .collect();
    let all = ticks[..8].iter().sum::<f64>();
    (all - ticks[3] - ticks[4], all)
}

fn near(found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{found} is not {expected} within {tolerance}"
    );
}

/// The figures are those of `/proc`. What other processes do between two looks is allowed for.
#[test]
#[expect(clippy::cast_precision_loss, reason = "a comparison")]
fn figures_are_those_of_proc() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::new(dir.path()).unwrap();
    let (busy, all) = processor();
    let first = host.sample();
    assert_eq!(first.check(), Ok(()));
    assert_eq!(first.disk_read, None);
    // Both of them look at the same stretch, give or take a moment at its ends.
    std::thread::sleep(Duration::from_secs(1));
    let facts = host.sample();
    let (busy, all) = (processor().0 - busy, processor().1 - all);
    assert_eq!(facts.check(), Ok(()));

    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(facts.cores.len() >= cores, "{facts:?}");
    let mean = facts.cores.iter().sum::<f32>() / facts.cores.len() as f32;
    near(mean.into(), busy / all, 0.15);

    let limited = facts.memory_total.unwrap() < meminfo("MemTotal:");
    if !limited {
        near(facts.cpu.unwrap().into(), busy / all, 0.15);
        let used = meminfo("MemTotal:") - meminfo("MemAvailable:");
        let tolerance = meminfo("MemTotal:") as f64 / 10.0;
        near(facts.memory_used.unwrap() as f64, used as f64, tolerance);
    }
    assert_eq!(facts.swap_total, Some(meminfo("SwapTotal:")));

    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    near(facts.uptime_s.unwrap() as f64, uptime, 2.0);

    let asked = space(dir.path()).unwrap();
    assert_eq!(facts.disk_total, Some(asked.total));
    let (used, free) = (facts.disk_used.unwrap(), facts.disk_free.unwrap());
    assert!(used + free <= asked.total);
    near(used as f64, asked.used as f64, 4e9);

    assert!(facts.net_rx.is_some() && facts.net_tx.is_some() && facts.net_dropped.is_some());
    assert!(facts.network_up.is_some());
    let resident = fs::read_to_string("/proc/self/status").unwrap();
    let resident = resident
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let resident = resident.trim().trim_end_matches(" kB");
    let resident = resident.parse::<f64>().unwrap() * 1024.0;
    assert!(facts.process_memory.unwrap() > 1_000_000, "{facts:?}");
    near(facts.process_memory.unwrap() as f64, resident, 400e6);
}

/// Bytes that went over the loopback are in the network's figures.
#[test]
fn traffic_is_seen() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    // Not later than the host begins to count: rates are over its time.
    let began = Instant::now();
    let mut host = Host::new(dir.path()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut out = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut into, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        into.read_to_end(&mut all).unwrap();
        all.len()
    });
    let sent = vec![7; 32 << 20];
    out.write_all(&sent).unwrap();
    drop(out);
    assert_eq!(reader.join().unwrap(), sent.len());
    let facts = host.sample();
    let seconds = began.elapsed().as_secs_f64();
    let all = f64::from(facts.net_rx.unwrap()) * seconds;
    assert!(all >= f64::from(32 << 20), "{facts:?} in {seconds} s");
}

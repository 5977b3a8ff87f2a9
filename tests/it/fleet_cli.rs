//! `bilico fleet` as a process, against a balancer that is told of members.

use std::fs;
use std::time::Duration;

use bilico::admin::AdminLimits;
use bilico::balancer::BalancerConfig;
use bilico::fleet::HistoryConfig;
use bilico::fleet_core::{Facts, Identity, Source, Told, Trust};
use bilico_testkit::{Ended, Running, bilico, run, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use crate::in_process::InProcess;

/// What a member tells, of a host with 4,000 bytes of memory.
fn told(name: &str, trust: Trust, cpu: f32) -> Told {
    Told {
        who: Identity::Agent(name.into()),
        name: Some(name.into()),
        source: Source::Token,
        trust,
        peer: Some([10, 0, 0, 7].into()),
        every: Duration::from_secs(1),
        facts: Facts {
            cpu: Some(cpu),
            memory_used: Some(1000),
            memory_total: Some(4000),
            disk_used: Some(298),
            disk_free: Some(702),
            disk_total: Some(1000),
            network_up: Some(true),
            uptime_s: Some(3024),
            ..Facts::default()
        },
    }
}

fn balancer(dir: &TempDir, history: HistoryConfig) -> InProcess {
    let config = BalancerConfig {
        history,
        ..BalancerConfig::default()
    };
    InProcess::start(dir.path(), config, AdminLimits::default())
}

fn fleet(balancer: &InProcess, args: &[&str]) -> Ended {
    let args = [&["fleet"], args, &["--admin", &balancer.admin]].concat();
    run(&mut bilico(&args), "")
}

#[track_caller]
fn printed(balancer: &InProcess, args: &[&str]) -> String {
    let ended = fleet(balancer, args);
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(0), ""),
        "{args:?}: {ended:?}"
    );
    ended.stdout
}

#[track_caller]
fn json(balancer: &InProcess, args: &[&str]) -> Value {
    serde_json::from_str(&printed(balancer, &[args, &["--json"]].concat())).unwrap()
}

#[test]
fn members_are_listed_shown_protected_and_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(&dir, HistoryConfig::default());
    balancer
        .fleet
        .told(told("host a/b", Trust::Proved, 0.589))
        .unwrap();
    balancer
        .fleet
        .told(told("stranger", Trust::Claimed, 0.5))
        .unwrap();
    for args in [&["ls"][..], &[]] {
        let list = printed(&balancer, args);
        let line = |name: &str| {
            list.lines()
                .find(|line| line.contains(name))
                .unwrap()
                .to_owned()
        };
        assert!(
            line("host a/b").contains(" 59 %") && line("host a/b").contains(" 25 %"),
            "{list}"
        );
        assert!(!line("host a/b").contains("not verified"), "{list}");
        assert!(line("stranger").contains("not verified"), "{list}");
    }
    assert_eq!(
        json(&balancer, &["ls"])["members"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let shown = printed(&balancer, &["show", "host a/b"]);
    for expected in [
        "agent:host a/b",
        "processor  58.9 %",
        "1000 B of 3.9 KiB (25.0 %)",
        "last 10 m",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(
        printed(&balancer, &["show", "strang"]).contains("not verified"),
        "a part of a name"
    );
    assert_eq!(json(&balancer, &["show", "stranger"])["trust"], "claimed");

    let averages = printed(&balancer, &["averages", "--over", "1h"]);
    assert!(
        averages
            .lines()
            .any(|line| line.contains("host a/b") && line.contains("58.9 %")),
        "{averages}"
    );
    assert_eq!(json(&balancer, &["averages"])["over_s"], 600);

    for name in ["stranger", "strang"] {
        let said = printed(&balancer, &["protect", name]);
        assert_eq!(
            said,
            "stranger is kept, however long nothing is heard of it\n"
        );
    }
    let said = printed(&balancer, &["protect", "stranger", "--off"]);
    assert_eq!(said, "stranger is kept no longer than other members\n");

    let long = fleet(&balancer, &["averages", "--over", "8d"]);
    assert!(
        long.code == Some(1) && long.stderr.contains("1 s to 7 d"),
        "{long:?}"
    );
    let unknown = fleet(&balancer, &["show", "nobody"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("nobody"), "{unknown:?}");
    for wrong in [
        &["averages", "--over", "10"][..],
        &["watch", "--average", "10"],
        &["watch", "--history-file", "x"],
        &["watch", "a", "--average", "0"],
        &["watch", "a", "--every", "0"],
        &["show"],
    ] {
        let refused = fleet(&balancer, wrong);
        assert_eq!(
            (refused.code, &*refused.stdout),
            (Some(2), ""),
            "{wrong:?}: {refused:?}"
        );
    }
}

/// The first system's history file is continued, and is whole whenever somebody kills the command.
#[test]
fn a_member_is_watched_and_the_history_file_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(&dir, HistoryConfig::default());
    let file = dir.path().join("historico.json");
    let original = "[\n    {\n        \"data_hora\": \"2026-11-25 04:21:01\",\n        \"avg_cpu\": 60.9,\n        \
        \"avg_memory\": 3.5,\n        \"avg_disk\": 29.839999999999996,\n        \"total_time\": \
        \"0:00:10\"\n    }\n]";
    fs::write(&file, original).unwrap();
    balancer
        .fleet
        .told(told("a", Trust::Proved, 0.589))
        .unwrap();
    let path = file.to_str().unwrap();
    let args = [
        "fleet",
        "watch",
        "a",
        "--every",
        "5ms",
        "--history-file",
        path,
        "--admin",
        &balancer.admin,
    ];
    let entries =
        || serde_json::from_str::<Vec<Value>>(&fs::read_to_string(&file).unwrap()).unwrap();
    let mut kept = 1;
    for _ in 0..5 {
        let watching = Running::start(&mut bilico(&args));
        wait_until("more entries", || {
            balancer
                .fleet
                .told(told("a", Trust::Proved, 0.589))
                .unwrap();
            entries().len() > kept + 2
        });
        watching.signal("KILL");
        let ended = watching.wait();
        assert_eq!(ended.code, None, "{ended:?}");
        assert!(
            ended
                .stdout
                .contains("cpu 58.9 %  memory 25.0 %  disk 29.8 %  network up"),
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("average of 10  cpu 58.90 %  memory 25.00 %  disk 29.80 %"),
            "{ended:?}"
        );
        kept = entries().len();
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with(original.strip_suffix("\n]").unwrap()),
        "{text}"
    );
    let keys: Vec<String> = entries()[kept - 1]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        keys,
        [
            "avg_cpu",
            "avg_disk",
            "avg_memory",
            "data_hora",
            "total_time"
        ]
    );
    assert!((entries()[kept - 1]["avg_cpu"].as_f64().unwrap() - 58.9).abs() < 1e-9);

    // What cannot be read is left alone, and said at once.
    fs::write(&file, &original[..50]).unwrap();
    let refused = run(&mut bilico(&args), "");
    assert_eq!(
        (refused.code, &*refused.stdout),
        (Some(1), ""),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("is not continued") && refused.stderr.contains("hint: "),
        "{refused:?}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), original[..50]);
}

#[test]
fn history_goes_on_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let history = HistoryConfig {
        dir: Some(dir.path().join("history")),
        ..HistoryConfig::default()
    };
    let first = balancer(&dir, history.clone());
    for _ in 0..10 {
        first.fleet.told(told("a", Trust::Proved, 0.5)).unwrap();
    }
    drop(first);
    let text = fs::read_to_string(dir.path().join("history/history.jsonl")).unwrap();
    assert!(
        text.contains("\"member\":\"agent:a\"") && text.ends_with("}\n"),
        "{text}"
    );

    let second = balancer(&dir, history);
    second.fleet.told(told("a", Trust::Proved, 1.0)).unwrap();
    wait_until("what was written to be read", || {
        let averages = json(&second, &["averages", "--over", "1h"]);
        let cpu = &averages["members"][0]["figures"]["cpu"];
        cpu["min"]
            .as_f64()
            .is_some_and(|least| (least - 0.5).abs() < 1e-6)
    });
}

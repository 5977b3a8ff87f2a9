//! The metrics of the fleet, and the dashboard and alert rules that are made of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bilico::admin::{AdminLimits, MAX_SERVER_SERIES};
use bilico::balancer::BalancerConfig;
use bilico::fleet::DoorName;
use bilico::fleet_core::{Facts, Identity, Source, Told, Trust};
use bilico_testkit::{http_at, run, start_server};
use serde_json::Value;

use crate::fleet_api::agent;
use crate::in_process::{InProcess, settings_with};
use crate::metrics::{Family, has_promtool, parse, promtool};

fn start(dir: &Path, config: BalancerConfig) -> InProcess {
    InProcess::start(dir, config, AdminLimits::default())
}

fn text_of(balancer: &InProcess) -> String {
    let response = http_at(&balancer.admin, "GET", "/metrics", None);
    assert_eq!(response.status, 200, "{response:?}");
    response.text().to_owned()
}

/// The value of the only sample of a family with these labels.
#[track_caller]
fn value(
    families: &std::collections::BTreeMap<String, Family>,
    name: &str,
    labels: &[(&str, &str)],
) -> f64 {
    let wanted: BTreeSet<_> = labels
        .iter()
        .map(|(name, of)| ((*name).to_owned(), (*of).to_owned()))
        .collect();
    let samples = &families[name].samples[name];
    let has = |sample: &&(Vec<(String, String)>, f64)| {
        sample
            .0
            .iter()
            .cloned()
            .collect::<BTreeSet<_>>()
            .is_superset(&wanted)
    };
    let found: Vec<_> = samples.iter().filter(has).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {samples:?}");
    found[0].1
}

/// A member that tells everything, and a doorway that has taken and refused something.
fn tell(balancer: &InProcess) {
    let mut all = agent("host-a", Duration::from_mins(1));
    all.facts = Facts {
        load: Some(0.75),
        swap_used: Some(1),
        held_files: Some(12),
        held_bytes: Some(3456),
        ..all.facts
    };
    balancer.fleet.told(all).unwrap();
    let doors = balancer.fleet.doors();
    doors.took(DoorName::Udp);
    for _ in 0..2 {
        doors.refused(DoorName::Udp, "no JSON", &"10.0.0.9:1");
    }
}

#[test]
#[expect(clippy::float_cmp, reason = "figures that floats hold exactly")]
fn a_balancer_tells_prometheus_the_figures_of_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = start(dir.path(), BalancerConfig::default());
    tell(&balancer);
    // Whoever sends datagrams chooses a name: it stays one label, whatever is in it.
    let name = "a\"b\\c\nd{e=\"f\"} 1";
    balancer
        .fleet
        .told(Told {
            who: Identity::Source("10.0.0.7".parse().unwrap()),
            name: Some(name.into()),
            source: Source::Datagram,
            trust: Trust::Claimed,
            peer: Some("10.0.0.7".parse().unwrap()),
            every: Duration::from_mins(1),
            facts: Facts {
                cpu: Some(0.5),
                ..Facts::default()
            },
        })
        .unwrap();
    // A second one with the name of the first: both are there, by their identities.
    for last in [8, 9] {
        let mut told = agent("twin", Duration::from_mins(1));
        told.who = Identity::Agent(format!("twin-{last}").into());
        balancer.fleet.told(told).unwrap();
    }
    let text = text_of(&balancer);
    promtool(&text);
    let told = parse(&text);
    for (figure, expected) in [
        ("up", 1.0),
        ("cpu_ratio", 0.25),
        ("memory_used_bytes", 1_073_741_824.0),
        ("memory_total_bytes", 4_294_967_296.0),
        ("disk_used_bytes", 10_737_418_240.0),
        ("disk_total_bytes", 42_949_672_960.0),
        ("disk_trouble", 0.0),
        ("network_receive_bytes_per_second", 1000.0),
        ("network_transmit_bytes_per_second", 500.0),
        ("network_dropped_packets_per_second", 0.0),
        ("load_ratio", 0.75),
        ("held_files", 12.0),
        ("held_bytes", 3456.0),
    ] {
        let labels = [
            ("member", "host-a"),
            ("host", "127.0.0.1"),
            ("trust", "proved"),
        ];
        let name = format!("bilico_member_{figure}");
        assert_eq!(value(&told, &name, &labels), expected, "{name}");
    }
    let seen = value(
        &told,
        "bilico_member_last_seen_seconds",
        &[("member", "host-a")],
    );
    assert!((0.0..60.0).contains(&seen), "{seen}");
    let claimed = [("trust", "claimed"), ("host", "10.0.0.7")];
    assert_eq!(value(&told, "bilico_member_cpu_ratio", &claimed), 0.5);
    for twin in ["agent:twin-8", "agent:twin-9"] {
        assert_eq!(value(&told, "bilico_member_up", &[("member", twin)]), 1.0);
    }
    let active = |trust| {
        value(
            &told,
            "bilico_fleet_members",
            &[("state", "active"), ("trust", trust)],
        )
    };
    assert_eq!([active("proved"), active("claimed")], [3.0, 1.0]);
    let udp = [("door", "udp")];
    assert_eq!(value(&told, "bilico_door_messages_total", &udp), 1.0);
    let refused = [("door", "udp"), ("reason", "no JSON")];
    assert_eq!(value(&told, "bilico_door_refused_total", &refused), 2.0);
}

/// Only so many members have series of their own; of the others there is what can be summed up.
#[test]
#[expect(clippy::float_cmp, reason = "counts")]
fn the_series_of_many_members_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = start(dir.path(), BalancerConfig::default());
    // Names that come first by the alphabet, from anybody.
    for last in 1..=5 {
        let mut claim = agent(&format!("a-{last}"), Duration::from_mins(10));
        claim.who = Identity::Source([10, 0, 0, last].into());
        claim.source = Source::Datagram;
        claim.trust = Trust::Claimed;
        balancer.fleet.told(claim).unwrap();
    }
    for number in 0..MAX_SERVER_SERIES + 50 {
        let told = agent(&format!("host-{number:04}"), Duration::from_mins(10));
        balancer.fleet.told(told).unwrap();
    }
    let text = text_of(&balancer);
    let told = parse(&text);
    let samples = |name: &str| told[name].samples[name].len();
    assert_eq!(samples("bilico_member_up"), MAX_SERVER_SERIES + 1);
    assert_eq!(
        value(&told, "bilico_member_up", &[("member", "other")]),
        55.0
    );
    assert_eq!(
        value(&told, "bilico_member_up", &[("member", "host-0000")]),
        1.0
    );
    // How busy fifty processors are together says nothing.
    assert_eq!(samples("bilico_member_cpu_ratio"), MAX_SERVER_SERIES);
}

/// All words of a text that are names of metrics.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with("bilico_"));
    names.map(str::to_owned).collect()
}

/// The queries of a dashboard.
fn queries(panels: &Value) -> Vec<String> {
    let panels = panels.as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let servers = [start_server(dir.path(), 1, &[])];
    let config = BalancerConfig {
        settings: settings_with(&servers),
        ..BalancerConfig::default()
    };
    let balancer = start(dir.path(), config);
    tell(&balancer);
    let there: BTreeSet<String> = parse(&text_of(&balancer)).into_keys().collect();
    let dashboard = std::fs::read_to_string("docs/examples/grafana-fleet.json").unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let mut asked: BTreeSet<String> = queries(&dashboard["panels"])
        .iter()
        .flat_map(|query| names(query))
        .collect();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        asked.extend(names(&variable["query"].to_string()));
    }
    for file in ["alerts.yml", "alerts-test.yml"] {
        let text = std::fs::read_to_string(Path::new("docs/examples").join(file)).unwrap();
        asked.extend(names(&text));
    }
    assert!(asked.len() > 20, "{asked:?}");
    let missing: Vec<_> = asked.difference(&there).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn prometheus_takes_the_alert_rules_and_each_speaks_when_it_should() {
    if !has_promtool() {
        return;
    }
    for args in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts-test.yml"],
    ] {
        let mut command = Command::new("promtool");
        let ended = run(command.args(args).current_dir("docs/examples"), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    // What Grafana asks is what Prometheus understands, once its variables are filled in.
    let dashboard = std::fs::read_to_string("docs/examples/grafana-fleet.json").unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let rules: Vec<Value> = queries(&dashboard["panels"])
        .iter()
        .enumerate()
        .map(|(place, query)| {
            let filled = query.replace("$instance", ".*").replace("$member", ".*");
            serde_json::json!({"record": format!("query:{place}"), "expr": filled})
        })
        .collect();
    // JSON is YAML, too.
    let group = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]});
    std::fs::write(dir.path().join("queries.yml"), group.to_string()).unwrap();
    let mut command = Command::new("promtool");
    let ended = run(
        command
            .args(["check", "rules", "queries.yml"])
            .current_dir(dir.path()),
        "",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

//! `/metrics`, checked by the rules of Prometheus' text format, and by `promtool` if it is
//! installed.
#![allow(clippy::float_cmp, reason = "counts, which floats hold exactly")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use bilico_testkit::{
    Client, Farm, Role, Running, bilico, http, http_raw, run, start_balancer, start_server,
    wait_until,
};

/// A sample: its labels in order, and its value.
pub type Sample = (Vec<(String, String)>, f64);

/// A family of samples.
#[derive(Debug, Default)]
pub struct Family {
    kind: String,
    help: String,
    /// The samples by name.
    pub samples: BTreeMap<String, Vec<Sample>>,
}

/// All families, read by the rules of the text format 0.0.4: each has a help text and a type before
/// its samples, which are adjacent and unique.
#[track_caller]
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && !families.contains_key(name), "{line}");
            name.clone_into(&mut current);
            families.insert(
                current.clone(),
                Family {
                    help: help.to_owned(),
                    ..Family::default()
                },
            );
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            kind.clone_into(&mut families.get_mut(name).unwrap().kind);
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let (name, sample) = sample(line);
            let family = families
                .get_mut(&current)
                .unwrap_or_else(|| panic!("{line} has no family"));
            let suffix = name
                .strip_prefix(&current)
                .unwrap_or_else(|| panic!("{line} is not of {current}"));
            let is_histogram = family.kind == "histogram";
            let suffixes: &[&str] = if is_histogram {
                &["_bucket", "_sum", "_count"]
            } else {
                &[""]
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(is_histogram || sample.1.is_finite(), "{line}");
            let known = family.samples.entry(name).or_default();
            assert!(
                known.iter().all(|(labels, _)| *labels != sample.0),
                "{line} is there twice"
            );
            known.push(sample);
        }
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

/// One line: `name{label="value",…} number`.
#[track_caller]
fn sample(line: &str) -> (String, Sample) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = line.find(|c| !is_name(c)).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()),
        "{line}"
    );
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"").unwrap();
            let label = label.trim_start_matches(',');
            assert!(label.chars().all(is_name), "{line}");
            let (mut value, mut letters) = (String::new(), quoted.char_indices());
            let end = loop {
                match letters.next().unwrap() {
                    (end, '"') => break end,
                    (_, '\\') => value.push(match letters.next().unwrap().1 {
                        'n' => '\n',
                        escaped @ ('\\' | '"') => escaped,
                        other => panic!("\\{other} in {line}"),
                    }),
                    (_, letter) => value.push(letter),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &quoted[end + 1..];
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    (
        name.to_owned(),
        (labels, value.parse().unwrap_or_else(|_| panic!("{line}"))),
    )
}

#[track_caller]
fn check(name: &str, family: &Family) {
    assert!(!family.kind.is_empty() && !family.help.is_empty(), "{name}");
    let is_counter = family.kind == "counter";
    assert_eq!(name.ends_with("_total"), is_counter, "{name}");
    if is_counter {
        assert!(
            family
                .samples
                .values()
                .flatten()
                .all(|(_, value)| *value >= 0.0),
            "{name}"
        );
    }
    if family.kind == "histogram" {
        let buckets = &family.samples[&format!("{name}_bucket")];
        let ends: Vec<f64> = buckets
            .iter()
            .map(|(labels, _)| end_of(&labels[0]))
            .collect();
        assert!(
            ends.windows(2).all(|pair| pair[0] < pair[1]),
            "{name}: {ends:?}"
        );
        assert!(
            buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
            "{name}: {buckets:?}"
        );
        assert_eq!(*ends.last().unwrap(), f64::INFINITY, "{name}");
        let count = family.samples[&format!("{name}_count")][0].1;
        assert_eq!(buckets.last().unwrap().1, count, "{name}");
    }
}

fn end_of((label, end): &(String, String)) -> f64 {
    assert_eq!(label, "le");
    if end == "+Inf" {
        f64::INFINITY
    } else {
        end.parse().unwrap()
    }
}

/// The value of a sample without labels.
#[track_caller]
fn value(families: &BTreeMap<String, Family>, name: &str) -> f64 {
    let samples = &families
        .get(name)
        .unwrap_or_else(|| panic!("no {name}"))
        .samples[name];
    assert_eq!(samples.len(), 1, "{name}: {samples:?}");
    samples[0].1
}

/// The value of a server's sample.
#[track_caller]
fn of_server(families: &BTreeMap<String, Family>, name: &str, server: &str) -> f64 {
    let samples = &families
        .get(name)
        .unwrap_or_else(|| panic!("no {name}"))
        .samples[name];
    let labels = [("server".to_owned(), server.to_owned())];
    samples
        .iter()
        .find(|(named, _)| named == &labels)
        .unwrap_or_else(|| panic!("no {server} in {name}"))
        .1
}

fn scrape(role: &Role) -> BTreeMap<String, Family> {
    parse(&text_of(role))
}

fn text_of(role: &Role) -> String {
    let response = http(role, "GET", "/metrics", None);
    assert_eq!(response.status, 200);
    assert_eq!(
        response.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    response.text().to_owned()
}

/// Whether `promtool` is installed; prints it if not.
pub fn has_promtool() -> bool {
    let is_there = Command::new("promtool")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if is_there.is_err() {
        // Straight to standard error: a skipped test must be seen, and macros are captured.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: promtool; install it with apt-get install prometheus"
        );
    }
    is_there.is_ok()
}

/// Checks a text by `promtool`, if it is installed.
#[track_caller]
pub fn promtool(text: &str) {
    if !has_promtool() {
        return;
    }
    let ended = run(Command::new("promtool").args(["check", "metrics"]), text);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
}

#[test]
fn a_balancer_tells_prometheus_all_figures() {
    let mut farm = Farm::start(&[2, 1]);
    let mut client = Client::connect(&farm.balancer.address);
    for id in 0..30 {
        client.put(id, None, b"12345");
    }
    for id in 0..30 {
        client.expect("delivered", id);
    }
    promtool(&text_of(&farm.balancer));
    let first = scrape(&farm.balancer);
    let names = [
        farm.servers[0].address.clone(),
        farm.servers[1].address.clone(),
    ];
    for (name, expected) in [
        ("bilico_files_accepted_total", 30.0),
        ("bilico_accepted_bytes_total", 150.0),
        ("bilico_files_delivered_total", 30.0),
        ("bilico_delivered_bytes_total", 150.0),
        ("bilico_queue_bytes", 0.0),
        ("bilico_queue_max_files", 1e6),
        ("bilico_queue_oldest_seconds", 0.0),
        ("bilico_dead_letters", 0.0),
        ("bilico_ready", 1.0),
        ("bilico_servers", 2.0),
        ("bilico_servers_eligible", 2.0),
    ] {
        assert_eq!(value(&first, name), expected, "{name}");
    }
    for (place, (weight, delivered)) in [(2.0, 20.0), (1.0, 10.0)].into_iter().enumerate() {
        let of = |name: &str| of_server(&first, name, &names[place]);
        assert_eq!(
            (
                of("bilico_server_weight"),
                of("bilico_server_delivered_total")
            ),
            (weight, delivered)
        );
        assert_eq!(
            (of("bilico_server_eligible"), of("bilico_server_overloaded")),
            (1.0, 0.0)
        );
        assert_eq!(
            (
                of("bilico_server_in_flight"),
                of("bilico_server_returned_total")
            ),
            (0.0, 0.0)
        );
        assert!((of("bilico_server_share_wanted") - weight / 3.0).abs() < 1e-9);
        assert!((of("bilico_server_share_had") - weight / 3.0).abs() < 1e-9);
        assert!(of("bilico_server_memory_bytes") > 0.0 && of("bilico_server_probe_seconds") > 0.0);
    }
    for name in ["bilico_accept_seconds", "bilico_delivery_seconds"] {
        let samples = &first[name].samples;
        assert_eq!(samples[&format!("{name}_count")][0].1, 30.0);
        assert!(samples[&format!("{name}_sum")][0].1 > 0.0);
    }
    assert!(value(&first, "process_resident_memory_bytes") > 1e6);
    assert!(
        first["bilico_build_info"].samples["bilico_build_info"][0].0[0]
            .1
            .starts_with(char::is_numeric)
    );
    // Counters and the buckets of histograms only grow.
    farm.servers[0].kill();
    for id in 30..60 {
        client.put(id, None, b"12345");
        client.expect("delivered", id);
    }
    let second = scrape(&farm.balancer);
    for (name, family) in second.iter().filter(|(_, family)| family.kind != "gauge") {
        for (sample, values) in &family.samples {
            for (labels, now) in values {
                let before = first[name].samples[sample]
                    .iter()
                    .find(|(old, _)| old == labels)
                    .unwrap()
                    .1;
                assert!(
                    *now >= before,
                    "{sample} {labels:?} has gone from {before} to {now}"
                );
            }
        }
    }
    assert_eq!(value(&second, "bilico_files_delivered_total"), 60.0);
    wait_until("the dead server to be told", || {
        of_server(&scrape(&farm.balancer), "bilico_server_eligible", &names[0]) == 0.0
    });
}

#[test]
fn who_asks_for_openmetrics_gets_it() {
    let farm = Farm::start(&[1]);
    let admin = farm.balancer.admin.clone().unwrap();
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    let response = http_raw(&admin, request.as_bytes());
    assert_eq!(
        response.headers["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = response.text();
    assert!(
        text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1,
        "{text}"
    );
    assert!(
        text.contains("\n# TYPE bilico_files_delivered counter\nbilico_files_delivered_total 0\n"),
        "{text}"
    );
    // Both formats have the same samples.
    let is_sample = |line: &&str| !line.starts_with('#');
    let named = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter(is_sample)
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(named(text), named(&text_of(&farm.balancer)));
}

#[test]
fn a_server_tells_prometheus_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &["--admin", "127.0.0.1:0"]);
    let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &[]);
    let mut client = Client::connect(&balancer.address);
    for id in 0..10 {
        client.put(id, None, b"12345");
        client.expect("delivered", id);
    }
    promtool(&text_of(&server));
    let told = scrape(&server);
    assert_eq!(value(&told, "bilico_files_stored_total"), 10.0);
    assert_eq!(value(&told, "bilico_stored_bytes_total"), 50.0);
    assert_eq!(
        (
            value(&told, "bilico_overloaded"),
            value(&told, "bilico_ready")
        ),
        (0.0, 1.0)
    );
    assert!(value(&told, "bilico_memory_bytes") < value(&told, "bilico_memory_limit_bytes"));
    assert!(value(&told, "bilico_connections") >= 1.0);
}

/// Only so many servers have their own series. The rest share one, so that the number of series is
/// bounded.
#[test]
fn the_series_of_many_servers_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let most = bilico::admin::MAX_SERVER_SERIES;
    let specs: Vec<String> = (1..=most + 200)
        .map(|port| format!("127.0.0.1:{port}=1"))
        .collect();
    let list = specs.join(",");
    let flags = ["--probe-interval", "1h", "--server", &list];
    let balancer = start_balancer(dir.path(), &[], &flags);
    let text = text_of(&balancer);
    promtool(&text);
    let told = parse(&text);
    let weights = &told["bilico_server_weight"].samples["bilico_server_weight"];
    assert_eq!(weights.len(), most + 1);
    assert_eq!(of_server(&told, "bilico_server_weight", "other"), 200.0);
    assert_eq!(
        weights.iter().map(|(_, weight)| weight).sum::<f64>(),
        1200.0
    );
    let series: usize = told
        .values()
        .flat_map(|family| family.samples.values())
        .map(Vec::len)
        .sum();
    assert!(series < 20 * (most + 1), "{series} series");
}

/// Starts a role that has no listener but this for its operators, and gives the address of that.
fn with_metrics_only(dir: &Path, args: &[&str]) -> (Running, String) {
    let mut command = bilico(args);
    command
        .args(["--listen", "127.0.0.1:0", "--admin", "none"])
        .args(["--metrics", "127.0.0.1:0"])
        .current_dir(dir);
    let running = Running::start(&mut command);
    let said = running.wait_for_output("metrics on ");
    let address = said
        .lines()
        .find_map(|line| line.strip_prefix("metrics on "));
    let address = address.unwrap().to_owned();
    (running, address)
}

#[test]
fn a_listener_of_their_own_has_the_metrics_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (server, at_server) = with_metrics_only(dir.path(), &["server"]);
    let balancer = ["balancer", "--server", "127.0.0.1:1=3"];
    let (balancer, at_balancer) = with_metrics_only(dir.path(), &balancer);
    for (address, family) in [
        (at_server, "bilico_files_stored_total"),
        (at_balancer, "bilico_files_accepted_total"),
    ] {
        // As Prometheus on another machine asks: by whatever name leads there.
        let ask = |method: &str, path: &str| {
            let head = format!("{method} {path} HTTP/1.1\r\nHost: farm.example:9100\r\n");
            http_raw(
                &address,
                format!("{head}Connection: close\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            )
        };
        let answer = ask("GET", "/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            parse(answer.text()).contains_key(family),
            "{}",
            answer.text()
        );
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/live"),
            ("GET", "/api/v1/overview"),
            ("POST", "/api/v1/reload"),
            ("PUT", "/files/x"),
        ] {
            assert_eq!(ask(method, path).status, 404, "{method} {path}");
        }
        assert_eq!(ask("POST", "/metrics").status, 405);
    }
    for running in [balancer, server] {
        running.signal("TERM");
        assert_eq!(running.end().code, Some(0));
    }
}

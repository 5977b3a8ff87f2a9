//! What operators order about servers is in force over the death of the balancer.

use std::fs;

use bilico_testkit::{Farm, bilico, http, run, start_balancer, wait_until};
use serde_json::{Value, json};

/// Each server's name, weight and whether it is drained, as far as the balancer has them.
fn servers(farm: &Farm) -> Vec<(String, u64, bool)> {
    let answer = http(&farm.balancer, "GET", "/api/v1/servers", None).json();
    let servers = answer["servers"].as_array().unwrap().iter();
    let server = |server: &Value| {
        (
            server["name"].as_str().unwrap().to_owned(),
            server["weight"].as_u64().unwrap(),
            server["fact"] == "drain",
        )
    };
    let mut servers: Vec<_> = servers.map(server).collect();
    servers.sort();
    servers
}

fn order(farm: &Farm, args: &[&str]) -> String {
    let admin = farm.balancer.admin.clone().unwrap();
    let mut all = args.to_vec();
    all.extend(["--admin", &admin]);
    let ended = run(bilico(&all).current_dir(farm.dir.path()), "");
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

#[test]
fn drains_weights_added_and_removed_servers_survive_kills() {
    let mut farm = Farm::without_servers(&[3, 2, 1]);
    let names: Vec<String> = farm
        .servers
        .iter()
        .map(|server| server.address.clone())
        .collect();
    order(&farm, &["drain", &names[0]]);
    order(&farm, &["weight", &names[1], "7"]);
    order(&farm, &["servers", "remove", &names[2]]);
    order(&farm, &["servers", "add", "127.0.0.1:9=4"]);
    order(&farm, &["weight", "127.0.0.1:9", "5"]);
    wait_until("the removed server to go", || servers(&farm).len() == 3);
    let mut expected = vec![
        (names[0].clone(), 3, true),
        (names[1].clone(), 7, false),
        ("127.0.0.1:9".to_owned(), 5, false),
    ];
    expected.sort();
    for _ in 0..3 {
        farm.crash_balancer();
        assert_eq!(servers(&farm), expected);
    }
    let told = order(&farm, &["servers", "orders"]);
    for line in [
        format!("{}: drained\n", names[0]),
        format!("{}: weight 7 instead of 2\n", names[1]),
        format!("{}: removed\n", names[2]),
        "127.0.0.1:9: added with weight 5\n".to_owned(),
    ] {
        assert!(told.contains(&line), "no {line:?} in {told}");
    }
    let table = order(&farm, &["servers"]);
    let marked = |line: &str| {
        line.split_whitespace()
            .any(|word| word == "7*" || word == "5*")
    };
    assert_eq!(
        table.lines().filter(|line| marked(line)).count(),
        2,
        "{table}"
    );
    let json: Value = serde_json::from_str(&order(&farm, &["servers", "--json"])).unwrap();
    let ordered: Vec<&Value> = json["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|server| &server["ordered"])
        .collect();
    assert_eq!(
        ordered,
        [
            &json!({"drained": true}),
            &json!({"weight": {"ordered": 7, "configured": 2}}),
            &json!({"added": 5})
        ]
    );
    let events = order(&farm, &["events"]);
    assert!(
        events.contains("orders from before the start are in force: "),
        "{events}"
    );

    order(&farm, &["undrain", &names[0]]);
    order(&farm, &["weight", &names[1], "2"]);
    let port = names[2].rsplit(':').next().unwrap();
    order(&farm, &["servers", "forget", port]);
    order(&farm, &["servers", "forget", "127.0.0.1:9"]);
    wait_until("the added server to go", || servers(&farm).len() == 3);
    let mut configured: Vec<_> = names
        .iter()
        .cloned()
        .zip([3, 2, 1])
        .map(|(name, weight)| (name, weight, false))
        .collect();
    configured.sort();
    for _ in 0..2 {
        assert_eq!(servers(&farm), configured);
        assert!(order(&farm, &["servers", "orders"]).starts_with("no orders stand"));
        farm.crash_balancer();
    }
    let admin = farm.balancer.admin.clone().unwrap();
    let ended = run(
        &mut bilico(&["servers", "forget", "nobody:1", "--admin", &admin]),
        "",
    );
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("no order stands about a server nobody:1"),
        "{ended:?}"
    );
}

#[test]
fn a_weight_that_was_configured_anew_counts_and_a_drain_stays() {
    let mut farm = Farm::without_servers(&[3, 2]);
    let names: Vec<String> = farm
        .servers
        .iter()
        .map(|server| server.address.clone())
        .collect();
    for name in &names {
        order(&farm, &["weight", name, "9"]);
    }
    order(&farm, &["drain", &names[0]]);
    farm.balancer.kill();
    let specs = [format!("{}=4", names[0]), format!("{}=2", names[1])];
    farm.balancer = start_balancer(farm.dir.path(), &specs, &[]);
    let mut expected = vec![(names[0].clone(), 4, true), (names[1].clone(), 9, false)];
    expected.sort();
    assert_eq!(servers(&farm), expected);

    // What the configuration has overtaken does not come back when it is changed back.
    farm.balancer.kill();
    let specs = [format!("{}=3", names[0]), format!("{}=2", names[1])];
    farm.balancer = start_balancer(farm.dir.path(), &specs, &[]);
    let mut expected = vec![(names[0].clone(), 3, true), (names[1].clone(), 9, false)];
    expected.sort();
    assert_eq!(servers(&farm), expected);
}

/// A journal that was restored from a backup goes on under another identity, with its orders.
#[test]
fn orders_are_part_of_a_backup_and_of_no_other_journal() {
    let mut farm = Farm::without_servers(&[3]);
    let name = farm.servers[0].address.clone();
    order(&farm, &["drain", &name]);
    farm.balancer.kill();
    let journal = farm.journal();
    let adopted = run(bilico(&["queue", "adopt"]).arg(&journal), "");
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    farm.balancer.restart();
    assert_eq!(servers(&farm), [(name.clone(), 3, true)]);

    farm.balancer.kill();
    let orders = fs::read(journal.join("orders")).unwrap();
    fs::remove_dir_all(&journal).unwrap();
    fs::create_dir(&journal).unwrap();
    fs::write(journal.join("orders"), orders).unwrap();
    farm.balancer.restart();
    assert_eq!(servers(&farm), [(name, 3, false)]);
    let events = order(&farm, &["events"]);
    assert!(events.contains("it belongs to the journal "), "{events}");
}

/// Hundreds of changes, from several operators at once: the last one that was answered counts after
/// a kill, and the file stays small.
#[test]
fn many_orders_in_a_row_wear_nothing_out() {
    let mut farm = Farm::without_servers(&[1]);
    let name = farm.servers[0].address.clone();
    let path = format!("/api/v1/servers/{name}");
    std::thread::scope(|scope| {
        for operator in 0..4_u32 {
            let (farm, path) = (&farm, &path);
            scope.spawn(move || {
                for weight in 0..150 {
                    let change = json!({ "weight": 1000 * operator + weight });
                    assert_eq!(
                        http(&farm.balancer, "PATCH", path, Some(&change)).status,
                        200
                    );
                }
            });
        }
    });
    let last = http(&farm.balancer, "PATCH", &path, Some(&json!({"weight": 77})));
    assert_eq!(last.status, 200);
    let size = fs::metadata(farm.journal().join("orders")).unwrap().len();
    assert!(size < 1000, "{size} bytes");
    farm.crash_balancer();
    assert_eq!(servers(&farm)[0].1, 77);
}

#[test]
fn orders_that_cannot_be_read_are_told_and_kept_aside_and_the_balancer_starts() {
    let mut farm = Farm::without_servers(&[3]);
    let name = farm.servers[0].address.clone();
    order(&farm, &["drain", &name]);
    farm.balancer.kill();
    let file = farm.journal().join("orders");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, &bytes).unwrap();
    farm.balancer.restart();
    let events = order(&farm, &["events", "--level", "error"]);
    for part in [
        "the orders from before the start cannot be read",
        "its checksum is wrong",
        "have to be ordered again",
        "orders.damaged",
    ] {
        assert!(events.contains(part), "no {part:?} in {events}");
    }
    assert_eq!(
        fs::read(farm.journal().join("orders.damaged")).unwrap(),
        bytes
    );
    assert_eq!(servers(&farm), [(name.clone(), 3, false)]);
    order(&farm, &["drain", &name]);
    farm.crash_balancer();
    assert_eq!(servers(&farm), [(name, 3, true)]);
}

//! The notices of a gate that refuses files: one when it begins, one when it is over.

use serde_json::Value;

use bilico_testkit::{Client, Farm, Mount, http, noise, start_balancer, wait_for, wait_until};

/// The levels and texts of the notices about missing room.
fn notices(farm: &Farm) -> Vec<(String, String)> {
    let found = http(&farm.balancer, "GET", "/api/v1/notices", None).json();
    let full = found["notices"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|notice| notice["kind"] == "full");
    let text = |notice: &Value, field: &str| notice[field].as_str().unwrap().to_owned();
    full.map(|notice| (text(notice, "level"), text(notice, "text")))
        .collect()
}

#[test]
fn a_full_queue_makes_one_notice_with_the_figures_and_another_when_it_has_room() {
    let mut farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    assert_eq!(farm.balancer.stop(), Some(0));
    farm.balancer = start_balancer(farm.dir.path(), &[server], &["--queue-files", "5"]);
    let mut client = Client::connect(&farm.balancer.address);
    for id in 1..=5 {
        client.put_accepted(id, None, b"x");
    }
    assert_eq!(notices(&farm), []);
    // Several that wait, for one cause.
    let mut others: Vec<Client> = (0..4)
        .map(|_| Client::connect(&farm.balancer.address))
        .collect();
    for other in &mut others {
        other.put(1, None, b"y");
    }
    let began = wait_for("a notice", || {
        Some(notices(&farm)).filter(|told| !told.is_empty())
    });
    let (level, text) = &began[0];
    assert_eq!((began.len(), level.as_str()), (1, "warn"));
    assert!(
        text.contains("5 of 5 files wait") && text.contains("--queue-files"),
        "{text}"
    );
    farm.servers[0].restart();
    for other in &mut others {
        other.expect("accepted", 1);
    }
    let told = wait_for("the end", || {
        Some(notices(&farm)).filter(|told| told.len() > 1)
    });
    let (level, text) = &told[1];
    assert_eq!((told.len(), level.as_str()), (2, "info"));
    assert!(
        text.contains("has room again") && text.contains("of 5 files wait"),
        "{text}"
    );
}

#[test]
fn a_full_disk_makes_one_notice_with_the_figures_and_another_when_it_has_room() {
    let Some(disk) = Mount::tmpfs("16m") else {
        return;
    };
    let mut farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let journal = disk.path().join("journal");
    let journal = journal.to_str().unwrap();
    farm.balancer = start_balancer(
        farm.dir.path(),
        &[server],
        &["--journal", journal, "--log-dir", "small"],
    );
    let mut client = Client::connect(&farm.balancer.address);
    let mut refused = 0;
    for id in 1..=40 {
        client.put(id, None, &noise(id, 1 << 20));
        refused += usize::from(client.next()["request_type"] == "refused");
    }
    assert!(refused > 10, "{refused}");
    let began = notices(&farm);
    let (level, text) = &began[0];
    assert_eq!((began.len(), level.as_str()), (1, "error"), "{began:?}");
    assert!(
        text.contains(journal) && text.contains("free, of which") && text.contains("Remedy"),
        "{text}"
    );
    farm.servers[0].restart();
    wait_until("the end", || notices(&farm).len() > 1);
    let told = notices(&farm);
    let (level, text) = &told[1];
    assert_eq!((told.len(), level.as_str()), (2, "info"), "{told:?}");
    assert!(text.contains("it took") && text.contains(journal), "{text}");
}

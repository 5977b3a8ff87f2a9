//! A journal whose disk fails or is full.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use bilico_testkit::{
    Client, Farm, Mount, Running, bilico, frame, noise, number, old_style_put, put, put_header,
    wait_for_line, wait_until,
};

use super::helpers::{MIB, address_of, farm_on, is_segment};

#[test]
fn a_journal_that_fails_ends_the_balancer_and_clients_are_told() {
    let farm = Farm::without_servers(&[1]);
    let server = format!("{}=1", farm.servers[0].address);
    let args = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--server",
        &server,
        "--journal",
        "kept",
        "--segment-size",
        "1MiB",
    ];
    let balancer = Running::start(bilico(&args).current_dir(farm.dir.path()));
    let address = address_of(&balancer);
    let (mut client, mut bystander) = (Client::connect(&address), Client::connect(&address));
    bystander.put_accepted(1, None, b"x");
    fs::remove_dir_all(farm.dir.path().join("kept")).unwrap();
    let mut writing = client.wire.0.try_clone().unwrap();
    let feeding = std::thread::spawn(move || {
        let file = frame(&put(7, "x"), &noise(7, 60_000));
        while writing.write_all(&file).is_ok() {}
    });
    for client in [&mut client, &mut bystander] {
        let bye = client.bye();
        assert_eq!(bye["code"], "storage", "{bye}");
        assert!(
            bye["reason"]
                .as_str()
                .unwrap()
                .contains("the journal's directory"),
            "{bye}"
        );
    }
    drop(client);
    feeding.join().unwrap();
    let ended = balancer.wait();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.stderr.contains("error: the journal's directory") && ended.stderr.contains("hint: "),
        "{ended:?}"
    );
}

#[test]
fn a_full_disk_makes_receipts_wait_while_deliveries_go_on() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=20 {
        client.put_accepted(id, None, &noise(id, 65_000));
    }
    let segments = fs::read_dir(farm.journal())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let longest = segments
        .filter(|path| is_segment(path))
        .map(|path| fs::metadata(path).unwrap().len())
        .max();
    farm.balancer
        .limit("fsize", &(longest.unwrap() + 3000).to_string());
    let mut late = farm.client();
    for id in 21..=25 {
        late.put(id, Some(&format!("k{id}")), &noise(id, 2000));
    }
    wait_for_line(
        || farm.log(),
        &["ERROR", "the journal waits until it can write"],
    );
    farm.servers[0].restart();
    for id in 1..=20 {
        client.expect("delivered", id);
    }
    assert!(farm.stored(0).len() >= 20);
    farm.balancer.limit("fsize", "unlimited");
    for id in 21..=25 {
        late.expect("accepted", id);
        late.expect("delivered", id);
    }
    wait_for_line(|| farm.log(), &["INFO", "the journal goes on"]);
    farm.crash_balancer();
    farm.wait_until_delivered();
    assert_eq!(farm.by_number().len(), 25, "nothing is stored twice");
}

#[test]
fn a_full_disk_refuses_files_and_takes_them_again_after_deliveries() {
    let Some(disk) = Mount::tmpfs("16m") else {
        return;
    };
    let mut farm = farm_on(&disk);
    let log = |farm: &Farm| fs::read_to_string(farm.dir.path().join("small/balancer.log")).unwrap();
    let mut client = farm.client();
    let large = noise(1, 20 * MIB);
    let whole = frame(&put_header(1, Some("too large")).to_string(), &large);
    let header = whole.len() - large.len() - 4;
    client.wire.write(&whole[..header]);
    let refused = client.expect("refused", 1);
    assert_eq!(refused["code"], "full", "{refused}");
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("20 MiB") && reason.matches("MiB").count() >= 2,
        "{reason}"
    );
    client.wire.write(&whole[header..]);
    client.put_accepted(2, None, b"the connection goes on");

    let mut accepted = vec![(1, b"the connection goes on".to_vec())];
    let refused = loop {
        let (id, content) = (
            10 + accepted.len() as u64,
            noise(accepted.len() as u64, MIB),
        );
        client.put(id, Some(&format!("k{id}")), &content);
        let answer = client.next();
        if answer["request_type"] == "refused" {
            break answer;
        }
        accepted.push((number(&answer), content));
    };
    assert_eq!(refused["code"], "full", "{refused}");
    assert!(
        accepted.len() > 8,
        "only {} of 16 MiB could be used",
        accepted.len()
    );
    wait_for_line(
        || log(&farm),
        &["ERROR", "files are refused", "disk is full"],
    );
    let text = "x".repeat(MIB);
    let mut old_client = TcpStream::connect(&farm.balancer.address).unwrap();
    old_client
        .write_all(old_style_put("perché.json", &text).as_bytes())
        .unwrap();
    let before = farm.status().accepted;
    client.offer_size(5000, "k10", 7);
    client.expect("wanted", 5000);
    assert_eq!(
        farm.status().accepted,
        before,
        "the old client's file waits"
    );

    farm.servers[0].restart();
    farm.wait_until_delivered();
    accepted.push((accepted.len() as u64 + 1, text.into_bytes()));
    wait_until("the old client's file to be delivered", || {
        farm.stored(0).len() == accepted.len()
    });
    let content = noise(77, MIB);
    accepted.push((client.put_accepted(6000, None, &content), content));
    client.expect("delivered", 6000);
    assert!(farm.by_number() == accepted.into_iter().collect());
    wait_for_line(
        || log(&farm),
        &["INFO", "the journal's disk has room again"],
    );
}

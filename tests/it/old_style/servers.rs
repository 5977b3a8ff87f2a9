//! Old-style servers of our balancer: which files they get, and how.

use std::fs;
use std::time::{Duration, Instant};

use bilico::protocol::status::Dialect;
use bilico::server::name::stored_name;
use bilico_testkit::{
    Farm, OldServer, Wire, frame, put, start_balancer, start_server, stored, wait_for_line,
    wait_until,
};
use serde_json::{Value, json};

use super::farms::{farm_over, farm_with, native_at, small, wait_for_server, write_files};

#[test]
fn old_style_servers_are_recognised_and_get_one_file_a_connection() {
    let servers = [OldServer::start(), OldServer::start()];
    let farm = farm_over(&[(&servers[0], 3), (&servers[1], 1)], &[]);
    assert!(
        farm.status()
            .servers
            .iter()
            .all(|server| server.dialect == Some(Dialect::OldStyle))
    );
    let folder = write_files(&farm, 40, small);
    let output = farm.send(&["-r", &folder, "--json"]);
    assert!(output.status.success(), "{output:?}");

    // A receipt says that the bytes were handed over; the server may still be reading them.
    wait_until("all files to be there", || {
        servers
            .iter()
            .map(|server| server.files().len())
            .sum::<usize>()
            == 40
    });
    let mut numbers = Vec::new();
    for server in &servers {
        server.check();
        for file in server.files().iter() {
            let keys: Vec<&String> = file.as_object().unwrap().keys().collect();
            assert_eq!(
                keys,
                ["contenuto", "numero_richiesta", "request_type", "titolo"],
                "no other keys"
            );
            let title = file["titolo"].as_str().unwrap();
            let place: usize = title.strip_suffix(".bin").unwrap().parse().unwrap();
            assert_eq!(file["contenuto"].as_str().unwrap().as_bytes(), small(place));
            numbers.push(file["numero_richiesta"].as_u64().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<u64>>());

    let receipts: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(receipts.len(), 40);
    for receipt in receipts {
        assert_eq!(
            (&receipt["state"], &receipt["confirmed"]),
            (&json!("delivered"), &json!(false)),
            "{receipt}"
        );
    }
    let unconfirmed = || {
        farm.log()
            .lines()
            .filter(|line| line.contains("delivered unconfirmed"))
            .count()
    };
    wait_until("each to be logged as unconfirmed", || unconfirmed() == 40);
}

#[test]
fn forty_files_at_once_go_three_to_one() {
    let servers = [OldServer::start(), OldServer::start()];
    let farm = farm_over(&[(&servers[0], 3), (&servers[1], 1)], &[]);
    let folder = write_files(&farm, 40, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || {
        servers
            .iter()
            .map(|server| server.files().len())
            .sum::<usize>()
            == 40
    });
    assert_eq!(
        servers.each_ref().map(|server| server.files().len()),
        [30, 10]
    );
}

#[test]
fn files_one_after_another_go_three_to_one() {
    let servers = [OldServer::start(), OldServer::start()];
    let farm = farm_over(&[(&servers[0], 3), (&servers[1], 1)], &[]);
    let mut wire = Wire::native(&farm.balancer.address);
    for id in 1..=40 {
        wire.write(&frame(&put(id, "x"), b"content"));
        assert!(wire.frame_of("delivered").contains(r#""confirmed":false"#));
    }
    wait_until("all files to be there", || {
        servers
            .iter()
            .map(|server| server.files().len())
            .sum::<usize>()
            == 40
    });
    assert_eq!(
        servers.each_ref().map(|server| server.files().len()),
        [30, 10]
    );
}

#[test]
fn files_that_an_old_style_server_cannot_read_go_to_a_native_one() {
    let old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[1]);
    let document = |content: &str| {
        json!({"titolo": "x", "contenuto": content, "request_type": "file_di_testo", "numero_richiesta": 1}).to_string()
    };
    let frame = document("").len();
    let folder = write_files(&farm, 30, |file| match file % 3 {
        0 => vec![b'x'; 4097],
        // Each quote becomes two bytes in the document.
        1 => vec![b'"'; (4096 - frame) / 2 + 100],
        _ => b"no \xff UTF-8".to_vec(),
    });
    let output = farm.send(&["-r", &folder]);
    assert!(output.status.success(), "{output:?}");
    let stored = farm.stored(0);
    assert_eq!(stored.len(), 30, "all of them went to the native server");
    for (name, content) in stored {
        let title = name.split_once('_').unwrap().1;
        assert_eq!(
            content,
            fs::read(format!("{folder}/{title}")).unwrap(),
            "{name}"
        );
    }
    assert_eq!(old.titles(), Vec::<String>::new());
    old.check();
    assert_eq!(farm.server_status(0).returned, 0, "it was not even tried");
}

/// Such a server opens a file of the name `N_title`, whatever the title is.
#[test]
fn titles_that_would_lead_elsewhere_are_encoded_for_old_style_servers() {
    let old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[]);
    let titles = [
        "../../escaped",
        "a/b\\c",
        "\0nul",
        "line\nend",
        &"long".repeat(200),
        "plain à.txt",
    ];
    let mut wire = Wire::native(&farm.balancer.address);
    for (id, title) in (1..).zip(titles) {
        wire.write(&frame(&put(id, title), b"content"));
        wire.frame_of("delivered");
    }
    wait_until("all files to be there", || {
        old.files().len() == titles.len()
    });
    for file in &*old.files() {
        let number = file["numero_richiesta"].as_u64().unwrap();
        let title = titles[usize::try_from(number).unwrap() - 1];
        let name = format!("{number}_{}", file["titolo"].as_str().unwrap());
        // What a server of ours would call it.
        assert_eq!(name, stored_name(number, title));
        assert!(
            !name.contains(['/', '\\', '\0', '\n']) && name.len() <= 255,
            "{name:?}"
        );
    }
    old.check();
}

/// Whoever takes the port of a server that is down must not get its files for one byte.
#[test]
fn where_servers_speak_native_an_old_style_one_is_down_and_gets_nothing() {
    let old = OldServer::start();
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let specs = [
        format!("{}=5", old.address),
        format!("{}=1", server.address),
    ];
    let flags = ["--servers-speak", "native", "--probe-interval", "100ms"];
    let balancer = start_balancer(dir.path(), &specs, &flags);
    let farm = Farm {
        servers: vec![server],
        balancer,
        dir,
    };
    wait_for_server(&farm, 1, "up", |server| server.eligible);
    wait_for_server(&farm, 0, "down", |server| {
        let reason = server.reason.as_deref().unwrap_or_default();
        !server.eligible && reason.contains("servers-speak")
    });
    let folder = write_files(&farm, 12, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    assert_eq!(farm.stored(0).len(), 12);
    assert_eq!(old.titles(), Vec::<String>::new());
}

#[test]
fn an_old_style_server_gets_documents_of_up_to_4096_bytes() {
    let old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[]);
    let length = |content: usize| {
        let content = "x".repeat(content);
        let keys = json!({"titolo": "x", "contenuto": content, "request_type": "file_di_testo", "numero_richiesta": 1});
        keys.to_string().len()
    };
    let fits = 4096 - length(0);
    assert_eq!(length(fits), 4096);
    let mut wire = Wire::native(&farm.balancer.address);
    wire.write(&frame(&put(1, "x"), &vec![b'x'; fits]));
    wire.frame_of("delivered");
    wait_until("the file to be there", || old.files().len() == 1);
    assert_eq!(old.files()[0]["contenuto"].as_str().unwrap().len(), fits);
    wire.write(&frame(&put(2, "x"), &vec![b'x'; fits + 1]));
    wait_for_line(|| farm.log(), &["waits", "number=2", "4096"]);
    old.check();
    assert_eq!(farm.status().queue.files(), 1);
}

#[test]
fn a_large_file_waits_until_a_native_server_replaces_an_old_style_one() {
    let mut old = OldServer::start();
    let farm = farm_with(&[(&old, 1)], &[], &["--probe-interval", "200ms"]);
    let folder = write_files(&farm, 2, |file| {
        if file == 0 {
            vec![b'x'; 5000]
        } else {
            vec![0xff; 10]
        }
    });
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    let large = wait_for_line(|| farm.log(), &["waits", "title=0.bin"]);
    assert!(large.contains("4096"), "{large}");
    let not_text = wait_for_line(|| farm.log(), &["waits", "title=1.bin"]);
    assert!(not_text.contains("UTF-8"), "{not_text}");

    // Files that it can read are not held up by files that it cannot.
    let small_ones = write_files(&farm, 5, small);
    assert!(farm.send(&["-r", &small_ones]).status.success());
    assert_eq!(farm.status().queue.files(), 2);

    old.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    let _native = native_at(&farm, &old.address);
    farm.wait_for_delivered(7);
    let mut stored: Vec<Vec<u8>> = stored(&farm.dir.path().join("json_files_9"))
        .into_values()
        .collect();
    stored.sort();
    assert_eq!(stored, [vec![b'x'; 5000], vec![0xff; 10]]);
    old.check();
}

#[test]
fn a_large_file_waits_until_a_native_server_comes_up() {
    let old = OldServer::start();
    let farm = farm_with(&[(&old, 1)], &[1], &["--probe-interval", "200ms"]);
    let Farm {
        mut servers,
        balancer,
        dir,
    } = farm;
    servers[0].kill();
    let mut farm = Farm {
        servers,
        balancer,
        dir,
    };
    wait_for_server(&farm, 1, "down", |server| !server.eligible);
    let folder = write_files(&farm, 3, |_| vec![b'x'; 10_000]);
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    wait_for_line(|| farm.log(), &["waits", "4096"]);
    // The file's delays have grown to seconds by the time that the server is there.
    let started = Instant::now();
    farm.servers[0].restart();
    farm.wait_for_delivered(3);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(farm.stored(0).len(), 3);
}

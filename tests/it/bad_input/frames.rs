//! Bad frames are refused with a reason, cost no file and leave nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::net::Shutdown;
use std::time::Duration;

use bilico::server::name::stored_name;
use bilico_testkit::{Farm, PREFACE, Served, Wire, frame, put, stored, wait_for_line, wait_until};
use serde_json::{Value, json};

use super::frame_cases::{BadFrame, When, bad_frames};
use super::peers::{
    Honest, frame_declaring, frames_to_the_end, is_of, link, offer, peer_of, store, titles,
};

/// Sends bad bytes. Checks that the answer is a `bye` with the reason and then the end of the
/// connection, and returns the frames before it. It closes this end, too, because the other end
/// lingers while it is open.
#[track_caller]
fn refused_with(mut wire: Wire, bad: &BadFrame) -> Vec<Value> {
    offer(&mut wire, &bad.bytes);
    if bad.then_closes {
        wire.0.shutdown(Shutdown::Write).unwrap();
    }
    let mut frames = Vec::new();
    if bad.when != When::Greeted {
        let (first, _) = wire.greeting();
        frames.push(serde_json::from_str(&first).unwrap());
    }
    frames.extend(frames_to_the_end(&mut wire));
    let bye = frames
        .pop()
        .unwrap_or_else(|| panic!("{}: closed without a word", bad.what));
    assert!(is_of(&bye, "bye"), "{}: {bye}", bad.what);
    assert_eq!(bye["code"], bad.code, "{}: {bye}", bad.what);
    let reason = bye["reason"].as_str().unwrap();
    assert!(
        !reason.is_empty() && reason.contains(bad.reason),
        "{}: {bye}",
        bad.what
    );
    // A server sends its greeting at once.
    frames.retain(|frame| !is_of(frame, "hello"));
    frames
}

#[test]
fn bad_frames_at_the_balancer_are_refused_with_a_reason() {
    let farm = Farm::start(&[1]);
    let mut honest = Honest::connect(&farm);
    let mut good = BTreeSet::new();
    for bad in bad_frames(put) {
        let mut wire = Wire::connect(&farm.balancer.address);
        match bad.when {
            When::First => {}
            When::Unnamed => wire.write(&PREFACE),
            When::Greeted => {
                wire = Wire::native(&farm.balancer.address);
                wire.write(&frame(&put(1, bad.what), b"good"));
                wire.frame_of("delivered");
                good.insert(bad.what.to_owned());
            }
        }
        let peer = peer_of(&wire);
        for frame in refused_with(wire, &bad) {
            assert!(
                is_of(&frame, "refused") && frame["id"] == 9 && frame["code"] == bad.code,
                "{}: {frame}",
                bad.what
            );
        }
        wait_for_line(|| farm.log(), &["connection closed", &peer, bad.reason]);
        honest.go_on();
    }
    farm.wait_for_delivered(good.len() as u64 + honest.files());
    let stored = titles(farm.stored(0))
        .into_keys()
        .filter(|title| !title.starts_with("honest-"));
    assert_eq!(
        stored.collect::<BTreeSet<_>>(),
        good,
        "files before it are kept, and nothing else"
    );
}

#[test]
fn peers_that_are_not_clients_are_refused() {
    let farm = Farm::start(&[1]);
    for (role, code, reason) in [
        ("server", "forbidden", "takes no registrations"),
        ("balancer", "malformed", "client"),
    ] {
        let mut wire = Wire::connect(&farm.balancer.address);
        wire.write(&PREFACE);
        wire.0
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let hello = frame(
            &json!({"request_type": "hello", "role": role}).to_string(),
            b"",
        );
        let peer = peer_of(&wire);
        let bad = BadFrame {
            code,
            ..BadFrame::at(When::Unnamed, role, hello, reason)
        };
        refused_with(wire, &bad);
        wait_for_line(|| farm.log(), &["connection closed", &peer]);
    }
}

#[test]
fn bad_frames_at_a_server_are_refused_and_leave_nothing() {
    let lone = Served::start();
    let mut honest = link(&lone.role.address);
    let mut expected = BTreeSet::new();
    let hello_of = |role: &str| {
        frame(
            &json!({"request_type": "hello", "role": role}).to_string(),
            b"",
        )
    };
    let more = [
        BadFrame::at(
            When::Unnamed,
            "a client's hello",
            hello_of("client"),
            "from a balancer only",
        ),
        BadFrame::at(
            When::Unnamed,
            "a server's hello",
            hello_of("server"),
            "from a balancer only",
        ),
        BadFrame::at(
            When::Greeted,
            "a client's put",
            frame(&put(9, "bad"), b"content"),
            "`store`",
        ),
    ];
    for (place, bad) in bad_frames(store).into_iter().chain(more).enumerate() {
        let number = 100 + 2 * place as u64;
        let mut wire = Wire::connect(&lone.role.address);
        match bad.when {
            When::First => {}
            When::Unnamed => wire.write(&PREFACE),
            When::Greeted => {
                wire = link(&lone.role.address);
                wire.write(&frame(&store(number, bad.what), b"good"));
                wire.frame_of("stored");
                expected.insert(stored_name(number, bad.what));
            }
        }
        let peer = peer_of(&wire);
        for frame in refused_with(wire, &bad) {
            assert!(
                is_of(&frame, "not_stored") && frame["request_number"] == 9,
                "{}: {frame}",
                bad.what
            );
        }
        wait_for_line(|| lone.log(), &["connection closed", &peer, bad.reason]);
        honest.write(&frame(&store(number + 1, "honest"), b"honest"));
        honest.frame_of("stored");
        expected.insert(format!("{}_honest", number + 1));
    }
    assert_eq!(
        stored(&lone.files_dir())
            .into_keys()
            .collect::<BTreeSet<_>>(),
        expected
    );
    wait_until("no unfinished file to be left", || {
        lone.role.unfinished(&lone.files_dir()) == 0
    });
}

#[test]
fn a_file_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    let mut wire = Wire::native(&farm.balancer.address);
    for id in [1, 3, 5] {
        wire.write(&frame(&put(id, "large"), &vec![b'x'; 600 << 10]));
        let refused: Value = serde_json::from_str(&wire.frame_of("refused")).unwrap();
        assert_eq!(
            (&refused["id"], &refused["code"]),
            (&json!(id), &json!("too_large")),
            "{refused}"
        );
        let reason = refused["reason"].as_str().unwrap();
        assert!(
            reason.contains("600 KiB") && reason.contains("--queue-bytes"),
            "{reason}"
        );
        wire.write(&frame(&put(id + 1, "small"), b"small"));
        wire.frame_of("delivered");
    }
    // The content need not come: the declared size is enough. So much is not read past.
    wire.write(&frame_declaring(&put(7, "endless"), u64::MAX, b"some"));
    assert!(wire.frame_of("refused").contains("too_large"));
    let bye = wire.frame_of("bye");
    assert!(
        bye.contains("stopping") && bye.contains("connect again"),
        "{bye}"
    );
    assert_eq!(wire.rest(), b"");
    assert_eq!(
        farm.stored(0).into_values().collect::<Vec<_>>(),
        [b"small", b"small", b"small"]
    );
    assert_eq!(farm.status().accepted, 3);
}

#[test]
fn send_names_a_file_that_is_too_large_and_sends_the_others() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    // Of the second one more is still to come than is read past.
    for (large, small) in [(600 << 10, "small"), (100 << 20, "another")] {
        let file = fs::File::create(farm.dir.path().join("large")).unwrap();
        file.set_len(large).unwrap();
        fs::write(farm.dir.path().join(small), small).unwrap();
        let output = farm.send(&["large", small]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.contains("large") && errors.contains("--queue-bytes"),
            "{errors}"
        );
    }
    let stored: BTreeSet<_> = farm.stored(0).into_values().collect();
    assert_eq!(
        stored,
        BTreeSet::from([b"another".to_vec(), b"small".to_vec()])
    );
}

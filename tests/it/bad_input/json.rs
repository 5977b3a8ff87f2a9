//! Bad JSON closes its own connection, with a reason in the log, and costs no file.

use std::collections::BTreeMap;
use std::net::Shutdown;

use bilico::server::name::stored_name;
use bilico_testkit::{
    Farm, Served, Wire, frame, old_style_put, old_style_store, stored, wait_for_line, wait_until,
};

use super::json_cases::{BadJson, MAX_JSON, bad_json, nested, of_length};
use super::peers::{Honest, link, offer, peer_of, store, titles};

#[test]
fn bad_json_at_the_balancer_closes_only_its_connection() {
    let farm = Farm::with(&[1], &[], &["--max-json", "100KiB"]);
    let mut honest = Honest::connect(&farm);
    let mut expected = BTreeMap::new();
    let unknown = BadJson {
        what: "an unknown request type",
        bytes: br#"{"request_type": "dance"}"#.to_vec(),
        reason: "unknown request type",
    };
    for BadJson {
        what,
        bytes,
        reason,
    } in bad_json().into_iter().chain([unknown])
    {
        let mut wire = Wire::connect(&farm.balancer.address);
        for n in 0..2 {
            let title = format!("{what} {n}");
            wire.write(old_style_put(&title, what).as_bytes());
            expected.insert(title, what.as_bytes().to_vec());
        }
        offer(&mut wire, &bytes);
        if reason == "ended in the middle" {
            wire.0.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(wire.rest(), b"", "{what}: nothing is sent back");
        wait_for_line(
            || farm.log(),
            &["connection closed", &peer_of(&wire), reason],
        );
        honest.go_on();
    }
    farm.wait_for_delivered(expected.len() as u64 + honest.files());
    let mut stored = titles(farm.stored(0));
    stored.retain(|title, _| !title.starts_with("honest-"));
    assert_eq!(stored, expected, "all before it are kept, and nothing else");
}

/// An unknown field must be valid, too.
#[test]
fn bytes_that_are_not_utf8_close_the_connection() {
    let farm = Farm::start(&[1]);
    for (what, bytes) in [
        (
            "in an unknown field",
            &b"{\"x\": \"\xff\", \"titolo\": \"x\", \"contenuto\": \"y\", \"request_type\": \"file_di_testo\"}"[..],
        ),
        (
            "in an unknown key",
            b"{\"\xff\": 1, \"titolo\": \"x\", \"contenuto\": \"y\", \"request_type\": \"file_di_testo\"}",
        ),
    ] {
        let mut wire = Wire::connect(&farm.balancer.address);
        wire.write(bytes);
        // If the object was accepted, this is just a silent connection.
        wire.0.shutdown(Shutdown::Write).unwrap();
        wire.rest();
        wait_until(&format!("bytes that are not UTF-8 {what} to be judged"), || {
            farm.status().accepted > 0 || farm.log().contains(&peer_of(&wire))
        });
        assert_eq!(farm.status().accepted, 0, "not UTF-8 {what}, and taken");
    }
}

#[test]
fn json_at_its_limits_is_accepted() {
    let farm = Farm::with(&[1], &[], &["--max-json", "100KiB"]);
    let mut wire = Wire::connect(&farm.balancer.address);
    wire.write(nested(128).as_bytes());
    wire.write(of_length("full.json", MAX_JSON).as_bytes());
    let long_title = "t".repeat(4096);
    wire.write(old_style_put(&long_title, "long").as_bytes());
    wire.write(
        b"  \r\n\t{\"request_type\": \"file\", \"title\": \"English\", \"content\": \"yes\"}\n\n",
    );
    farm.wait_for_delivered(4);
    let stored = farm.stored(0);
    assert_eq!(stored["1_deep.json"], b"deep");
    assert_eq!(
        stored["2_full.json"].len(),
        MAX_JSON - old_style_put("full.json", "").len()
    );
    assert_eq!(stored[&stored_name(3, &long_title)], b"long");
    assert_eq!(stored["4_English"], b"yes");
}

#[test]
fn bad_json_at_a_server_closes_only_its_connection() {
    let lone = Served::with(&["--max-json", "100KiB"]);
    let mut honest = link(&lone.role.address);
    let mut expected = BTreeMap::new();
    let no_number = BadJson {
        what: "no number",
        bytes: old_style_put("x", "y").into_bytes(),
        reason: "without `numero_richiesta`",
    };
    let bad_number = BadJson {
        what: "a number that is none",
        bytes: old_style_store(0, "x", "y")
            .replace(": 0}", ": -1}")
            .into_bytes(),
        reason: "invalid value",
    };
    for (
        place,
        BadJson {
            what,
            bytes,
            reason,
        },
    ) in bad_json()
        .into_iter()
        .chain([no_number, bad_number])
        .enumerate()
    {
        let number = 2 * place as u64 + 1;
        let mut wire = Wire::connect(&lone.role.address);
        wire.write(old_style_store(number, what, what).as_bytes());
        expected.insert(stored_name(number, what), what.as_bytes().to_vec());
        offer(&mut wire, &bytes);
        if reason == "ended in the middle" {
            wire.0.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(wire.rest(), b"", "{what}: nothing is sent back");
        wait_for_line(
            || lone.log(),
            &["connection closed", &peer_of(&wire), reason],
        );
        honest.write(&frame(&store(number + 1, "honest"), b"honest"));
        honest.frame_of("stored");
        expected.insert(format!("{}_honest", number + 1), b"honest".to_vec());
    }
    wait_until("all good files to be stored", || {
        stored(&lone.files_dir()).len() >= expected.len()
    });
    assert_eq!(stored(&lone.files_dir()), expected);
    // A stored file is closed a moment after it has got its name.
    wait_until("no unfinished file to be left", || {
        lone.role.unfinished(&lone.files_dir()) == 0
    });
}

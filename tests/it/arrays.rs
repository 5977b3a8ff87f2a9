//! JSON arrays in place of objects: refused wherever JSON is read.

use std::fs;

use serde_json::json;

use bilico_testkit::{Farm, Wire, bilico, frame, http, run};

const EXPECTED: &str = "expected an object, found an array";

#[test]
fn no_array_passes_for_a_message_an_order_or_a_payload() {
    let farm = Farm::without_servers(&[1]);
    // The values of a `put`, in the order in which the fields are declared.
    let mut wire = Wire::native(&farm.balancer.address);
    let mut values = vec![json!("put"), json!(1), json!(null), json!("title")];
    values.resize(18, json!(null));
    wire.write(&frame(&json!(values).to_string(), b"x"));
    let bye = wire.frame_of("bye");
    assert!(bye.contains(EXPECTED), "{bye}");

    for (method, path, body) in [
        (
            "PATCH",
            format!("/api/v1/servers/{}", farm.servers[0].address),
            json!([7, false]),
        ),
        (
            "POST",
            "/api/v1/servers".to_owned(),
            json!(["127.0.0.1:9", 3]),
        ),
    ] {
        let answer = http(&farm.balancer, method, &path, Some(&body));
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.text().contains(EXPECTED), "{answer:?}");
    }
    let status = farm.status();
    assert_eq!(
        (
            status.accepted,
            status.servers.len(),
            status.servers[0].weight
        ),
        (0, 1, 1)
    );

    fs::write(
        farm.dir.path().join("a.json"),
        r#"["file_di_testo", "title", "content", 1]"#,
    )
    .unwrap();
    let args = [
        "send",
        "--json-payload",
        "--balancer",
        &farm.balancer.address,
        "a.json",
    ];
    let ended = run(bilico(&args).current_dir(farm.dir.path()), "");
    assert!(
        ended.code == Some(1) && ended.stderr.contains(EXPECTED),
        "{ended:?}"
    );

    fs::write(
        farm.dir.path().join("receipts"),
        "[\"a\", \"a\", \"k\", 1, null, \"delivered\"]\n",
    )
    .unwrap();
    let args = ["verify", "--receipts", "receipts", "json_files_1"];
    let ended = run(bilico(&args).current_dir(farm.dir.path()), "");
    assert!(
        ended.code == Some(1) && ended.stderr.contains(EXPECTED),
        "{ended:?}"
    );
}

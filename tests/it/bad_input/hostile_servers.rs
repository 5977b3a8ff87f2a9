//! Servers that answer what nobody asked: their link ends, and nothing grows.

use std::io::Write;

use bilico_testkit::{
    Farm, Wire, message, pretend_server, start_balancer, start_server, wait_until,
};
use serde_json::{Value, json};

/// A farm of a server that says this on its links for as long as it is read from, and an honest one.
fn farm_with(said: &Value) -> Farm {
    let said = message(said).repeat(1000);
    let hostile = pretend_server(
        None,
        move |mut wire: Wire| {
            while wire.0.write_all(&said).is_ok() {}
        },
    );
    let dir = tempfile::tempdir().unwrap();
    let honest = start_server(dir.path(), 1, &[]);
    let specs = [format!("{hostile}=1"), format!("{}=1", honest.address)];
    let balancer = start_balancer(dir.path(), &specs, &["--probe-interval", "100ms"]);
    Farm {
        servers: vec![honest],
        balancer,
        dir,
    }
}

#[test]
fn answers_for_files_that_were_not_sent_end_the_link_and_cost_nothing() {
    for said in [
        json!({"request_type": "stored", "request_number": 7}),
        json!({"request_type": "not_stored", "request_number": 7, "code": "busy", "reason": "x"}),
        json!({"request_type": "dropped", "request_number": 7}),
    ] {
        let farm = farm_with(&said);
        wait_until("the link to end", || {
            let reason = farm.server_status(0).reason.unwrap_or_default();
            reason.contains("answers for file 7")
        });
        let folder = farm.dir.path().join("to_send");
        std::fs::create_dir(&folder).unwrap();
        for file in 0..50 {
            std::fs::write(folder.join(format!("{file}.txt")), file.to_string()).unwrap();
        }
        let output = farm.send(&["-r", folder.to_str().unwrap()]);
        assert!(output.status.success(), "{said}: {output:?}");
        assert_eq!(farm.stored(0).len(), 50, "{said}");
        let (memory, log) = (farm.balancer.resident(), farm.log().len());
        assert!(memory < 100 << 20, "{said}: {memory} bytes of memory");
        assert!(log < 1 << 20, "{said}: {log} bytes of log");
    }
}

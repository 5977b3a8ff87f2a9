//! A server that answers every probe and acknowledges nothing: the age of its oldest file shows it,
//! and it must not be tried with many files again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bilico_testkit::{
    Client, Farm, frame, pretend_server, start_balancer, start_server, wait_for_line, wait_until,
};

const IDENTITY: &str = "00112233445566778899aabbccddeeff";

/// The files that a silent server has got, by link.
#[derive(Clone, Default)]
struct Heard {
    links: Arc<AtomicUsize>,
    /// The link and the number of each file.
    files: Arc<Mutex<Vec<(usize, u64)>>>,
}

/// A server that reads files, never acknowledges them, and lists none.
fn silent_server() -> (String, Heard) {
    let heard = Heard::default();
    let ours = heard.clone();
    let address = pretend_server(Some(IDENTITY), move |mut wire| {
        let link = ours.links.fetch_add(1, Ordering::Relaxed) + 1;
        wire.write(&frame(r#"{"request_type":"holding","last":true}"#, b""));
        while let Some((header, _)) = wire.message() {
            if header["request_type"] == "store" {
                ours.files
                    .lock()
                    .unwrap()
                    .push((link, header["request_number"].as_u64().unwrap()));
            }
        }
    });
    (address, heard)
}

/// With files coming all the time, each of them restarted the timer, and the first files waited for
/// as long as others came.
#[test]
fn a_server_that_acknowledges_nothing_is_found_out_while_files_keep_coming() {
    let dir = tempfile::tempdir().unwrap();
    let (address, heard) = silent_server();
    let good = start_server(dir.path(), 1, &[]);
    let specs = [address.clone(), good.address.clone()];
    let balancer = start_balancer(dir.path(), &specs, &["--stall-timeout", "2s"]);
    let farm = Farm {
        servers: vec![good],
        balancer,
        dir,
    };
    farm.wait_until_up();
    let mut client = Client::connect(&farm.balancer.address);
    let (mut sent, began) = (0, Instant::now());
    wait_until(
        "the oldest file to have told on the server, while files keep coming",
        || {
            sent += 1;
            client.put(sent, None, b"x");
            farm.server_status(0).returned > 0
        },
    );
    let found_after = began.elapsed();
    assert!(
        found_after < Duration::from_secs(15),
        "it is found out by the first file, not when traffic ends: {found_after:?}"
    );
    assert!(found_after >= Duration::from_secs(2), "{found_after:?}");
    wait_for_line(
        || farm.log(),
        &["server ineligible", &address, "acknowledged nothing", "2s"],
    );
    // It is tried again later, with one file at a time.
    wait_until("another link", || {
        sent += 1;
        client.put(sent, None, b"x");
        heard.links.load(Ordering::Relaxed) > 1
            && heard
                .files
                .lock()
                .unwrap()
                .iter()
                .any(|(link, _)| *link > 1)
    });
    let again = began.elapsed();
    assert!(
        again >= found_after + Duration::from_secs(4),
        "it is left alone for a while: {again:?}"
    );
    for _ in 0..20 {
        sent += 1;
        client.put(sent, None, b"x");
    }
    wait_until("everything to be delivered", || {
        farm.status().delivered == sent
    });
    let files = heard.files.lock().unwrap();
    let on_trial = files.iter().filter(|(link, _)| *link == 2).count();
    assert_eq!(on_trial, 1, "one file is tried: {files:?}");
    assert_eq!(farm.stored(0).len() as u64, sent);
}

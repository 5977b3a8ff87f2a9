//! No transfer depends on a free thread of the pool that all share: each test gives a role four
//! threads that may block, and more transfers than that.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bilico::admin::AdminLimits;
use bilico::balancer::BalancerConfig;
use bilico::server::{Server, ServerConfig};
use bilico_testkit::{
    Balancer, Client, Role, Wire, frame, noise, put, start_server, stored, wait_until,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::in_process::{InProcess, runtime, settings_with};

const THREADS: usize = 4;

/// A balancer with four threads, and its server.
fn balancer(dir: &TempDir) -> (InProcess, Role) {
    let servers = [start_server(dir.path(), 1, &[])];
    let config = BalancerConfig {
        settings: settings_with(&servers),
        ..BalancerConfig::default()
    };
    let limits = AdminLimits::default();
    let balancer = InProcess::on(runtime(THREADS), dir.path(), config, limits);
    let [server] = servers;
    (balancer, server)
}

/// Half of the time after which a peer that stalls is closed, and gives its thread back.
const SOON: Duration = Duration::from_secs(15);

/// Writes the head of a frame with content of `size` bytes, and only the first `come` bytes of it.
fn begin(wire: &mut Wire, header: &str, size: usize, come: usize) {
    let whole = frame(header, &vec![b'x'; size]);
    wire.write(&whole[..whole.len() - size - 4 + come]);
}

/// Each upload took a thread, and then waited for a sync on another one.
#[test]
fn large_uploads_at_once_get_their_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let (balancer, _server) = balancer(&dir);
    let content = noise(1, 17 << 20);
    std::thread::scope(|scope| {
        for _ in 0..3 * THREADS {
            scope.spawn(|| {
                let mut client = Client::connect(&balancer.address);
                client.put_accepted(1, None, &content);
                client.expect("delivered", 1);
            });
        }
    });
    assert_eq!(stored(&dir.path().join("json_files_1")).len(), 3 * THREADS);
}

/// Each upload that trickled took a thread, and no content was read from the journal.
#[test]
fn uploads_that_trickle_hold_up_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let (balancer, _server) = balancer(&dir);
    let mut trickling: Vec<Wire> = (0..3 * THREADS)
        .map(|_| Wire::native(&balancer.address))
        .collect();
    for wire in &mut trickling {
        begin(wire, &put(1, "trickles"), 1_000_000, 100_000);
    }
    // Their first pieces are written by now.
    let journal = dir.path().join("journal");
    wait_until("the trickling uploads to have their parts", || {
        let names = std::fs::read_dir(&journal).unwrap().filter_map(Result::ok);
        let parts = names.filter(|name| name.file_name().as_encoded_bytes().starts_with(b"part-"));
        parts.count() >= THREADS
    });
    let began = Instant::now();
    let mut client = Client::connect(&balancer.address);
    client.put_accepted(1, None, &noise(1, 300_000));
    client.expect("delivered", 1);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    drop(trickling);
}

/// The same at a file server.
#[test]
fn stores_that_stall_hold_up_no_other_file() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, stop) = (runtime(THREADS), CancellationToken::new());
    let config = ServerConfig {
        dir: dir.path().to_owned(),
        stall: SOON * 2,
        grace: Duration::ZERO,
        ..ServerConfig::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let entered = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let server = Server::open(config).unwrap();
    let running = runtime.spawn(server.run(listener, stop.clone()));
    drop(entered);

    let link = || {
        let mut balancer = Balancer::greet(&address, None);
        balancer.0.greeting();
        balancer
    };
    let mut stalling: Vec<Balancer> = (0..3 * THREADS).map(|_| link()).collect();
    let store =
        |number| format!(r#"{{"request_type":"store","request_number":{number},"title":"x"}}"#);
    for (number, balancer) in (2..).zip(&mut stalling) {
        begin(&mut balancer.0, &store(number), 1_000_000, 300_000);
    }
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    link().put(1, &noise(1, 400_000));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert_eq!(stored(dir.path()).len(), 1);
    drop(stalling);
    stop.cancel();
    runtime.block_on(running).unwrap().unwrap();
}

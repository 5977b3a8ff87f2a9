//! Connections of which nobody knows who they are.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bilico_testkit::run;

use super::Locked;

/// How long a silent connection stays, within a bound.
fn stays(address: &str, bound: Duration) -> Option<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(bound)).unwrap();
    let began = Instant::now();
    let ended = stream.read(&mut [0]);
    ended.ok().map(|_| began.elapsed())
}

/// Old-style clients connect long before they have anything to say; all others say at once who they
/// are, or are not kept.
#[test]
fn who_says_nothing_is_closed_within_seconds_unless_it_need_not_say_who_it_is() {
    let locked = Locked::start();
    let address = &locked.balancer.address;
    let silent = stays(address, Duration::from_secs(15)).expect("it is closed");
    assert!(silent > Duration::from_secs(9), "{silent:?}");

    let mut mapped = Locked::start();
    mapped.user("tills", "sender");
    mapped.balancer.stop();
    let balancer = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--journal",
        "other",
        "--server",
        &*mapped.server.address,
        "--auth",
        "required",
        "--users",
        "users.json",
        "--old-style-from",
        "127.0.0.0/8=tills",
    ];
    let tills = bilico_testkit::Role::start(mapped.dir.path(), &balancer);
    assert_eq!(stays(&tills.address, Duration::from_secs(12)), None);
    // It is for old-style clients only: the native ones still say who they are.
    std::fs::write(mapped.path("a.txt"), "x").unwrap();
    let send = ["send", "a.txt", "--balancer", &*tills.address];
    let refused = run(
        bilico_testkit::bilico(&send).current_dir(mapped.dir.path()),
        "",
    );
    assert_eq!(refused.code, Some(1), "{refused:?}");
}

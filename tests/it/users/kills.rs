//! A balancer that is killed while users register.

use std::time::Duration;

use bilico_testkit::{Running, wait_until};

use super::{Locked, secret_file};

/// Whenever the balancer dies, a code is either good still or has made its user: never both, and
/// never neither.
#[test]
fn a_kill_during_a_registration_leaves_the_code_or_the_user() {
    let mut locked = Locked::start();
    for attempt in 0..12 {
        let name = format!("user-{attempt}");
        let invite = ["user", "invite", &name, "--users", "users.json"];
        let code = locked.printed(None, &invite);
        secret_file(&locked.path("code"), code.trim());
        let register = [
            "register",
            "--user",
            &name,
            "--code-file",
            "code",
            "--password-file",
            "password",
        ];
        let running = Running::start(&mut locked.command(None, &register));
        std::thread::sleep(Duration::from_millis(2 + 4 * attempt));
        locked.balancer.kill();
        let told = running.end();
        locked.balancer.restart();
        wait_until("the server to be up", || {
            locked.http(None, "GET", "/ready").status == 200
        });
        let login = ["login", "--user", &name, "--password-file", "password"];
        let is_there = locked.run(None, &[&login[..], &["--print"]].concat()).code == Some(0);
        assert!(is_there || told.code != Some(0), "{name}: {told:?}");
        let again = locked.run(None, &register);
        assert_eq!(again.code == Some(0), !is_there, "{name}: {again:?}");
    }
}

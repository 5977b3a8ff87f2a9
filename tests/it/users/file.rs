//! The users file: what is refused at the start, and what happens to it while the balancer runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use bilico_testkit::{bilico, run, wait_for_line};

use super::{Locked, PASSWORD, secret_file};

/// Starts a balancer on the users file of this directory, and gives what it complains of.
#[track_caller]
fn refused(dir: &std::path::Path) -> String {
    let ended = run(
        bilico(&["balancer", "--listen", "127.0.0.1:0", "--admin", "none"])
            .args(["--server", "127.0.0.1:1=1", "--auth", "required"])
            .args(["--users", "users.json"])
            .current_dir(dir),
        "",
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    ended.stderr
}

#[test]
fn a_balancer_does_not_start_on_a_users_file_that_is_not_sound() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("users.json");
    let said = refused(dir.path());
    assert!(
        said.contains("there is no users file users.json: `bilico user add"),
        "{said}"
    );
    secret_file(&dir.path().join("password"), PASSWORD);
    let added = run(
        bilico(&[
            "user",
            "add",
            "root",
            "--role",
            "admin",
            "--users",
            "users.json",
        ])
        .args(["--password-file", "password"])
        .current_dir(dir.path()),
        "",
    );
    assert_eq!(added.code, Some(0), "{added:?}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains(PASSWORD) && text.contains("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{text}"
    );
    fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
    let said = refused(dir.path());
    assert!(
        said.contains("(mode 0604): `chmod 600 users.json`"),
        "{said}"
    );
    secret_file(&path, &text[..text.len() - 40]);
    let said = refused(dir.path());
    assert!(said.contains("is damaged: line "), "{said}");
    fs::rename(&path, dir.path().join("moved")).unwrap();
    symlink("moved", &path).unwrap();
    let said = refused(dir.path());
    assert!(said.contains("links are not followed"), "{said}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let said = refused(dir.path());
    assert!(said.contains("is no regular file"), "{said}");
}

#[test]
fn damage_while_the_balancer_runs_changes_nothing_and_is_told() {
    let locked = Locked::start();
    let root = locked.login("root");
    let path = locked.path("users.json");
    let text = fs::read_to_string(&path).unwrap();
    secret_file(&path, "{");
    wait_for_line(
        || locked.log(),
        &["the users as they were read last stay", "damaged"],
    );
    assert_eq!(locked.http(Some(&root), "GET", "/api/v1/users").status, 200);
    let refused = locked.refused(Some(&root), &["user", "invite", "anna"]);
    assert!(refused.contains("is damaged"), "{refused}");
    secret_file(&path, &text);
    wait_for_line(|| locked.log(), &["the users were read again"]);
    locked.printed(Some(&root), &["user", "invite", "anna"]);
}

/// Commands on the file and the balancer change it at the same time: no change is lost.
#[test]
fn commands_and_the_balancer_change_the_file_together() {
    let locked = Locked::start();
    let root = locked.login("root");
    std::thread::scope(|scope| {
        for place in 0..4 {
            let (locked, root) = (&locked, &root);
            scope.spawn(move || {
                for n in 0..5 {
                    let name = format!("user-{place}-{n}");
                    let args = ["user", "invite", &name, "--users", "users.json"];
                    // Half of them over the balancer.
                    let args = if place % 2 == 0 {
                        &args[..]
                    } else {
                        &args[..3]
                    };
                    locked.printed(Some(root), args);
                }
            });
        }
    });
    let listed = locked.printed(Some(&root), &["user", "list"]);
    assert_eq!(listed.matches("invited until").count(), 20, "{listed}");
}

/// Whatever a kill interrupts, the file is the one before or the one after, and a code that was used
/// is used.
#[test]
fn a_killed_balancer_leaves_users_that_can_log_in() {
    let mut locked = Locked::start();
    let mut invited = Vec::new();
    for n in 0..6 {
        let name = format!("user-{n}");
        let code = locked.printed(None, &["user", "invite", &name, "--users", "users.json"]);
        invited.push((name, code.trim().to_owned()));
    }
    for (n, (name, code)) in invited.iter().enumerate() {
        secret_file(&locked.path("code"), code);
        let args = [
            "register",
            "--user",
            name,
            "--code-file",
            "code",
            "--password-file",
            "password",
        ];
        let registering = bilico_testkit::Running::start(&mut locked.command(None, &args));
        std::thread::sleep(std::time::Duration::from_millis(10 * n as u64));
        locked.balancer.kill();
        let _ = registering.end();
        locked.balancer.restart();
        // It is registered, or still invited.
        let login = [
            "login",
            "--user",
            name,
            "--password-file",
            "password",
            "--print",
        ];
        let logged_in = locked.run(None, &login).code == Some(0);
        let registered = locked.run(None, &args).code == Some(0);
        assert_ne!(logged_in, registered, "{name}");
    }
}

#[test]
fn the_last_administrator_cannot_go() {
    let locked = Locked::start();
    let root = locked.login("root");
    for order in [
        &["user", "remove", "root"][..],
        &["user", "disable", "root"],
        &["user", "role", "root", "viewer"],
    ] {
        let said = locked.refused(Some(&root), order);
        assert!(said.contains("`root` is the last administrator"), "{said}");
    }
}

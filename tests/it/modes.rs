//! Who may read what the roles leave on a disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bilico_testkit::{Farm, Role, bilico_through, noise, start_balancer};

/// The permissions of a directory and of all that lies in it, by path.
fn modes(of: &Path) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut left = vec![of.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(of).unwrap().to_str().unwrap().to_owned();
        found.insert(name, metadata.permissions().mode() & 0o777);
        if metadata.is_dir() {
            left.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    found
}

/// A role that is started with the most permissive mask.
fn unmasked(dir: &Path, args: &[&str]) -> Role {
    let command = masked("000");
    Role::launch(command, dir, args).unwrap()
}

/// The program, started with this mask.
fn masked(mask: &str) -> Command {
    let script = format!("umask {mask}; exec \"$0\" \"$@\"");
    bilico_through(&["sh", "-c", &script])
}

/// A farm whose roles have the most permissive mask.
fn farm(server_flags: &[&str]) -> Farm {
    let dir = tempfile::tempdir().unwrap();
    let mut args = vec!["server", "--listen", "127.0.0.1:0", "--dir", "made/files"];
    args.extend(server_flags);
    let server = unmasked(dir.path(), &args);
    let spec = format!("{}=1", server.address);
    let balancer = [
        "balancer",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--server",
        &spec,
        "--journal",
        "made/journal",
    ];
    let balancer = unmasked(dir.path(), &balancer);
    let farm = Farm {
        servers: vec![server],
        balancer,
        dir,
    };
    farm.wait_until_up();
    farm
}

fn send_some(farm: &Farm) {
    farm.write("small", "content");
    farm.write("large", noise(1, 3 << 20));
    let output = farm.send(&["small", "large", "--receipts", "receipts.jsonl"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn nobody_else_may_read_files_journal_index_and_receipts() {
    let farm = farm(&[]);
    send_some(&farm);
    let found = modes(farm.dir.path());
    for (name, mode) in &found {
        let path = farm.dir.path().join(name);
        let wanted = match (name.as_str(), path.is_dir()) {
            // What the test made itself.
            ("" | "small" | "large", _) => continue,
            ("logs", _) => 0o750,
            (log, false) if log.starts_with("logs/") => 0o640,
            // The test client has the test's mask, which takes nothing from this.
            (_, true) => 0o700,
            (_, false) => 0o600,
        };
        assert_eq!(format!("{mode:o}"), format!("{wanted:o}"), "{name}");
    }
    for name in [
        "made/journal/lock",
        "made/files/.bilico-index",
        "receipts.jsonl",
        "logs/balancer.log",
    ] {
        assert!(found.contains_key(name), "no {name} in {found:?}");
    }
}

#[test]
fn stored_files_are_readable_by_those_whom_the_flag_names_whatever_the_mask() {
    for (who, file, directory) in [("group", 0o640, 0o750), ("all", 0o644, 0o755)] {
        let dir = tempfile::tempdir().unwrap();
        let args = [
            "server",
            "--listen",
            "127.0.0.1:0",
            "--dir",
            "files",
            "--readable-by",
            who,
        ];
        let server = Role::launch(masked("077"), dir.path(), &args).unwrap();
        let balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &[]);
        let farm = Farm {
            servers: vec![server],
            balancer,
            dir,
        };
        farm.wait_until_up();
        send_some(&farm);
        let found = modes(&farm.dir.path().join("files"));
        assert_eq!(found[""], directory, "{who}");
        assert_eq!(found[".bilico-index"], 0o600, "{who}");
        let stored: Vec<u32> = found
            .iter()
            .filter(|(name, _)| name.contains('_'))
            .map(|(_, mode)| *mode)
            .collect();
        assert_eq!(stored, [file, file], "{who}");
    }
}

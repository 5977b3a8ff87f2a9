//! A server whose directory cannot be used: files go to other servers until it is repaired.

use std::fs;
use std::io::Write;
use std::path::Path;

use bilico_testkit::{
    Farm, Mount, Role, mount, start_balancer, start_server, stored, wait_for_line, wait_until,
};

/// A balancer over two servers, the first of which stores in this directory.
fn farm_storing_in(dir: tempfile::TempDir, first: &Path) -> Farm {
    let first = Role::start(
        dir.path(),
        &[
            "server",
            "--listen",
            "127.0.0.1:0",
            "--dir",
            first.to_str().unwrap(),
        ],
    );
    let servers = vec![first, start_server(dir.path(), 2, &[])];
    let specs: Vec<String> = servers
        .iter()
        .map(|server| format!("{}=1", server.address))
        .collect();
    let balancer = start_balancer(dir.path(), &specs, &[]);
    Farm {
        servers,
        balancer,
        dir,
    }
}

/// The first server cannot write its index: it gets no files, and says why. After the repair it
/// gets files.
fn gets_nothing_until_repaired(farm: &Farm, first: &Path, reason: &str, repair: impl FnOnce()) {
    wait_until("the other server to be up", || {
        farm.server_status(1).eligible
    });
    wait_until("the reason to be known", || {
        farm.server_status(0)
            .reason
            .is_some_and(|text| text.contains(reason))
    });
    let mut sent = send_some(farm);
    assert_eq!(
        (
            farm.server_status(0).delivered,
            farm.server_status(1).delivered
        ),
        (0, sent)
    );
    repair();
    wait_until("it to get files", || {
        sent += send_some(farm);
        farm.server_status(0).delivered > 0
    });
    assert_eq!(farm.status().delivered, sent);
    assert!(!stored(first).is_empty());
}

/// Sends 20 small files and one that is written to disk as it comes; all must be delivered.
fn send_some(farm: &Farm) -> u64 {
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..20 {
        fs::write(folder.join(file.to_string()), vec![b'x'; 1000]).unwrap();
    }
    fs::write(folder.join("large"), vec![b'x'; 300_000]).unwrap();
    let output = farm.send(&["-r", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    21
}

/// The first server cannot store files: they go to the other server, and it says why. After the
/// repair it gets files again.
fn goes_elsewhere_until_repaired(
    farm: &mut Farm,
    first: &Path,
    reason: &str,
    repair: impl FnOnce(),
) {
    let before = farm.server_status(0).delivered;
    let mut sent = farm.status().delivered;
    sent += send_some(farm);
    assert_eq!(farm.status().delivered, sent);
    assert_eq!(
        farm.server_status(0).delivered,
        before,
        "it cannot have stored any"
    );
    wait_for_line(|| farm.server_log(0), &["cannot store", reason]);
    wait_for_line(
        || farm.log(),
        &["came back", &farm.servers[0].address, reason],
    );
    let flip = wait_for_line(
        || farm.log(),
        &["server ineligible", &farm.servers[0].address, "storage"],
    );
    assert!(flip.contains(reason), "{flip}");
    assert!(farm.server_status(0).returned > 0);

    repair();
    wait_until("it to get files again", || {
        sent += send_some(farm);
        farm.server_status(0).delivered > before
    });
    wait_for_line(
        || farm.log(),
        &["server recovered", &farm.servers[0].address, "storage"],
    );
    assert_eq!(farm.status().delivered, sent);
    let stored: Vec<(String, Vec<u8>)> = stored(first).into_iter().chain(farm.stored(1)).collect();
    for (name, content) in stored {
        let length = if name.ends_with("_large") {
            300_000
        } else {
            1000
        };
        assert!(
            name.starts_with("ballast") || content == vec![b'x'; length],
            "{name} is not whole"
        );
    }
    wait_until("no unfinished file to be left", || {
        farm.servers[0].unfinished(first) == 0
    });
}

#[test]
fn files_go_elsewhere_when_a_servers_directory_is_removed_and_it_ends() {
    let mut farm = Farm::start(&[1, 1]);
    let mut sent = send_some(&farm);
    fs::remove_dir_all(farm.server_dir(0)).unwrap();
    sent += send_some(&farm);
    wait_until("the server to end", || farm.servers[0].ended().is_some());
    assert_eq!(farm.servers[0].ended().unwrap().code(), Some(6));
    wait_for_line(
        || farm.server_log(0),
        &[
            "ERROR",
            "json_files_1",
            "while the server ran",
            "the server stops",
        ],
    );
    assert_eq!(farm.status().delivered, sent);
    let before = farm.server_status(0).delivered;
    farm.servers[0].restart();
    wait_until("it to get files again", || {
        sent += send_some(&farm);
        farm.server_status(0).delivered > before
    });
    assert_eq!(farm.status().delivered, sent);
}

#[test]
fn files_go_elsewhere_while_a_servers_directory_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("in_the_way");
    fs::write(&in_the_way, "a file").unwrap();
    let files = in_the_way.join("json_files");
    let farm = farm_storing_in(dir, &files);
    wait_for_line(
        || farm.server_log(0),
        &["cannot use the directory", "in_the_way"],
    );
    gets_nothing_until_repaired(&farm, &files, "ot a directory", || {
        fs::remove_file(&in_the_way).unwrap();
        fs::create_dir_all(&files).unwrap();
    });
}

#[test]
fn files_go_elsewhere_while_a_servers_disk_is_full() {
    let Some(disk) = Mount::tmpfs("4m") else {
        return;
    };
    let ballast = disk.path().join("ballast");
    let mut filling = fs::File::create(&ballast).unwrap();
    while filling.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    // A file that is open keeps its room on the disk after its removal.
    drop(filling);
    let farm = farm_storing_in(tempfile::tempdir().unwrap(), disk.path());
    gets_nothing_until_repaired(&farm, disk.path(), "o space left", || {
        fs::remove_file(&ballast).unwrap();
    });
}

#[test]
fn files_go_elsewhere_while_a_servers_directory_is_read_only() {
    let Some(disk) = Mount::tmpfs("4m") else {
        return;
    };
    let mut farm = farm_storing_in(tempfile::tempdir().unwrap(), disk.path());
    farm.wait_until_up();
    assert!(mount(&["-o", "remount,ro"], disk.path()));
    goes_elsewhere_until_repaired(&mut farm, disk.path(), "Read-only", || {
        assert!(mount(&["-o", "remount,rw"], disk.path()));
    });
}

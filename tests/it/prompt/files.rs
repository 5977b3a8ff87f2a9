//! The folder of files, and balancers that come and go.

use std::fs;

use bilico_testkit::{
    Farm, PROMPT, Role, Running, bilico, run, start_server, status, stored, wait_until,
};

use super::helpers::{client, terminal_with, write};

#[test]
fn a_balancer_that_cannot_be_reached_is_exit_code_3_with_a_remedy() {
    // A port that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for command in ["FTP 2\n", "status\n", "send till-receipt.json\n"] {
        let ended = run(&mut client(&address), command);
        assert_eq!(ended.code, Some(3), "{command:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(&address),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("\nhint: "), "{ended:?}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn a_folder_without_files_or_no_folder_is_an_error_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    fs::create_dir(dir.path().join("only-a-folder")).unwrap();
    fs::create_dir(dir.path().join("only-a-folder/below")).unwrap();
    write(dir.path(), "a-file", "");
    for folder in ["empty", "only-a-folder", "missing", "a-file"] {
        let ended = run(
            bilico(&["client", "--files", folder]).current_dir(dir.path()),
            "",
        );
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(folder),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains("hint: ") && ended.stderr.contains("--files"),
            "{ended:?}"
        );
    }
}

/// Editors put dangling links beside the files that they have open.
#[test]
fn a_dangling_link_does_not_spoil_the_folder() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    write(&folder, "a.txt", "a");
    std::os::unix::fs::symlink("nobody@nowhere:1", folder.join(".#a.txt")).unwrap();
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        "files",
    ];
    let ended = run(bilico(&args).current_dir(farm.dir.path()), "FTP 3\n");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(farm.status().delivered, 3);
}

#[test]
fn payloads_are_unwrapped_and_all_other_files_go_byte_for_byte() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    let every_byte: Vec<u8> = (0..=255).collect();
    write(&folder, "notes.bin", &every_byte);
    write(&folder, "list.json", "[1, 2,\n 3]");
    write(&folder, "broken.json", "{\"title\": \"x\", \"content\": ");
    write(&folder, "untitled.json", r#"{"content": "no title"}"#);
    write(
        &folder,
        "italiano.json",
        r#"{"titolo": "perché.json", "contenuto": "così \u00e8 \"la\" vita\n"}"#,
    );
    write(
        &folder,
        "payload.txt",
        r#"{"title": "not unwrapped", "content": "it is no .json"}"#,
    );
    write(&folder, "empty.json", "");
    let args = ["client", "--balancer", &farm.balancer.address];
    let names =
        "notes.bin list.json broken.json untitled.json italiano.json payload.txt empty.json";
    let mut command = bilico(&args);
    // The folder can also be named in the environment.
    command
        .env("BILICO_FILES", "files")
        .current_dir(farm.dir.path());
    let ended = run(&mut command, &format!("send {names}\n"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let stored = farm.all_stored();
    for (number, name) in names.split(' ').enumerate() {
        let (stored_name, expected) = match name {
            "italiano.json" => ("perché.json", "così è \"la\" vita\n".as_bytes().to_vec()),
            raw => (raw, fs::read(folder.join(raw)).unwrap()),
        };
        assert_eq!(
            stored[&format!("{}_{stored_name}", number + 1)],
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_file_that_was_removed_since_is_named_and_the_others_go() {
    let farm = Farm::start(&[1]);
    let folder = farm.dir.path().join("files");
    write(&folder, "gone.txt", "a");
    write(&folder, "here.txt", "b");
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        "files",
    ];
    let mut running = Running::start(bilico(&args).current_dir(farm.dir.path()));
    running.write("ls\n");
    running.wait_for_output("gone.txt");
    fs::remove_file(folder.join("gone.txt")).unwrap();
    running.write("FTP 40\n");
    let ended = running.end();
    assert_eq!(ended.code, Some(1), "{:?}", ended.code);
    assert!(ended.stderr.contains("error: gone.txt"), "{ended:?}");
    let delivered = farm.status().delivered;
    assert!(
        ended
            .stdout
            .contains(&format!("{delivered} accepted, {delivered} delivered")),
        "{ended:?}"
    );
    assert!(
        farm.all_stored()
            .keys()
            .all(|name| name.ends_with("_here.txt"))
    );
}

#[test]
fn the_prompt_goes_on_after_a_restart_of_the_balancer() {
    let mut farm = Farm::without_servers(&[2, 1]);
    let mut terminal = terminal_with(&farm, &["--retry", "2s"]);
    terminal.enter("FTP 4");
    terminal.expect("accepted 4");
    farm.balancer.kill();
    terminal.expect("reconnecting …");
    terminal.expect("error: ");
    let shown = terminal.expect(PROMPT);
    assert!(shown.contains("lost"), "{shown}");
    farm.servers = vec![start_server(farm.dir.path(), 1, &[])];
    let specs = [format!("{}=1", farm.servers[0].address)];
    let mut flags = vec!["balancer", "--listen", &farm.balancer.address];
    flags.extend(["--server", &specs[0]]);
    let balancer = Role::start(farm.dir.path(), &flags);
    wait_until("the server to be up", || {
        status(&balancer.address).servers[0].eligible
    });
    terminal.enter("FTP 2");
    terminal.expect("2 accepted, 2 delivered");
    wait_until("what the first one accepted to arrive, too", || {
        stored(&farm.server_dir(0)).len() == 6
    });
}

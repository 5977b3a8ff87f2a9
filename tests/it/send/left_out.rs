//! What is left out of directories: it is named, the rest goes on, and the exit code says so.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use bilico_testkit::{Farm, bilico, run};

use super::helpers::{make_pipe, objects, send};

/// A directory with two files, a link to a directory with two others, and what is no file.
fn tree(farm: &Farm) {
    for file in ["perm/a", "perm/sub/b", "tree/1", "tree/2"] {
        farm.write(file, file);
    }
    farm.write("h.txt", "h");
    let at = |name: &str| farm.dir.path().join(name);
    for (to, link) in [
        ("../h.txt", "perm/link.txt"),
        ("../tree", "perm/folder"),
        ("..", "perm/sub/up"),
    ] {
        symlink(to, at(link)).unwrap();
    }
    make_pipe(farm, "perm/pipe");
    drop(UnixListener::bind(at("perm/socket")).unwrap());
}

fn titles(farm: &Farm) -> Vec<String> {
    let mut titles: Vec<String> = farm
        .all_stored()
        .into_keys()
        .map(|name| name.split_once('_').unwrap().1.replace("%2F", "/"))
        .collect();
    titles.sort();
    titles
}

/// `bilico send -r` once said nothing of links and pipes, and ended with 0.
#[test]
fn links_and_special_files_are_named_and_counted_and_the_rest_is_sent() {
    let farm = Farm::start(&[1]);
    tree(&farm);
    let ended = send(&farm, &["-r", "perm"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.starts_with("2 accepted, 2 delivered"),
        "{ended:?}"
    );
    let expected = "\
error: perm/folder: not sent: it is a symbolic link
error: perm/link.txt: not sent: it is a symbolic link
error: perm/pipe: not sent: it is a fifo
error: perm/socket: not sent: it is a socket
error: perm/sub/up: not sent: it is a symbolic link
error: 3 links, 1 fifo and 1 socket left out
hint: --follow sends what links lead to; --skip-links leaves links out without an error
";
    assert_eq!(ended.stderr, expected);
    assert_eq!(titles(&farm), ["a", "sub/b"]);

    let ended = send(&farm, &["-r", "perm", "--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let objects = objects(&ended.stdout);
    let skipped: Vec<_> = objects
        .iter()
        .filter(|object| object["state"] == "skipped")
        .map(|object| format!("{} {} {}", object["path"], object["kind"], object["reason"]))
        .collect();
    assert_eq!((objects.len(), skipped.len()), (7, 5), "{ended:?}");
    assert_eq!(skipped[2], r#""perm/pipe" "fifo" "it is a fifo""#);
}

#[test]
fn links_that_are_skipped_on_purpose_are_no_failure() {
    let farm = Farm::start(&[1]);
    tree(&farm);
    for other in ["pipe", "socket"] {
        fs::remove_file(farm.dir.path().join("perm").join(other)).unwrap();
    }
    let ended = send(&farm, &["-r", "perm", "--skip-links"]);
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(0), "note: 3 links left out\n"),
        "{ended:?}"
    );
    let quiet = send(&farm, &["-qr", "perm", "--skip-links", "perm/link.txt"]);
    assert_eq!((quiet.code, &*quiet.stderr), (Some(0), ""), "{quiet:?}");
    assert_eq!(titles(&farm), ["a", "a", "sub/b", "sub/b"]);
    let both = send(&farm, &["-r", "perm", "--skip-links", "--follow"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn links_are_followed_on_demand_and_circles_end() {
    let farm = Farm::start(&[1]);
    tree(&farm);
    let ended = send(&farm, &["-r", "perm", "--follow"]);
    assert_eq!(ended.code, Some(1), "the pipe and the socket: {ended:?}");
    assert!(
        ended.stderr.ends_with(
            "note: 1 link back to its own directory left out\nerror: 1 fifo and 1 socket left out\n"
        ),
        "{ended:?}"
    );
    assert_eq!(
        titles(&farm),
        ["a", "folder/1", "folder/2", "link.txt", "sub/b"]
    );
    // A link that somebody names is what they want to send.
    let ended = send(&farm, &["-r", "perm/link.txt", "perm/folder"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
}

/// Run as somebody who may do everything, it has nothing to show: an ordinary user's run does.
#[test]
fn an_unreadable_directory_keeps_nothing_else_from_being_sent() {
    let farm = Farm::start(&[1]);
    for file in ["perm/a", "perm/sub/b", "perm/z"] {
        farm.write(file, file);
    }
    let sub = farm.dir.path().join("perm/sub");
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o0)).unwrap();
    let is_closed = fs::read_dir(&sub).is_err();
    let ended = send(&farm, &["-r", "perm"]);
    fs::set_permissions(&sub, fs::Permissions::from_mode(0o700)).unwrap();
    if is_closed {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let expected = "\
error: perm/sub: not sent: Permission denied (os error 13)
error: 1 unreadable directory left out
";
        assert_eq!(ended.stderr, expected);
        assert_eq!(titles(&farm), ["a", "z"]);
    }
}

#[test]
fn many_are_named_up_to_a_bound_and_counted_all() {
    let farm = Farm::start(&[1]);
    farm.write("top/a", "a");
    for link in 0..500 {
        symlink("a", farm.dir.path().join(format!("top/link{link}"))).unwrap();
    }
    let ended = send(&farm, &["-r", "top"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 23, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("error: … and 480 more entries not sent\nerror: 500 links left out\n"),
        "{ended:?}"
    );
}

#[test]
fn the_prompt_tells_the_same() {
    let farm = Farm::start(&[1]);
    tree(&farm);
    let prompt = |input: &str| {
        let address = &farm.balancer.address;
        let mut command = bilico(&["client", "--balancer", address, "--files", "tree"]);
        run(command.current_dir(farm.dir.path()), input)
    };
    let ended = prompt("send -r perm 1\n");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stdout.contains("3 accepted, 3 delivered"),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .contains("error: 3 links, 1 fifo and 1 socket left out"),
        "{ended:?}"
    );
    let ended = prompt("send perm\nsend -\n");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("error: perm is a directory\nhint: send -r perm")
            && ended
                .stderr
                .contains("error: the prompt reads its commands from standard input"),
        "{ended:?}"
    );
    assert_eq!(titles(&farm), ["1", "a", "sub/b"]);
}

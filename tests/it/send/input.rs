//! Standard input as a file.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::process::Stdio;

use bilico_testkit::{Farm, Running, noise, run, wait_until};

use super::helpers::{command, objects, send};

#[test]
fn what_comes_through_a_pipe_is_a_file() {
    let farm = Farm::start(&[1]);
    for (number, (args, title)) in [
        (&["-"][..], "stdin"),
        (&["-", "--title", "dump 17.sql"], "dump 17.sql"),
        (&["-", "--key-prefix", "k/"], "stdin"),
    ]
    .into_iter()
    .enumerate()
    {
        let ended = run(&mut command(&farm, args), "over a pipe\n");
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        assert!(ended.stdout.contains("  - → "), "{ended:?}");
        let name = format!("{}_{title}", number + 1);
        assert_eq!(farm.all_stored()[&name], b"over a pipe\n");
    }
    // The same command again, the same content: it is there already. Other content is a conflict.
    let again = run(
        &mut command(&farm, &["-", "--key-prefix", "k/"]),
        "over a pipe\n",
    );
    assert_eq!(again.code, Some(0), "{again:?}");
    let other = run(
        &mut command(&farm, &["-", "--key-prefix", "k/"]),
        "something else\n",
    );
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.starts_with("error: -: refused: "), "{other:?}");
    assert_eq!(farm.all_stored().len(), 3);
    farm.write("beside.txt", "b");
    let receipts = ["-", "beside.txt", "--json", "--receipts", "receipts"];
    let ended = run(&mut command(&farm, &receipts), "x");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let paths: Vec<_> = objects(&ended.stdout)
        .into_iter()
        .map(|object| object["path"].clone())
        .collect();
    assert_eq!(paths, ["-", "beside.txt"]);
}

/// A redirected file is sent from where it stands, as `cat` would.
#[test]
fn a_redirected_file_is_sent_from_where_it_stands() {
    let farm = Farm::start(&[1]);
    let content = noise(1, 5 * 1024 * 1024);
    farm.write("large", &content);
    for skipped in [0, 10] {
        let mut file = File::open(farm.dir.path().join("large")).unwrap();
        file.seek(SeekFrom::Start(skipped)).unwrap();
        let mut command = command(&farm, &["-"]);
        let output = command.stdin(Stdio::from(file)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let stored = farm.all_stored().into_values().next_back().unwrap();
        assert!(
            stored == content[usize::try_from(skipped).unwrap()..],
            "{skipped}"
        );
    }
    let dir = File::open(farm.dir.path()).unwrap();
    let output = command(&farm, &["-"])
        .stdin(Stdio::from(dir))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("error: cannot read standard input: "),
        "{said}"
    );
}

/// The balancer dies in the middle: what was read of a pipe cannot be read again.
#[test]
fn a_lost_connection_takes_nothing_away() {
    let mut farm = Farm::start(&[1]);
    let content = "sixteen letters\n".repeat(4 * 1024 * 1024);
    let mut running = Running::start(&mut command(&farm, &["-", "--title", "big", "--json"]));
    running.write(&content);
    running.close_input();
    let parts = farm.dir.path().join("journal");
    let has_begun = || {
        let files = fs::read_dir(&parts).into_iter().flatten().flatten();
        files.into_iter().any(|file| {
            let size = file.metadata().map_or(0, |metadata| metadata.len());
            file.file_name().to_string_lossy().contains("part") && size > 0
        }) || farm.status().accepted > 0
    };
    wait_until("some of it to be there", has_begun);
    farm.balancer.kill();
    farm.balancer.restart();
    let ended = running.wait();
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    assert_eq!(objects(&ended.stdout)[0]["state"], "delivered", "{ended:?}");
    let stored = farm.all_stored();
    assert!(
        stored.len() == 1
            && stored
                .into_values()
                .all(|stored| stored == content.as_bytes())
    );
}

#[test]
fn an_empty_input_is_told_and_two_are_refused() {
    let farm = Farm::start(&[1]);
    let ended = send(&farm, &["-"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "warning: standard input was empty: an empty file is sent\n"
    );
    farm.write("top/a", "a");
    farm.write("top/b", "b");
    for (args, named) in [
        (&["-", "-"][..], "`-` is given twice"),
        (
            &["-", "top/a", "--title", "t"],
            "--title \"t\" is for one file, and there are 2 files",
        ),
        (&["-r", "top", "--title", "t"], "--title"),
        (&["-", "--title", "t", "--json-payload"], "--title"),
    ] {
        let ended = send(&farm, args);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(named), "{ended:?}");
    }
    farm.write("-", "a file of that name");
    assert_eq!(send(&farm, &["./-"]).code, Some(0));
    assert_eq!(farm.all_stored()["2_-"], b"a file of that name");
}

#[test]
fn an_interrupted_input_sends_nothing() {
    let farm = Farm::start(&[1]);
    let mut running = Running::start(&mut command(&farm, &["-"]));
    running.write("the beginning");
    let fds = format!("/proc/{}/fd", running.pid());
    wait_until("it to be kept", || {
        let links = fs::read_dir(&fds).unwrap().flatten();
        let kept = |path| fs::metadata(path).is_ok_and(|metadata| metadata.len() == 13);
        links.into_iter().any(|link| kept(link.path()))
    });
    running.signal("INT");
    let ended = running.wait();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert_eq!(ended.stderr, "error: interrupted; nothing was sent\n");
    assert_eq!(farm.status().accepted, 0);
}

/// Gone with the process: there is no name to clean up.
#[test]
fn what_is_kept_has_no_name() {
    let farm = Farm::start(&[1]);
    let temporary = farm.dir.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let mut command = command(&farm, &["-"]);
    let mut running = Running::start(command.env("TMPDIR", &temporary));
    running.write("x");
    running.signal("KILL");
    running.wait();
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let mut command = self::command(&farm, &["-"]);
    let ended = run(command.env("TMPDIR", farm.dir.path().join("nowhere")), "x");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("cannot keep standard input in ")
            && ended
                .stderr
                .contains("hint: TMPDIR names another directory"),
        "{ended:?}"
    );
}

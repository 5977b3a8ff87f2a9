//! What is taken, when, and what happens to it then.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use bilico_testkit::{Farm, wait_until};

use super::helpers::{
    command, drop_in, events, files, folder, handed_over, names, once, titles, watch,
};

#[test]
fn files_are_handed_over_and_moved_deleted_or_left_by_their_rules() {
    let farm = Farm::start(&[1, 1]);
    farm.write(
        "watch.toml",
        "[watch]\nrecursive = true\nafter = \"move\"\n\
         [[watch.rule]]\ninclude = \"*.log\"\nafter = \"delete\"\nuntil = \"accepted\"\n\
         [[watch.rule]]\ninclude = [\"stay/*\", \"*.keep\"]\nafter = \"leave\"\n\
         [[watch.rule]]\ninclude = \"*.pdf\"\nto = \"../pdfs\"\n",
    );
    for name in ["a.txt", "deep/er/b.txt", "c.log", "stay/d.txt", "e.pdf"] {
        drop_in(&farm, name, name);
    }
    for left in [".hidden", "x.tmp", "~$letter.docx", ".git/config", "y.part"] {
        drop_in(&farm, left, left);
    }
    let config = ["--config", "watch.toml"];
    let ended = once(&farm, &config);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(events(&ended.stdout, "handed_over").len(), 5, "{ended:?}");
    let stored = titles(&farm);
    assert_eq!(stored.len(), 5, "{stored:?}");
    let there = names(&folder(&farm));
    let expected = [
        ".git/config",
        ".hidden",
        "done/a.txt",
        "done/deep/er/b.txt",
        "stay/d.txt",
        "x.tmp",
        "y.part",
        "~$letter.docx",
    ];
    assert_eq!(there, expected);
    assert_eq!(names(&farm.dir.path().join("pdfs")), ["e.pdf"]);
    // Nothing is new.
    let again = once(&farm, &config);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(events(&again.stdout, "handed_over").len(), 0, "{again:?}");
    // A file that stays and is renamed is the same; one that is written to is new.
    let stay = folder(&farm).join("stay");
    fs::rename(stay.join("d.txt"), stay.join("renamed.txt")).unwrap();
    assert_eq!(events(&once(&farm, &config).stdout, "handed_over").len(), 0);
    fs::write(stay.join("renamed.txt"), "other").unwrap();
    let third = once(&farm, &config);
    assert_eq!(events(&third.stdout, "handed_over").len(), 1, "{third:?}");
    assert_eq!(titles(&farm).values().map(Vec::len).sum::<usize>(), 6);
}

#[test]
fn a_file_is_taken_when_its_writer_has_done() {
    let farm = Farm::start(&[1]);
    for poll in [false, true] {
        let mut args = vec!["--settle", "600ms", "--after", "delete"];
        if poll {
            args.push("--poll=100ms");
        }
        let watcher = watch(&farm, &args);
        watcher.wait_for_output("\"started\"");
        let name = format!("slow-{poll}");
        let mut file = File::create(folder(&farm).join(&name)).unwrap();
        for step in 0..12 {
            writeln!(file, "line {step}").unwrap();
            std::thread::sleep(Duration::from_millis(150));
        }
        drop(file);
        let said = watcher.wait_for_output(&handed_over(&name));
        assert!(!said.contains("changed"), "{said}");
        let content = titles(&farm)[&name].clone();
        assert_eq!(content.len(), 1);
        assert!(content[0].ends_with(b"line 11\n"));
        watcher.signal("TERM");
        let ended = watcher.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(events(&ended.stdout, "ended")[0]["files"], 1);
    }
}

#[test]
fn what_is_renamed_into_place_is_taken_at_once() {
    let farm = Farm::start(&[1]);
    let watcher = watch(&farm, &["--settle", "1h", "-r"]);
    watcher.wait_for_output("\"started\"");
    drop_in(&farm, "whole", "x");
    watcher.wait_for_output(&handed_over("whole"));
    // In a folder that came later, too: first what was in it, then what came.
    let new = farm.dir.path().join("folder");
    fs::create_dir(&new).unwrap();
    fs::rename(&new, folder(&farm).join("folder")).unwrap();
    wait_until("the new folder to be watched", || {
        static TRIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = TRIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        drop_in(&farm, &format!("folder/{n}"), "y");
        titles(&farm).len() > 1
    });
}

#[test]
fn a_file_that_is_replaced_again_and_again_is_handed_over_as_it_was_each_time() {
    let farm = Farm::start(&[1]);
    let watcher = watch(&farm, &["--after", "delete"]);
    watcher.wait_for_output("\"started\"");
    let mut last = String::new();
    for round in 0..30 {
        last = format!("round {round}");
        drop_in(&farm, "till.csv", &last);
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(30));
        }
    }
    wait_until("the folder to be empty", || {
        names(&folder(&farm)).is_empty()
    });
    drop(watcher);
    let stored = &titles(&farm)["till.csv"];
    let mut seen = stored.clone();
    seen.sort();
    seen.dedup();
    assert_eq!(
        seen.len(),
        stored.len(),
        "no round is stored twice: {stored:?}"
    );
    assert!(stored.contains(&last.into_bytes()));
}

#[test]
fn a_file_with_a_marker_waits_for_it() {
    let farm = Farm::start(&[1]);
    let watcher = watch(
        &farm,
        &[
            "--done-suffix",
            ".done",
            "--settle",
            "1h",
            "--after",
            "delete",
        ],
    );
    watcher.wait_for_output("\"started\"");
    drop_in(&farm, "scan.pdf", "x");
    drop_in(&farm, "other.pdf", "y");
    std::thread::sleep(Duration::from_millis(300));
    assert!(titles(&farm).is_empty());
    fs::write(folder(&farm).join("scan.pdf.done"), "").unwrap();
    watcher.wait_for_output(&handed_over("scan.pdf"));
    wait_until("file and marker to be gone", || {
        names(&folder(&farm)) == ["other.pdf"]
    });
    assert_eq!(titles(&farm).len(), 1);
}

#[test]
fn a_watcher_waits_for_its_balancer_and_says_so_once() {
    let mut farm = Farm::start(&[1]);
    farm.balancer.kill();
    let watcher = watch(&farm, &[]);
    drop_in(&farm, "a", "a");
    watcher.wait_for_output("\"waiting\"");
    drop_in(&farm, "b", "b");
    std::thread::sleep(Duration::from_millis(1500));
    farm.balancer.restart();
    watcher.wait_for_output(&handed_over("b"));
    let said = watcher.wait_for_output(&handed_over("a"));
    assert_eq!(events(&said, "waiting").len(), 1, "{said}");
    assert_eq!(events(&said, "resumed").len(), 1, "{said}");
    farm.balancer.kill();
    drop_in(&farm, "c", "c");
    let ended = once(&farm, &["--state", "../other", "--retry", "1s"]);
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("another `bilico watch` has it"),
        "{ended:?}"
    );
    drop(watcher);
    let ended = once(&farm, &["--retry", "500ms"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert_eq!(names(&folder(&farm)), ["c", "done/a", "done/b"]);
    assert_eq!(names(&folder(&farm)).len(), 3);
}

#[test]
fn a_watcher_with_nothing_to_do_does_nothing() {
    let farm = Farm::start(&[1]);
    for n in 0..500 {
        drop_in(&farm, &format!("f{n}"), "x");
    }
    for poll in [false, true] {
        let mut args = vec!["--settle", "0s", "--after", "leave"];
        if poll {
            args.extend(["--poll=1s"]);
        }
        let watcher = watch(&farm, &args);
        wait_until("all to be handed over", || titles(&farm).len() == 500);
        std::thread::sleep(Duration::from_millis(500));
        let used = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", watcher.pid())).unwrap();
            let fields: Vec<u64> = stat
                .rsplit_once(") ")
                .unwrap()
                .1
                .split(' ')
                .skip(11)
                .take(2)
                .map(|f| f.parse().unwrap())
                .collect();
            fields[0] + fields[1]
        };
        let (before, started) = (used(), Instant::now());
        std::thread::sleep(Duration::from_secs(3));
        let hundredths = used() - before;
        let most = started.elapsed().as_secs() * 10;
        assert!(
            hundredths <= most,
            "{hundredths} hundredths of a second, polling: {poll}"
        );
        drop(watcher);
    }
    assert_eq!(files(&folder(&farm)).len(), 500);
}

#[test]
fn a_wrong_command_line_says_what_is_wrong() {
    let farm = Farm::start(&[1]);
    for (args, wanted) in [
        (&["--rule", "after=delete"][..], "a rule needs `include`"),
        (&["--include", "[a"], "is no pattern"),
        (&["--until", "never"], "accepted, delivered"),
        (&["--done-suffix", "a/b"], "expected the end of a name"),
    ] {
        let ended = bilico_testkit::run(&mut command(&farm, args), "");
        assert_eq!(ended.code, Some(2), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains(wanted), "{args:?}: {ended:?}");
    }
    farm.write(
        "bad.toml",
        "[[watch.rule]]\ninclude = \"*\"\nafterwards = \"x\"\n",
    );
    let ended = bilico_testkit::run(&mut command(&farm, &["--config", "bad.toml"]), "");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("did you mean `after`?"), "{ended:?}");
}

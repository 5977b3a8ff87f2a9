//! Titles: whatever they hold, files stay inside the directory and lines of the log stay lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bilico::server::name::stored_name;
use bilico_testkit::{Farm, Wire, frame, old_style_put, put, wait_for_line};
use serde_json::json;

/// Titles that could harm a path, a terminal or a log.
fn nasty_titles(outside: &Path) -> Vec<String> {
    let forged = "x\r\n2026-11-21T06:27:00.123Z INFO  delivered number=4711 server=forged";
    let titles = [
        "",
        "../../etc/passwd",
        "..\\..\\windows\\system.ini",
        "/etc/passwd",
        "a/b/c",
        "nul\0byte",
        "\r\n",
        forged,
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31m\u{85}\u{7f}",
        "gpj.\u{202e}exe",
        "\u{feff}\u{2028}\u{2029}\u{2066}",
        ".",
        "..",
        "...",
        "~",
        "-rf",
        "🚚🇮🇹 città.json",
        "trailing dot.",
        "trailing space ",
        " leading space",
        "COM1",
        ".bilico-1-1.part",
        "%2e%2e%2f",
        "$(reboot)`reboot`;|&*?",
    ];
    let mut titles: Vec<String> = titles.into_iter().map(str::to_owned).collect();
    titles.push(outside.to_str().unwrap().to_owned());
    titles.push("x".repeat(300));
    titles.push(format!("{}.json", "è".repeat(150)));
    titles.push("/".repeat(4096));
    titles
}

/// All files and directories below a directory, without the logs.
fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

/// Checks that a log has one line for each event and no control characters.
fn check_log(log: &str) {
    for line in log.lines() {
        let is_time = |start: &str| start.ends_with('Z') && start.as_bytes()[10] == b'T';
        assert!(
            line.get(..24).is_some_and(is_time),
            "no time at the beginning of {line:?}"
        );
    }
    let bad = |c: &char| {
        (c.is_control() && *c != '\n')
            || ('\u{2028}'..='\u{202e}').contains(c)
            || "\u{feff}\u{2066}".contains(*c)
    };
    assert_eq!(log.chars().find(bad), None);
    let forged = log
        .lines()
        .find(|line| line.contains(" delivered number=4711") && !line.contains("title="));
    assert_eq!(forged, None);
}

#[test]
fn titles_stay_inside_the_directory_and_are_logged_escaped() {
    let farm = Farm::start(&[1]);
    let outside = farm.dir.path().join("outside.json");
    let titles = nasty_titles(&outside);
    let mut native = Wire::native(&farm.balancer.address);
    let mut json = Wire::connect(&farm.balancer.address);
    let mut expected = BTreeMap::new();
    let mut number = 0;
    for title in &titles {
        let header = json!({"request_type": "put", "id": 1, "title": title}).to_string();
        native.write(&frame(&header, title.as_bytes()));
        native.frame_of("delivered");
        json.write(old_style_put(title, title).as_bytes());
        number += 2;
        farm.wait_for_delivered(number);
        expected.insert(stored_name(number - 1, title), title.as_bytes().to_vec());
        expected.insert(stored_name(number, title), title.as_bytes().to_vec());
    }
    assert_eq!(farm.stored(0), expected);
    let inside = farm.server_dir(0);
    for path in tree(farm.dir.path()) {
        let below = path.strip_prefix(farm.dir.path()).unwrap();
        let known = ["json_files_1", "logs", "journal"]
            .iter()
            .any(|dir| below.starts_with(dir));
        assert!(known, "{} is outside", path.display());
        assert!(
            !path.starts_with(&inside) || path == inside || path.is_file(),
            "{}",
            path.display()
        );
    }
    assert_eq!(
        tree(&inside).len(),
        expected.len() + 1,
        "the files and the server's index"
    );
    assert!(!outside.exists());
    wait_for_line(|| farm.log(), &["delivered", &format!("number={number}")]);
    check_log(&farm.log());
    wait_for_line(
        || farm.server_log(0),
        &["stored", &format!("number={number}")],
    );
    check_log(&farm.server_log(0));
}

/// A title and a content that together exceed the queue's limit never fit, so the client must not
/// wait.
#[test]
fn a_title_that_makes_a_file_too_large_is_refused_at_once() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    let mut wire = Wire::native(&farm.balancer.address);
    let title = "t".repeat(1000);
    let most = 512 * 1024 - 768;
    for (id, size, answer) in [
        (1, most, "refused"),
        (2, most - 999, "refused"),
        (3, most - 1000, "accepted"),
    ] {
        wire.write(&frame(&put(id, &title), &vec![b'x'; size]));
        let heard = wire.frame_of(answer);
        assert!(heard.contains(&format!(r#""id":{id}"#)), "{heard}");
    }
    wire.frame_of("delivered");
}

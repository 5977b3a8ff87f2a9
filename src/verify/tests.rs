//! Every finding, with directories and receipts made by hand.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::client::receipts::{Receipt, State};
use crate::server::name::{beside, part_name, stored_name};

/// Two servers' directories and a file of receipts.
struct Scene {
    dir: TempDir,
    lines: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("0")).unwrap();
        fs::create_dir(dir.path().join("1")).unwrap();
        Self {
            dir,
            lines: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn stored(&self, server: usize, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(server.to_string()).join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A receipt for a file of this content; the title is the key, unless another one is set.
    fn receipt(
        &mut self,
        state: State,
        number: impl Into<Option<u64>>,
        title: &str,
        content: &str,
    ) {
        let receipt = receipt(state, number.into(), title, content);
        self.add(&receipt);
    }

    fn add(&mut self, receipt: &Receipt) {
        self.lines
            .push(serde_json::to_string(receipt).unwrap() + "\n");
    }

    fn ledger(&self) -> PathBuf {
        let path = self.path("receipts");
        fs::write(&path, self.lines.concat()).unwrap();
        path
    }

    fn verify(&self, others: bool) -> Report {
        verify(&[self.ledger()], &[self.path("0"), self.path("1")], others).unwrap()
    }

    /// How many findings of each kind there are: missing, double, differing, unexpected, partial.
    fn findings(&self, others: bool) -> [usize; 5] {
        self.verify(others)
            .kinds()
            .map(|(_, findings)| findings.len())
    }
}

fn receipt(state: State, number: Option<u64>, title: &str, content: &str) -> Receipt {
    Receipt {
        path: format!("dir/{title}"),
        title: title.to_owned(),
        key: format!("{title}-{}", number.unwrap_or(0)),
        size: Some(content.len() as u64),
        hash: Some(blake3::hash(content.as_bytes())),
        crc32c: None,
        state,
        sent: None,
        number,
        server: None,
        confirmed: None,
        reason: None,
        change: None,
    }
}

const CLEAN: [usize; 5] = [0; 5];

#[test]
fn what_is_there_once_and_whole_is_clean() {
    let mut scene = Scene::new();
    let long = "x/".repeat(300);
    for (number, title) in (1..).zip(["a.json", "", "~2", "a~2.json", "è/../b", &long]) {
        scene.stored(
            usize::from(number % 2 == 0),
            &stored_name(number, title),
            title,
        );
        scene.receipt(
            if number == 1 {
                State::Accepted
            } else {
                State::Delivered
            },
            number,
            title,
            title,
        );
    }
    scene.receipt(State::Unreadable, None, "gone", "gone");
    scene.receipt(State::Refused, None, "large", "large");
    scene.receipt(State::Dead, 99, "dead", "dead");
    scene.stored(0, ".bilico", "the server's own");
    scene.stored(0, ".bilico-journal", "the server's own");
    fs::create_dir(scene.path("0/a directory")).unwrap();
    let report = scene.verify(false);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(
        (report.receipts, report.files, report.stored, report.absent),
        (9, 6, 6, 0)
    );
}

#[test]
fn missing_double_and_differing_files_are_told_with_their_receipts() {
    let mut scene = Scene::new();
    scene.receipt(State::Delivered, 1, "missing", "x");
    scene.receipt(State::Accepted, 2, "missing, too", "x");
    scene.receipt(State::Delivered, 3, "double.txt", "x");
    let double = [
        scene.stored(0, "3_double.txt", "x"),
        scene.stored(1, "3_double.txt", "x"),
    ];
    scene.receipt(State::Delivered, 4, "beside.txt", "x");
    scene.stored(0, "4_beside.txt", "x");
    scene.stored(0, "4_beside~2.txt", "x");
    scene.receipt(State::Delivered, 5, "differing", "x");
    let differing = scene.stored(1, "5_differing", "y");
    scene.receipt(State::Delivered, 6, "one of two differs", "x");
    scene.stored(0, "6_one of two differs", "y");
    scene.stored(0, "6_one of two differs~2", "x");
    let report = scene.verify(false);
    let claims = |findings: &[Finding]| -> Vec<Option<u64>> {
        findings
            .iter()
            .map(|finding| finding.receipt.as_ref().and_then(|claim| claim.number))
            .collect()
    };
    assert_eq!(claims(&report.missing), [Some(1), Some(2)]);
    assert_eq!(claims(&report.double), [Some(3), Some(4)]);
    assert_eq!(claims(&report.differing), [Some(5), Some(6)]);
    assert_eq!(
        (
            report.double[0].files.as_slice(),
            &report.differing[0].files[0]
        ),
        (&double[..], &differing)
    );
    assert_eq!(
        (report.stored, report.unexpected.len(), report.is_clean()),
        (3, 0, false)
    );
}

#[test]
fn copies_of_names_that_were_cut_are_copies() {
    let mut scene = Scene::new();
    for title in [
        "x".repeat(300) + ".json",
        "è".repeat(200),
        "注/".repeat(100),
    ] {
        let name = stored_name(7, &title);
        assert!(name.len() > 250);
        scene.lines.clear();
        scene.receipt(State::Delivered, 7, &title, "x");
        let paths = [
            scene.stored(0, &name, "x"),
            scene.stored(0, &beside(&name, 2), "x"),
        ];
        assert_eq!(scene.findings(false), [0, 1, 0, 0, 0]);
        scene.lines.clear();
        scene.receipt(State::Unknown, None, &title, "x");
        assert_eq!(scene.findings(false), [0, 1, 0, 0, 0]);
        for path in paths {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn what_no_receipt_speaks_of_is_unexpected_unless_it_is_of_others() {
    let mut scene = Scene::new();
    scene.receipt(State::Delivered, 1, "a", "a");
    scene.stored(0, "1_a", "a");
    for name in [
        "2_a",
        "1_b",
        "no number",
        "01_a",
        ".hidden",
        "99999999999999999999999_a",
    ] {
        scene.stored(1, name, "a");
    }
    let report = scene.verify(false);
    assert_eq!((report.unexpected.len(), report.stored), (6, 1));
    let report = scene.verify(true);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.others, report.stored), (6, 1));
}

#[test]
fn temporary_files_are_partial() {
    let scene = Scene::new();
    scene.stored(0, &part_name(1, 1), "ha");
    assert_eq!(scene.findings(false), [0, 0, 0, 0, 1]);
    assert_eq!(scene.findings(true), [0, 0, 0, 0, 1]);
}

#[test]
fn what_should_not_be_there_is_unexpected() {
    let mut scene = Scene::new();
    scene.receipt(State::Dead, 1, "dead", "x");
    scene.receipt(State::Refused, None, "refused", "x");
    scene.receipt(State::Unreadable, None, "unreadable", "x");
    scene.receipt(State::Delivered, 5, "refused", "x");
    scene.stored(0, "5_refused", "x");
    assert_eq!(scene.findings(false), CLEAN);
    for name in ["1_dead", "2_refused", "3_unreadable"] {
        scene.stored(0, name, "x");
    }
    let report = scene.verify(false);
    let told = report
        .unexpected
        .iter()
        .map(|finding| finding.receipt.as_ref().unwrap().state);
    assert_eq!(
        told.collect::<Vec<_>>(),
        [State::Dead, State::Refused, State::Unreadable]
    );
    // Without a number it may be another client's; a dead letter's number is its own.
    assert_eq!(scene.findings(true), [0, 0, 0, 1, 0]);
}

#[test]
fn unknown_and_forgotten_files_may_be_there_once() {
    let mut scene = Scene::new();
    scene.receipt(State::Unknown, None, "unknown.txt", "u");
    scene.receipt(State::Forgotten, 3, "forgotten.txt", "f");
    let report = scene.verify(false);
    assert!(report.is_clean());
    assert_eq!((report.stored, report.absent), (0, 2));
    scene.stored(0, "2_unknown.txt", "u");
    scene.stored(0, "3_forgotten.txt", "f");
    let report = scene.verify(false);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.stored, report.absent), (2, 0));
    scene.stored(1, "4_unknown~2.txt", "u");
    scene.stored(1, "3_forgotten.txt", "f");
    assert_eq!(scene.findings(false), [0, 2, 0, 0, 0]);
    scene.stored(1, "5_unknown.txt", "other content");
    scene.stored(1, "3_forgotten~2.txt", "other content");
    assert_eq!(scene.findings(false), [0, 2, 1, 1, 0]);
}

#[test]
fn two_unknown_files_of_one_title_and_content_may_be_there_twice() {
    let mut scene = Scene::new();
    for key in ["one", "two"] {
        scene.add(&Receipt {
            key: key.to_owned(),
            ..receipt(State::Unknown, None, "a", "x")
        });
    }
    scene.receipt(State::Delivered, 1, "a", "x");
    for name in ["1_a", "2_a", "3_a"] {
        scene.stored(0, name, "x");
    }
    let report = scene.verify(false);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.stored, report.absent), (3, 0));
    scene.stored(1, "4_a", "x");
    assert_eq!(scene.findings(false), [0, 1, 0, 0, 0]);
    assert_eq!(scene.findings(true), CLEAN, "it may be another client's");
}

/// A client that was killed, or ended early, has not read all of what it was to send.
#[test]
fn an_unknown_file_whose_content_was_never_read_is_known_by_its_title() {
    let mut scene = Scene::new();
    scene.add(&Receipt {
        size: None,
        hash: None,
        ..receipt(State::Unknown, None, "a", "")
    });
    scene.stored(0, "9_a", "whatever");
    assert_eq!(scene.findings(false), CLEAN);
}

#[test]
fn later_lines_of_a_key_supersede_earlier_ones() {
    let with_key = |state, number, content: &str| Receipt {
        key: "k".to_owned(),
        ..receipt(state, number, "a", content)
    };
    let mut scene = Scene::new();
    scene.add(&with_key(State::Unknown, None, "old"));
    scene.add(&with_key(State::Accepted, Some(1), "old"));
    scene.add(&with_key(State::Delivered, Some(1), "old"));
    scene.stored(0, "1_a", "old");
    let report = scene.verify(false);
    assert!(report.is_clean() && report.receipts == 1, "{report:?}");
    // A later run that learned nothing takes nothing back.
    scene.add(&with_key(State::Unknown, None, "new"));
    scene.add(&with_key(State::Unreadable, None, "new"));
    scene.add(&with_key(State::Refused, None, "new"));
    assert_eq!(scene.findings(false), CLEAN);
    // One that was told that the file is there has not read it.
    scene.add(&Receipt {
        hash: None,
        ..with_key(State::Delivered, Some(1), "old")
    });
    assert_eq!(scene.findings(false), CLEAN);
    scene.stored(0, "1_a", "bad");
    assert_eq!(scene.findings(false), [0, 0, 1, 0, 0]);
}

#[test]
fn two_journals_may_give_one_number_to_files_of_one_title() {
    let mut scene = Scene::new();
    for (key, content) in [("one", "x"), ("two", "y"), ("three", "x")] {
        scene.add(&Receipt {
            key: key.to_owned(),
            ..receipt(State::Delivered, Some(1), "a", content)
        });
    }
    scene.stored(0, "1_a", "y");
    scene.stored(0, "1_a~2", "x");
    scene.stored(1, "1_a", "x");
    assert_eq!(scene.findings(false), CLEAN);
    fs::remove_file(scene.path("0/1_a~2")).unwrap();
    assert_eq!(scene.findings(false), [1, 0, 0, 0, 0]);
}

#[test]
fn a_torn_last_line_is_passed_over_and_any_other_bad_line_is_named() {
    let mut scene = Scene::new();
    scene.receipt(State::Delivered, 1, "a", "a");
    scene.stored(0, "1_a", "a");
    let line = scene.lines[0].clone();
    for torn in 1..line.len() - 1 {
        scene.lines.truncate(1);
        scene.lines.push(line[..torn].to_owned());
        let report = scene.verify(false);
        assert!(
            report.is_clean() && report.notes.len() == 1 && report.notes[0].contains("line 2"),
            "{report:?}"
        );
    }
    for bad in ["\n", "{}\n", "nonsense\n", &"x".repeat(1 << 20)] {
        scene.lines = vec![line.clone(), bad.to_owned(), line.clone()];
        let error = verify(&[scene.ledger()], &[scene.path("0")], false).unwrap_err();
        assert!(
            matches!(error, VerifyError::Line { line: 2, .. }),
            "{error}"
        );
    }
    let no_number = line.replace(r#","number":1"#, "");
    assert_ne!(no_number, line);
    scene.lines = vec![no_number];
    let error = verify(&[scene.ledger()], &[scene.path("0")], false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("line 1: not a receipt: the `number` is missing"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_read_or_is_named_twice_is_an_error() {
    let scene = Scene::new();
    let (ledger, dir, gone) = (scene.ledger(), scene.path("0"), scene.path("gone"));
    let error = |receipts: &Path, dirs: &[PathBuf]| {
        verify(&[receipts.to_owned()], dirs, false).unwrap_err()
    };
    assert!(matches!(
        error(&gone, std::slice::from_ref(&dir)),
        VerifyError::Receipts { .. }
    ));
    assert!(matches!(
        error(&dir, std::slice::from_ref(&dir)),
        VerifyError::Receipts { .. }
    ));
    assert!(matches!(
        error(&ledger, &[dir.clone(), gone]),
        VerifyError::Dir { .. }
    ));
    assert!(matches!(
        error(&ledger, std::slice::from_ref(&ledger)),
        VerifyError::Dir { .. }
    ));
    assert!(matches!(
        error(&ledger, &[dir.clone(), dir.join("../0")]),
        VerifyError::Twice(_)
    ));
}

#[test]
fn many_files_are_hashed_by_several_threads_and_none_is_passed_over() {
    let mut scene = Scene::new();
    for number in 0..2000 {
        let content = number.to_string();
        scene.receipt(State::Delivered, number, "f", &content);
        scene.stored(
            usize::from(number % 3 == 0),
            &format!("{number}_f"),
            &content,
        );
    }
    let report = scene.verify(false);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.stored, 2000);
}

/// Links to a file that has the content are no copies of it, wherever they point.
#[test]
fn a_link_is_no_copy() {
    let mut scene = Scene::new();
    for number in [1, 2] {
        scene.receipt(State::Delivered, number, "x.json", "one");
    }
    let file = scene.stored(0, "1_x.json", "one");
    std::os::unix::fs::symlink(&file, scene.path("1").join("1_x.json")).unwrap();
    std::os::unix::fs::symlink(&file, scene.path("1").join("2_x.json")).unwrap();
    assert_eq!(
        scene.findings(false),
        [1, 0, 0, 0, 0],
        "the second one is missing, and the first one not double"
    );
}

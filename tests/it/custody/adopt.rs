//! `bilico queue adopt`: a copy goes on under a new identity.

use std::fs;
use std::path::Path;

use bilico_testkit::{Ended, Farm, bilico, noise, run, wait_until};

use super::helpers::{FILES, one_segment, refused};
use crate::journal::check;

fn adopt(journal: &Path) -> Ended {
    run(bilico(&["queue", "adopt"]).arg(journal), "")
}

fn copy_of(journal: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(journal).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A journal from a backup gave numbers that the server knew: it took new files for those that it
/// had.
#[test]
fn a_journal_from_a_backup_goes_on_once_it_is_adopted() {
    let mut farm = Farm::without_servers(&[1]);
    let mut client = farm.client();
    for id in 1..=3 {
        assert_eq!(client.put_accepted(id, None, &noise(id, 1000)), id);
    }
    farm.balancer.kill();
    let (journal, backup) = (farm.journal(), farm.dir.path().join("backup"));
    copy_of(&journal, &backup);
    farm.balancer.restart();
    let mut client = farm.client();
    for id in 4..=6 {
        assert_eq!(client.put_accepted(id, None, &noise(id, 1000)), id);
    }
    farm.servers[0].restart();
    wait_until("all to be stored", || farm.stored(0).len() == 6);
    farm.balancer.kill();
    fs::remove_dir_all(&journal).unwrap();
    copy_of(&backup, &journal);

    let before = fs::read_to_string(journal.join("journal-id")).unwrap();
    let adopted = adopt(&journal);
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    assert!(
        adopted.stdout.contains("3 wait") && adopted.stdout.contains("a second time"),
        "{adopted:?}"
    );
    let after = fs::read_to_string(journal.join("journal-id")).unwrap();
    assert!(
        after.starts_with(&before) && after.lines().count() == 2,
        "records keep their identity: {after}"
    );
    assert!(
        adopted
            .stdout
            .contains(&after.lines().nth(1).unwrap()[..32]),
        "{adopted:?}"
    );
    let checked = check(&journal);
    assert_eq!(checked.code, Some(0), "{checked:?}");

    farm.balancer.restart();
    let mut client = farm.client();
    for id in 7..=9 {
        assert_eq!(
            client.put_accepted(id, None, &noise(id, 1000)),
            1_000_000 + id - 3
        );
    }
    wait_until("the queue to be empty", || farm.status().queue.files() == 0);
    let stored: Vec<Vec<u8>> = farm.stored(0).into_values().collect();
    for id in 1..=9 {
        assert!(stored.contains(&noise(id, 1000)), "file {id}");
    }
}

/// A command that is refused creates, locks and writes nothing.
#[test]
fn only_a_journal_that_nobody_uses_is_adopted() {
    let farm = Farm::without_servers(&[1]);
    farm.client().put_accepted(1, None, b"x");
    let before = fs::read(farm.journal().join("journal-id")).unwrap();
    let used = adopt(&farm.journal());
    assert_eq!(used.code, Some(1), "{used:?}");
    assert!(
        used.stderr.contains("in use by another balancer"),
        "{used:?}"
    );
    assert_eq!(fs::read(farm.journal().join("journal-id")).unwrap(), before);

    let empty = farm.dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for dir in [&empty, &farm.dir.path().join("missing")] {
        let none = adopt(dir);
        assert_eq!(none.code, Some(1), "{none:?}");
        assert!(none.stderr.contains(dir.to_str().unwrap()), "{none:?}");
    }
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    assert!(!farm.dir.path().join("missing").exists());
}

/// Only one file holds the identity by which servers know an adopted journal. Without it no
/// balancer starts, but the journal can be adopted again.
#[test]
fn an_adopted_journal_without_its_name_is_refused() {
    let mut farm = one_segment();
    assert_eq!(adopt(&farm.journal()).code, Some(0));
    let path = farm.journal().join("journal-id");
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let ended = refused(&farm);
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(
        ended.stderr.contains("journal-id") && ended.stderr.contains("bilico queue adopt"),
        "{ended:?}"
    );
    assert_eq!(check(&farm.journal()).code, Some(6));
    let again = adopt(&farm.journal());
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(
        fs::read(farm.journal().join("damaged-journal-id")).unwrap(),
        bytes
    );
    farm.balancer.restart();
    assert_eq!(farm.status().queue.files() as u64, FILES);
    assert_eq!(check(&farm.journal()).code, Some(0));
}

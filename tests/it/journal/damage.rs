//! Damaged bytes in the journal.

use bilico_testkit::{Role, names_with, noise, wait_for_line};

use super::helpers::{change, check, journal_of_40};

#[test]
fn a_damaged_segment_loses_only_its_damaged_records_and_is_reported() {
    let (mut farm, segment) = journal_of_40(Role::kill);
    change(&segment, |bytes| {
        let content = noise(20, 1000);
        let at = bytes
            .windows(1000)
            .position(|window| window == content)
            .unwrap();
        bytes[at + 500] ^= 0x10;
    });
    let before = check(&farm.journal());
    assert_eq!(before.code, Some(6), "{before:?}");
    assert!(
        before.stdout.contains("not sound") && before.stderr.contains("damaged"),
        "{before:?}"
    );
    farm.balancer.restart();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let line = wait_for_line(|| farm.log(), &["ERROR", "the journal is damaged", name]);
    assert!(line.contains("damaged-"), "{line}");
    assert_eq!(names_with(&farm.journal(), "damaged-").len(), 1);
    assert!(
        farm.client().put_accepted(1, None, b"new") > 1_000_000,
        "no number is given that a lost file may have had"
    );
    let after = check(&farm.journal());
    assert_eq!(after.code, Some(6), "{after:?}");
    assert!(
        after.stdout.contains("not sound") && after.stderr.contains("a copy is in damaged-"),
        "{after:?}"
    );
    farm.servers[0].restart();
    farm.wait_until_delivered();
    let stored = farm.by_number();
    assert_eq!(stored.len(), 40, "39 and the new one: {:?}", stored.keys());
    assert!(
        stored
            .iter()
            .all(|(id, content)| *id > 40 || *content == noise(*id, 1000))
    );
    assert!(!stored.contains_key(&20));
    let again = farm.client().put_accepted(1, Some("k20"), &noise(20, 1000));
    assert!(again > 1_000_000, "its client can send it again");
}

#[test]
fn a_torn_tail_is_not_damage() {
    for tear in 0..3 {
        let (mut farm, segment) = journal_of_40(Role::kill);
        change(&segment, |bytes| match tear {
            0 => bytes.extend_from_slice(&noise(1, 777)),
            1 => bytes.extend_from_slice(&[0; 4096]),
            _ => bytes.truncate(bytes.len() - 5),
        });
        let before = check(&farm.journal());
        assert_eq!(before.code, Some(0), "{tear}: {before:?}");
        farm.balancer.restart();
        assert!(!farm.log().contains("damaged"), "{}", farm.log());
        assert_eq!(names_with(&farm.journal(), "damaged-").len(), 0);
        let files = farm.status().queue.files();
        assert!(
            if tear < 2 { files == 40 } else { files >= 39 },
            "{tear}: {files} files"
        );
        farm.servers[0].restart();
        farm.wait_until_delivered();
        assert_eq!(farm.stored(0).len(), files);
        assert_eq!(check(&farm.journal()).code, Some(0));
    }
}

//! Content that was damaged inside the balancer reaches no server.

use std::sync::Arc;

use bilico::queue::Durability;
use bilico::queue::RealDisk;
use bilico::queue::journal::{JournalConfig, Op};
use bilico::queue::record::{Accepted, Content, History, Meta};
use bilico::queue::recovery;
use bilico_testkit::{Farm, Role, wait_for_line, wait_until};

const SENT: &[u8] = b"what the client sent";
const DAMAGED: &[u8] = b"what the client lent";

/// Puts a file into a journal that was damaged before it was written: the record's checksum is
/// right, and that of the client is not that of the content. Gives its number.
fn accept_damaged(farm: &Farm) -> u64 {
    let disk = Arc::new(RealDisk::open(&farm.journal()).unwrap());
    let config = JournalConfig {
        durability: Durability::Disk,
        segment_size: None,
    };
    let (mut journal, recovered) = recovery::open(disk, config).unwrap();
    let number = recovered.next_number;
    let meta = Meta {
        title: "damaged".into(),
        key: None,
        from: "f".into(),
        size: SENT.len() as u64,
        crc32c: crc32c::crc32c(SENT),
        accepted_ms: 1,
    };
    journal.prepare().unwrap();
    journal.apply(Op::Accept(Box::new(Accepted {
        number,
        meta: Arc::new(meta),
        history: History::default(),
        death: None,
        content: Content::Inline(DAMAGED.into()),
    })));
    journal.commit().unwrap();
    number
}

/// It was stored, with a checksum that was computed from the damaged content.
#[test]
fn content_damaged_on_its_way_into_the_journal_is_a_dead_letter_and_is_not_stored() {
    let mut farm = Farm::without_servers(&[1]);
    farm.balancer.kill();
    let number = accept_damaged(&farm);
    farm.balancer.restart();
    farm.servers.iter_mut().for_each(Role::restart);
    let sound = farm.client().put_accepted(1, None, SENT);
    wait_until("the queue to be empty", || farm.status().queue.files() == 0);
    let line = wait_for_line(
        || farm.log(),
        &["ERROR", "dead letter", &format!("number={number}")],
    );
    assert!(line.contains("damaged in the journal"), "{line}");
    let stored = farm.stored(0);
    assert_eq!(
        stored.keys().collect::<Vec<_>>(),
        [&format!("{sound}_x")],
        "only the one behind it"
    );
    assert_eq!(farm.status().queue.dead, 1);
}

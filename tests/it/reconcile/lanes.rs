//! The second connection of a balancer's link, for large files, as a file server has it.

use std::io::Write;

use bilico_testkit::{Served, noise, store, wait_until};

const LARGE: usize = 3 << 20;

#[test]
fn what_a_lane_brought_is_listed_to_the_next_link_and_the_lane_ends() {
    let served = Served::start();
    let mut link = served.process("a", None);
    link.holding();
    let mut lane = served.lane("a");
    lane.put(1, &noise(1, LARGE));
    link.put(2, b"small");
    let mut next = served.process("a", None);
    let held: Vec<u64> = next.holding().iter().map(|file| file[0]).collect();
    assert_eq!(held, [1, 2]);
    for ended in [&mut link, &mut lane] {
        assert_eq!(ended.bye()["code"], "stopping");
    }
    next.put(3, b"goes on");
}

/// Stored after the list was made, it would be there twice: the balancer sends it elsewhere.
#[test]
fn half_a_file_of_a_lane_is_discarded_before_the_next_link_gets_its_list() {
    let served = Served::start();
    let mut link = served.process("a", None);
    link.holding();
    let mut lane = served.lane("a");
    let whole = store(1, &noise(1, LARGE));
    let (half, rest) = whole.split_at(whole.len() / 2);
    lane.0.write(half);
    let mut next = served.process("a", None);
    assert_eq!(next.holding(), [[0; 3]; 0]);
    assert_eq!(lane.bye()["code"], "stopping");
    // Nobody may read it any more.
    let _ = (&lane.0.0).write_all(rest);
    next.put(2, b"goes on");
    wait_until("nothing to be unfinished", || {
        served.role.unfinished(&served.files_dir()) == 0
    });
    assert_eq!(served.names().len(), 1);
}

/// A balancer's other connections end with its link, not with a lane.
#[test]
fn a_lane_ends_no_link() {
    let served = Served::start();
    let mut link = served.process("a", None);
    link.holding();
    let mut lanes = [served.lane("a"), served.lane("a")];
    link.put(1, b"small");
    for (number, lane) in (2..).zip(&mut lanes) {
        lane.put(number, &noise(number, LARGE));
    }
    link.put(9, b"still there");
}

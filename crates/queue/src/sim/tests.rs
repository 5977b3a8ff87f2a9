//! What the simulated disk keeps, loses and refuses.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::{Fault, Shape, SimDisk};
use crate::disk::{Disk, DiskFile, Space, read_full_at, write_all_at};

const SEED: u64 = 7;

fn filled(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(name).unwrap();
    write_all_at(&*file, bytes, 0).unwrap();
    file
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list()
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

#[test]
fn only_what_was_synced_is_sure() {
    let disk = SimDisk::new();
    let file = filled(&disk, "a", b"synced");
    file.sync().unwrap();
    assert!(names(&disk.crash(Shape::None)).is_empty());
    disk.sync_dir().unwrap();
    file.write_at(b" not", 6).unwrap();
    assert_eq!(disk.unsynced(), 1);
    assert_eq!(disk.crash(Shape::None).contents("a"), b"synced");
    assert_eq!(disk.crash(Shape::Lengths).contents("a"), b"synced\0\0\0\0");
    assert_eq!(disk.crash(Shape::All).contents("a"), b"synced not");
    // A killed process syncs nothing, a power cut leaves nothing to sync.
    assert_eq!(
        disk.crash(Shape::All).crash(Shape::None).contents("a"),
        b"synced"
    );
    assert_eq!(
        disk.crash(Shape::Prefix(1))
            .crash(Shape::None)
            .contents("a"),
        b"synced not"
    );
}

#[test]
fn a_lost_write_below_a_kept_one_reads_as_zeros() {
    let disk = SimDisk::new();
    disk.put("a", b"");
    let file = disk.open("a").unwrap();
    file.write_at(b"one", 0).unwrap();
    file.write_at(b"two", 3).unwrap();
    assert_eq!(disk.crash(Shape::Drop(0)).contents("a"), b"\0\0\0two");
    assert_eq!(disk.crash(Shape::Zeros(1)).contents("a"), b"one\0\0\0");
    file.set_len(1).unwrap();
    assert_eq!(disk.crash(Shape::Drop(2)).contents("a"), b"onetwo");
    assert_eq!(disk.crash(Shape::All).contents("a"), b"o");
}

/// Whatever a crash keeps of two renames and a new file under the old name, each file has one
/// name, and none is gone.
#[test]
fn a_renamed_file_has_its_old_name_or_its_new_one() {
    let disk = SimDisk::new();
    disk.put("a", b"first");
    disk.rename("a", "b").unwrap();
    disk.rename("b", "c").unwrap();
    filled(&disk, "a", b"second").sync().unwrap();
    for shape in disk.shapes(SEED) {
        let image = disk.crash(shape);
        let contents: Vec<_> = names(&image)
            .iter()
            .map(|name| image.contents(name))
            .collect();
        assert_eq!(
            contents
                .iter()
                .filter(|content| *content == b"first")
                .count(),
            1,
            "{shape:?}"
        );
        assert!(contents.len() <= 2, "{shape:?}");
    }
    assert_eq!(names(&disk.crash(Shape::Prefix(1))), ["b"]);
    assert_eq!(names(&disk.crash(Shape::Drop(0))), ["a"]);
}

#[test]
fn a_replaced_file_has_one_content_or_the_other() {
    let disk = SimDisk::new();
    disk.put("a", b"old");
    filled(&disk, "tmp", b"new").sync().unwrap();
    disk.rename("tmp", "a").unwrap();
    let contents: BTreeSet<_> = disk
        .shapes(SEED)
        .into_iter()
        .map(|shape| disk.crash(shape).contents("a"))
        .collect();
    assert_eq!(contents, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn a_removed_file_is_read_on_and_can_come_back() {
    let disk = SimDisk::new();
    disk.put("a", b"kept");
    let file = disk.open("a").unwrap();
    disk.remove("a").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(read_full_at(&*file, &mut buffer, 1).unwrap(), 3);
    assert_eq!(file.len().unwrap(), 4);
    assert_eq!(disk.crash(Shape::None).contents("a"), b"kept");
    disk.sync_dir().unwrap();
    assert!(names(&disk.crash(Shape::None)).is_empty());
}

#[test]
fn a_failed_sync_leaves_doubt_until_it_is_written_again() {
    let disk = SimDisk::new();
    disk.put("a", b"..");
    let file = disk.open("a").unwrap();
    file.write_at(b"x", 0).unwrap();
    disk.fail_at(1, Fault::Eio);
    assert!(file.sync().is_err());
    file.write_at(b"y", 1).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.contents("a"), b"xy");
    assert_eq!(disk.crash(Shape::None).contents("a"), b".y");
    assert_eq!(disk.crash(Shape::All).contents("a"), b"xy");
    file.write_at(b"z", 0).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.crash(Shape::None).contents("a"), b"zy");
    assert_eq!(disk.crash(Shape::Prefix(1)).contents("a"), b"zy");
}

#[test]
fn a_failed_sync_of_names_leaves_doubt_until_they_change_again() {
    let disk = SimDisk::new();
    filled(&disk, "a", b"a");
    filled(&disk, "b", b"b");
    disk.fail_at(disk.operations(), Fault::Eio);
    assert!(disk.sync_dir().is_err());
    disk.sync_dir().unwrap();
    assert!(names(&disk.crash(Shape::None)).is_empty());
    disk.rename("a", "c").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(names(&disk.crash(Shape::None)), ["c"]);
}

#[test]
fn sectors_are_torn_where_the_file_has_them() {
    let disk = SimDisk::new();
    disk.put("a", &[1; 700]);
    disk.open("a").unwrap().write_at(&[2; 1500], 100).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let image = disk.crash(Shape::Torn {
            op: 0,
            sector: 512,
            seed,
        });
        let mut content = image.contents("a");
        assert!(content.len() >= 700);
        content.resize(1600, 0);
        assert!(content[..100].iter().all(|byte| *byte == 1));
        let sectors = [100..512, 512..700, 700..1024, 1024..1536, 1536..1600].map(|range| {
            assert!(
                content[range.clone()]
                    .iter()
                    .all(|byte| *byte == content[range.start]),
                "{seed}"
            );
            content[range.start] == 2
        });
        assert_eq!(sectors[1], sectors[2], "{seed}");
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 16);
}

#[test]
fn writes_stop_where_the_disk_is_full() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(10));
    let file = filled(&disk, "a", b"12345678");
    assert_eq!(
        disk.space().unwrap(),
        Space {
            total: 10,
            available: 2
        }
    );
    assert_eq!(file.write_at(b"9abc", 8).unwrap(), 2);
    for refused in [file.write_at(b"b", 10).map(drop), file.set_len(11)] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    assert_eq!(file.write_at(b"over", 0).unwrap(), 4);
    disk.set_capacity(None);
    assert_eq!(file.write_at(b"bc", 10).unwrap(), 2);
    assert_eq!(disk.contents("a"), b"over56789abc");
}

#[test]
fn writes_can_be_short() {
    let disk = SimDisk::new();
    let file = disk.create("a").unwrap();
    disk.fail_at(1, Fault::Short);
    assert_eq!(file.write_at(b"abcd", 0).unwrap(), 2);
    disk.fail_at(2, Fault::ShortThenEnospc);
    assert_eq!(file.write_at(b"cdef", 2).unwrap(), 2);
    assert_eq!(
        file.write_at(b"ef", 4).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    assert_eq!(file.write_at(b"ef", 4).unwrap(), 2);
    assert_eq!(disk.contents("a"), b"abcdef");
    assert_eq!(disk.log()[1], "1 write a 0+4: Fault(Short)");
}

#[test]
fn a_dead_process_does_nothing() {
    let disk = SimDisk::new();
    disk.put("a", b"old");
    let file = disk.open("a").unwrap();
    disk.crash_at(0);
    assert!(file.write_at(b"new", 0).is_err());
    assert!(disk.is_crashed());
    assert!(disk.list().is_err() && disk.open("a").is_err() && file.len().is_err());
    assert!(file.read_at(&mut [0], 0).is_err() && disk.sync_dir().is_err());
    assert_eq!(disk.operations(), 1);
    assert_eq!(disk.crash(Shape::None).contents("a"), b"old");
    assert_eq!(disk.crash(Shape::All).contents("a"), b"new");
}

#[test]
fn bits_flip_for_good() {
    let disk = SimDisk::new();
    disk.put("a", &[0, 0]);
    let other = disk.clone_deep();
    disk.flip_bit("a", 9);
    disk.open("a").unwrap().write_at(&[1], 0).unwrap();
    disk.flip_bit("a", 8);
    assert_eq!(disk.contents("a"), [1, 3]);
    assert_eq!(disk.crash(Shape::None).contents("a"), [0, 3]);
    assert_eq!(other.contents("a"), [0, 0]);
}

#[test]
fn shapes_are_many_but_bounded_and_the_same_for_the_same_seed() {
    let disk = SimDisk::new();
    disk.put("a", b"");
    assert_eq!(disk.shapes(SEED), [Shape::All]);
    let file = disk.open("a").unwrap();
    for block in 0..200 {
        file.write_at(&[1; 5000], block * 5000).unwrap();
    }
    let shapes = disk.shapes(SEED);
    assert_eq!(shapes, disk.shapes(SEED));
    assert_ne!(shapes, disk.shapes(SEED + 1));
    assert!(
        shapes.len() < 100
            && shapes.contains(&Shape::Prefix(199))
            && shapes.contains(&Shape::Drop(198))
    );
    for shape in shapes {
        assert_eq!(
            disk.crash(shape).contents("a"),
            disk.crash(shape).contents("a"),
            "{shape:?}"
        );
    }
}

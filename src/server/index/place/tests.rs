use super::*;

fn mark(inode: u64, born: Option<u64>) -> Mark {
    Mark { inode, born }
}

#[test]
fn it_is_text_and_comes_back() {
    let place = WrittenIn {
        dir: mark(7, Some(9)),
        file: mark(u64::MAX, None),
    };
    assert_eq!(place.to_string(), "7.9.18446744073709551615.0");
    assert_eq!(place.to_string().parse(), Ok(place));
    for damaged in ["", "1", "1.2.3", "1.2.3.4.5", "a.2.3.4", "1.2.3.-4"] {
        assert_eq!(damaged.parse::<WrittenIn>(), Err(()), "{damaged}");
    }
}

#[test]
fn a_copy_is_another_and_what_is_only_numbered_anew_is_not() {
    let (dir, file) = (mark(1, Some(10)), mark(2, Some(20)));
    let was = WrittenIn { dir, file };
    assert_eq!(was.compare(was), Moved::No);
    assert_eq!(
        was.compare(WrittenIn {
            dir: mark(5, Some(10)),
            file: mark(6, Some(20))
        }),
        Moved::No
    );
    assert_eq!(
        was.compare(WrittenIn {
            dir: mark(1, Some(11)),
            file
        }),
        Moved::Directory
    );
    assert_eq!(
        was.compare(WrittenIn {
            dir,
            file: mark(2, Some(21))
        }),
        Moved::File
    );
    assert_eq!(
        was.compare(WrittenIn {
            dir: mark(5, None),
            file
        }),
        Moved::Directory
    );
    assert_eq!(
        was.compare(WrittenIn {
            dir: mark(1, None),
            file
        }),
        Moved::No
    );
}

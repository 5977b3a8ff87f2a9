use std::path::{Component, Path};

use proptest::prelude::*;

use super::*;

fn assert_sound(number: u64, name: &str) {
    assert!(name.len() <= MAX_NAME, "{} bytes: {name}", name.len());
    assert!(name.starts_with(&format!("{number}_")), "{name}");
    assert!(
        !name.contains(|c: char| c == '/' || c == '\\' || c.is_control()),
        "{name:?}"
    );
    assert!(!name.ends_with(['.', ' ']), "{name:?}");
    assert!(!is_part(name) && !is_own(name), "{name}");
    let path = Path::new("/dir").join(name);
    assert_eq!(path.parent(), Some(Path::new("/dir")));
    assert!(
        matches!(
            Path::new(name).components().collect::<Vec<_>>()[..],
            [Component::Normal(_)]
        ),
        "{name}"
    );
}

#[test]
fn unsafe_titles_become_one_plain_component() {
    let cases = [
        ("", "7_"),
        ("scontrino.json", "7_scontrino.json"),
        ("../../etc/passwd", "7_..%2F..%2Fetc%2Fpasswd"),
        ("/etc/passwd", "7_%2Fetc%2Fpasswd"),
        (r"C:\temp\a.txt", "7_C:%5Ctemp%5Ca.txt"),
        ("a\0b", "7_a%00b"),
        ("a\r\nb", "7_a%0D%0Ab"),
        ("\x1b[2Jx", "7_%1B[2Jx"),
        ("\u{7f}\u{85}\u{9b}", "7_%7F%C2%85%C2%9B"),
        ("gpj.\u{202e}exe", "7_gpj.%E2%80%AEexe"),
        (
            "a\u{2028}b\u{2029}\u{feff}",
            "7_a%E2%80%A8b%E2%80%A9%EF%BB%BF",
        ),
        (".", "7_%2E"),
        ("..", "7_.%2E"),
        ("a.", "7_a%2E"),
        ("a ", "7_a%20"),
        ("a . .", "7_a . %2E"),
        (" a b.txt", "7_ a b.txt"),
        ("100%2F", "7_100%2F"),
        ("🚚 però 注文.json", "7_🚚 però 注文.json"),
        ("COM1", "7_COM1"),
        (".bilico-1-1.part", "7_.bilico-1-1.part"),
    ];
    for (title, name) in cases {
        assert_eq!(stored_name(7, title), name, "{title:?}");
        assert_sound(7, name);
    }
}

#[test]
fn case_pairs_stay_apart_by_their_number() {
    let (lower, upper) = (stored_name(1, "a.txt"), stored_name(2, "A.TXT"));
    assert_ne!(lower.to_lowercase(), upper.to_lowercase());
}

#[test]
fn a_name_is_cut_only_above_255_bytes() {
    let fits = format!("{}.json", "a".repeat(255 - 2 - 5));
    assert_eq!(stored_name(7, &fits), format!("7_{fits}"));

    let longer = format!("a{fits}");
    let name = stored_name(7, &longer);
    assert_eq!(name.len(), 255);
    assert_eq!(
        name,
        format!(
            "7_{}~{:016x}.json",
            "a".repeat(231),
            fnv1a(longer.as_bytes())
        )
    );
}

#[test]
fn long_titles_that_differ_at_the_end_keep_apart() {
    let title = "x".repeat(300);
    let (one, two) = (
        stored_name(7, &format!("{title}1")),
        stored_name(7, &format!("{title}2")),
    );
    assert_ne!(one, two);
    assert_sound(7, &one);
    assert_sound(7, &two);
}

#[test]
fn a_cut_splits_no_character_and_no_escape() {
    for lead in 0..4 {
        for unit in ["è", "注", "🚚", "/", "\u{202e}"] {
            let name = stored_name(7, &format!("{}{}", "a".repeat(lead), unit.repeat(300)));
            assert_sound(7, &name);
            let stem = name.rsplit_once('~').unwrap().0;
            assert!(name.len() > 255 - 4, "no more than needed is cut: {name}");
            let escapes = stem.split('%').skip(1);
            assert!(
                escapes.into_iter().all(|digits| digits.len() == 2),
                "{name}"
            );
        }
    }
}

#[test]
fn an_ending_that_is_no_extension_is_not_kept() {
    let long = "x".repeat(300);
    for ending in [".", ". then", ".a/b", ".seventeen-bytes-x"] {
        let name = stored_name(7, &format!("{long}{ending}"));
        assert_eq!(name.rsplit_once('~').unwrap().1.len(), 16, "{name}");
        assert_sound(7, &name);
    }
}

#[test]
fn the_hash_is_the_published_one() {
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn part_names_are_known_again() {
    assert_eq!(part_name(12, 3), ".bilico-12-3.part");
    assert!(is_own(&part_name(12, 3)) && is_own(".bilico-index") && !is_part(".bilico-index"));
    assert!(is_part(&part_name(u64::MAX, u64::MAX)));
    for name in [
        "",
        ".part",
        ".bilico-.part",
        ".bilico-1-.part",
        ".bilico--1.part",
        ".bilico-1-1",
        ".bilico-1-+1.part",
        "7_a.part",
    ] {
        assert!(!is_part(name), "{name}");
    }
}

#[test]
fn a_file_beside_keeps_its_extension() {
    assert_eq!(beside("7_a.json", 1), "7_a~1.json");
    assert_eq!(beside("7_a", 2), "7_a~2");
    assert_eq!(beside("7_", 1), "7_~1");
    let full = stored_name(7, &format!("{}.json", "/".repeat(300)));
    let (one, two) = (beside(&full, 1), beside(&full, u32::MAX));
    assert!(
        one.ends_with("~1.json") && one != two && one != full,
        "{one}"
    );
    assert_sound(7, &one);
    assert_sound(7, &two);
}

proptest! {
    #[test]
    fn any_title_gives_a_sound_name(number: u64, title in any::<String>(), times in 1..40_usize, n: u32) {
        let name = stored_name(number, &title.repeat(times));
        assert_sound(number, &name);
        assert_sound(number, &beside(&name, n));
    }

    #[test]
    fn nasty_titles_give_a_sound_name(number: u64, title in "[./\\\\%~ \0\r\n\u{1b}\u{202e}aè🚚]{0,400}", n: u32) {
        let name = stored_name(number, &title);
        assert_sound(number, &name);
        assert_sound(number, &beside(&name, n));
    }
}

#[test]
fn the_number_is_read_back_from_what_we_write_only() {
    for number in [1, 70, u64::MAX] {
        assert_eq!(
            number_of(stored_name(number, "a_b.json").as_bytes()),
            Some(number)
        );
    }
    for name in [
        "",
        "_x",
        "7",
        "07_x",
        "0_x",
        "+7_x",
        "-7_x",
        "x_7",
        "7.5_x",
        "18446744073709551616_x",
        ".bilico-7_x",
    ] {
        assert_eq!(number_of(name.as_bytes()), None, "{name}");
    }
}

//! Names that are not UTF-8.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use bilico_testkit::{Farm, bilico, run};

use super::helpers::{command, objects, send};

/// Three names that once became one title each, and with a prefix of keys one key; and the name that
/// looks like the text of one of them.
const NAMES: [&[u8]; 4] = [
    b"bad\xff\xfename.txt",
    b"bad\xfe\xffname.txt",
    "bad\u{fffd}\u{fffd}name.txt".as_bytes(),
    br"bad\xff\xfename.txt",
];

const TEXTS: [&str; 4] = [
    r"bad\xff\xfename.txt",
    r"bad\xfe\xffname.txt",
    "bad\u{fffd}\u{fffd}name.txt",
    r"bad\x5cxff\x5cxfename.txt",
];

#[test]
fn names_that_differ_are_stored_as_different_files() {
    let farm = Farm::start(&[1]);
    for name in NAMES {
        let path = farm.dir.path().join("top").join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let keyed = ["--key-prefix", "k/", "--receipts", "receipts", "--json"];
    for again in [false, true] {
        let ended = send(&farm, &[&["-r", "top"], &keyed[..]].concat());
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        let mut told: Vec<String> = objects(&ended.stdout)
            .iter()
            .map(|object| {
                let title = object["title"].as_str().unwrap();
                assert_eq!(object["path"], format!("top/{title}"));
                assert_eq!(object["key"], format!("k/{title}"));
                title.to_owned()
            })
            .collect();
        told.sort();
        let mut texts = TEXTS.map(str::to_owned);
        texts.sort();
        assert_eq!(told, texts);
        assert_eq!(farm.all_stored().len(), 4, "again: {again}");
    }
    for (name, text) in NAMES.iter().zip(TEXTS) {
        let stored = farm.all_stored();
        let (_, content) = stored
            .iter()
            .find(|(stored, _)| stored.replace("%5C", "\\").ends_with(&format!("_{text}")))
            .unwrap();
        assert_eq!(content, name);
    }
    let verify = ["verify", "--receipts", "receipts", "json_files_1"];
    let ended = run(bilico(&verify).current_dir(farm.dir.path()), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");

    // Named one by one they are the same files: their keys are known.
    let mut named = command(&farm, &keyed[..2]);
    for name in NAMES {
        named.arg(OsStr::from_bytes(&[b"top/", name].concat()));
    }
    assert_eq!(run(&mut named, "").code, Some(0));
    assert_eq!(farm.all_stored().len(), 4);
}

/// The prompt could list such a file, and not send it.
#[test]
fn the_prompt_sends_what_it_lists() {
    let farm = Farm::start(&[1]);
    let path = farm
        .dir
        .path()
        .join("files")
        .join(OsStr::from_bytes(NAMES[0]));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        "files",
    ];
    let input = format!("ls\nFTP 2\nsend '{}'\n", TEXTS[0]);
    let ended = run(bilico(&args).current_dir(farm.dir.path()), &input);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    assert!(
        ended.stdout.contains("1 file in files:") && ended.stdout.contains(TEXTS[0]),
        "{ended:?}"
    );
    assert_eq!(farm.all_stored().len(), 3);
}

//! Files of receipts, whole, torn, and of something else.

use std::fs;
use std::path::Path;

use super::ends::is_receipt;
use super::*;
use crate::client::keys::Keys;
use crate::client::source::{Form, Source};
use crate::client::tally::Tally;
use crate::protocol::Message;

fn sources(count: usize) -> Vec<Source> {
    (0..count)
        .map(|file| Source::named(Path::new(&format!("dir/{file}")), Form::Raw))
        .collect()
}

fn lines(path: &Path) -> Vec<Receipt> {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_line_comes_once_a_file_when_its_fate_is_final_and_the_rest_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("receipts");
    let (sources, keys, mut tally) = (sources(4), Keys::titled("p/").unwrap(), Tally::new(4));
    let mut file = ReceiptFile::open(&path).unwrap();
    let receipt =
        |tally: &Tally, file: usize| Some(Receipt::of(file, &sources[file], &keys, tally));
    tally.heard(Message::Delivered {
        id: 2,
        number: 7,
        server: "s".into(),
        confirmed: true,
    });
    tally.heard(Message::Accepted { id: 1, number: 8 });
    file.tell(&tally, |file| receipt(&tally, file)).unwrap();
    file.tell(&tally, |file| receipt(&tally, file)).unwrap();
    assert_eq!(lines(&path).len(), 1);
    tally.unreadable(0, "gone".to_owned());
    file.finish(&tally, |file| receipt(&tally, file)).unwrap();
    let states: Vec<_> = lines(&path)
        .into_iter()
        .map(|line| (line.key, line.state, line.number))
        .collect();
    let expected = [
        ("p/2", State::Delivered, Some(7)),
        ("p/0", State::Unreadable, None),
        ("p/1", State::Accepted, Some(8)),
        ("p/3", State::Unknown, None),
    ];
    assert_eq!(
        states,
        expected.map(|(key, state, number)| (key.to_owned(), state, number))
    );
}

#[test]
fn receipts_are_appended_and_a_torn_last_line_is_taken_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("receipts");
    let (sources, keys, mut tally) = (sources(1), Keys::titled("p").unwrap(), Tally::new(1));
    tally.heard(Message::Dead {
        id: 0,
        number: 3,
        reason: "too \"large\"\n".to_owned(),
    });
    let write = || {
        let mut file = ReceiptFile::open(&path).unwrap();
        file.finish(&tally, |file| {
            Some(Receipt::of(file, &sources[file], &keys, &tally))
        })
        .unwrap();
    };
    write();
    let whole = fs::read(&path).unwrap();
    for torn in 0..whole.len() {
        fs::write(&path, [&whole, &whole[..torn]].concat()).unwrap();
        write();
        let expected = if torn == whole.len() - 1 { 3 } else { 2 };
        assert_eq!(lines(&path).len(), expected, "torn after {torn} bytes");
    }
}

/// Whatever a slip of the shell names was appended to once, unless its last line lacked its
/// end.
#[test]
fn a_file_of_something_else_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("letter");
    let receipt = r#"{"path":"a","title":"a","key":"k","state":"unknown"}"#;
    assert!(is_receipt(receipt.as_bytes()));
    let long = "x".repeat(MAX_LINE * 3);
    for (content, found) in [
        ("Dear Anna", "it ends with \"Dear Anna\""),
        ("Dear Anna\n", "its first line is \"Dear Anna\""),
        ("\n", "its first line is \"\""),
        (r#"{"path":"x"}"#, "it ends with"),
        ("{\"path\":\"x\"}\n", "its first line is"),
        (
            &format!("{receipt}\nDear Anna\n"),
            "its last line is \"Dear Anna\"",
        ),
        (
            &format!("{receipt}\nDear Anna"),
            "it ends with \"Dear Anna\"",
        ),
        (
            &format!("Dear Anna\n{receipt}\n"),
            "its first line is \"Dear Anna\"",
        ),
        (
            &format!("Dear Anna\n{receipt}\n{{\"path\":\"b"),
            "its first line is \"Dear Anna\"",
        ),
        (&format!("{{\"path\":\"{long}"), "it ends with"),
        (&long, "it ends with \"xxx"),
        (&format!("{long}\n"), "its first line is \"xxx"),
        (
            &format!("{receipt}\n{long}\n{receipt}\n{long}"),
            "it ends with",
        ),
    ] {
        fs::write(&path, content).unwrap();
        let error = ReceiptFile::open(&path).unwrap_err().to_string();
        assert!(error.contains(found) && error.len() < 400, "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    for (other, found) in [
        (dir.path(), "it is a directory"),
        (Path::new("/dev/null"), "it is not a regular file"),
    ] {
        let error = ReceiptFile::open(other).unwrap_err().to_string();
        assert!(error.contains(found), "{error}");
    }
    let missing = dir.path().join("nowhere/receipts");
    assert!(matches!(
        ReceiptFile::open(&missing),
        Err(ReceiptError::Io { .. })
    ));
}

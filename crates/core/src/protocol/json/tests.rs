//! Objects as they come and go at the JSON doorway.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::protocol::limits::MAX_TITLE;

/// Splits `text` as the doorway does when it arrives in pieces of `step` bytes.
fn split(text: &[u8], step: usize) -> Result<Vec<Vec<u8>>, JsonError> {
    let (mut buffer, mut splitter, mut found) = (Vec::new(), Splitter::default(), Vec::new());
    for piece in text.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            if !splitter.is_inside() {
                buffer.drain(..leading_space(&buffer));
            }
            let Some(end) = splitter.find_end(&buffer)? else {
                break;
            };
            found.push(buffer.drain(..end).collect());
        }
    }
    Ok(found)
}

fn parse_str(text: &str) -> Result<Request, JsonError> {
    parse(&Bytes::copy_from_slice(text.as_bytes()))
}

#[test]
fn objects_split_and_joined_anyhow() {
    let one = r#"{"titolo": "a\"}{.json", "contenuto": "[{\\", "x": [{"y": [1, -2.5e+3, null]}], "z": {}}"#;
    let text = format!("  {one}{one}\n\r\n\t{one}");
    for step in 1..text.len() {
        assert_eq!(
            split(text.as_bytes(), step).unwrap(),
            vec![one.as_bytes(); 3],
            "pieces of {step}"
        );
    }
}

#[test]
fn broken_text_is_refused_as_soon_as_it_shows() {
    for (text, error) in [
        ("hello", JsonError::NotAnObject(b'h')),
        ("[1]", JsonError::NotAnObject(b'[')),
        ("GET / HTTP/1.1", JsonError::NotAnObject(b'G')),
        ("\u{feff}{}", JsonError::NotAnObject(0xEF)),
        ("{}{} x", JsonError::NotAnObject(b'x')),
        ("{\"a\": <", JsonError::StrayByte(b'<')),
        ("{\0", JsonError::StrayByte(0)),
        ("{\"a\": [}", JsonError::Brackets),
    ] {
        assert_eq!(split(text.as_bytes(), 1), Err(error), "{text}");
    }
}

#[test]
fn depth_is_bounded_at_128() {
    let nested = |depth: usize| {
        format!(
            "{{\"a\": {}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    assert_eq!(split(nested(128).as_bytes(), 7).unwrap().len(), 1);
    assert_eq!(split(nested(129).as_bytes(), 7), Err(JsonError::TooDeep));
}

#[test]
fn files_in_both_languages_and_both_escapings() {
    let expected = Request::File {
        title: "x.json".into(),
        content: "perché 🚚".into(),
        number: None,
    };
    for text in [
        r#"{"titolo": "x.json", "contenuto": "perch\u00e9 \ud83d\ude9a", "request_type": "file_di_testo"}"#,
        r#"{"request_type": "file", "content": "perché 🚚", "title": "x.json", "more": [1]}"#,
    ] {
        assert_eq!(parse_str(text).unwrap(), expected, "{text}");
    }
    let numbered =
        r#"{"titolo":"x","contenuto":"","request_type":"file_di_testo","numero_richiesta":12}"#;
    let expected = Request::File {
        title: "x".into(),
        content: Bytes::new(),
        number: Some(12),
    };
    assert_eq!(parse_str(numbered).unwrap(), expected);
    assert_eq!(
        parse_str(r#"{"request_type": "richiesta_status"}"#).unwrap(),
        Request::Status
    );
    assert_eq!(
        parse_str(str::from_utf8(DISCOVERY_REQUEST).unwrap()).unwrap(),
        Request::Discovery
    );
    assert_eq!(
        parse_str(r#"{"request_type": "x"}"#).unwrap(),
        Request::Other("x".into())
    );
}

#[test]
fn bad_objects_say_what_is_wrong() {
    let long = format!(
        r#"{{"request_type":"file","content":"","title":"{}"}}"#,
        "x".repeat(MAX_TITLE + 1)
    );
    for (text, part) in [
        (
            r#"{"titolo": "x", "contenuto": "y"}"#,
            "without `request_type`",
        ),
        (
            r#"{"titolo": "x", "request_type": "file_di_testo"}"#,
            "without `content`",
        ),
        (
            r#"{"contenuto": "x", "request_type": "file_di_testo"}"#,
            "without `title`",
        ),
        (
            r#"{"titolo": 5, "contenuto": "x", "request_type": "file_di_testo"}"#,
            "invalid type: integer `5`",
        ),
        (
            r#"{"titolo": "x", "contenuto": ["x"], "request_type": "file_di_testo"}"#,
            "invalid type: sequence",
        ),
        (
            r#"{"titolo": "x", "contenuto": "\ud800", "request_type": "file_di_testo"}"#,
            "hex escape",
        ),
        (
            r#"{"titolo": "x", "title": "y", "contenuto": "", "request_type": "file"}"#,
            "duplicate field",
        ),
        (r#"{"request_type": "file", "titolo" "x"}"#, "expected `:`"),
        (&long, "at most 4096"),
    ] {
        let error = parse_str(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let not_utf8 = Bytes::from_static(
        b"{\"titolo\": \"\xff\", \"contenuto\": \"\", \"request_type\": \"file\"}",
    );
    assert!(parse(&not_utf8).is_err());
    let in_unknown =
        b"{\"x\": \"\xff\", \"title\": \"\", \"content\": \"\", \"request_type\": \"file\"}";
    assert!(parse(&Bytes::from_static(in_unknown)).is_err());
}

#[test]
fn large_content_without_escapes_is_not_copied() {
    let text = "x".repeat(100_000);
    let object = Bytes::from(format!(
        r#"{{"request_type":"file","title":"t","content":"{text}"}}"#
    ));
    let Request::File { content, .. } = parse(&object).unwrap() else {
        panic!("a file")
    };
    assert!(object.as_ptr_range().contains(&content.as_ptr()));
}

#[test]
fn old_style_documents_fit_one_read() {
    let document = old_style_file(7, "x.json", "perché \"\n".as_bytes()).unwrap();
    let parsed = parse(&Bytes::from(document)).unwrap();
    let content = Bytes::from("perché \"\n");
    assert_eq!(
        parsed,
        Request::File {
            title: "x.json".into(),
            content,
            number: Some(7)
        }
    );

    let frame = old_style_file(1, "", b"").unwrap().len();
    assert_eq!(
        old_style_file(1, "", &vec![b'a'; 4096 - frame])
            .unwrap()
            .len(),
        4096
    );
    assert_eq!(
        old_style_file(1, "", &vec![b'a'; 4097 - frame]),
        Err(NotOldStyle::TooLarge)
    );
    assert_eq!(
        old_style_file(1, "", &[b'"'; 3000]),
        Err(NotOldStyle::TooLarge)
    );
    assert_eq!(old_style_file(1, "", b"\xff"), Err(NotOldStyle::NotText));
}

proptest! {
    #[test]
    fn any_bytes_are_split_or_refused(text in proptest::collection::vec(any::<u8>(), 0..300), step in 1usize..20) {
        if let Ok(objects) = split(&text, step) {
            for object in objects {
                let _ = parse(&Bytes::from(object));
            }
        }
    }

    #[test]
    fn whatever_serde_json_writes_is_found_and_read_back(
        title in ".{0,40}", content in "(?s).{0,200}", step in 1usize..50,
    ) {
        let value = serde_json::json!({"titolo": title, "contenuto": content, "request_type": "file_di_testo"});
        let objects = split(format!("{value}{value:#}").as_bytes(), step).unwrap();
        prop_assert_eq!(objects.len(), 2);
        for object in objects {
            let expected = Request::File { title: title.clone(), content: content.clone().into(), number: None };
            prop_assert_eq!(parse(&Bytes::from(object)).unwrap(), expected);
        }
    }

    #[test]
    fn truncated_text_never_makes_an_object(cut in 0usize..95) {
        let text = r#"{"titolo": "x.json", "contenuto": "perch\u00e9 \"[{", "request_type": "file_di_testo", "a": [{}]}"#;
        prop_assert!(cut < text.len());
        prop_assert_eq!(split(&text.as_bytes()[..cut], 3).unwrap(), Vec::<Vec<u8>>::new());
    }
}

//! The JSON doorway: objects written one after the other with no delimiter, as the first system of
//! this kind speaks them, to balancers and servers alike.
//!
//! [`Splitter`] finds where an object ends, over bytes that arrive split or joined however TCP
//! likes, without reading any byte twice; [`parse`] reads one whole object. The other direction, to
//! an old-style server, is [`old_style_file`].

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::limits::{MAX_JSON_DEPTH, MAX_TITLE, OLD_STYLE_READ, SMALL_CONTENT};
use super::message::Text;
use super::object;

/// Asks what a server speaks: an old-style server answers any type that it does not know with its
/// overload byte, ours with the native greeting.
pub const DISCOVERY_REQUEST: &[u8] = br#"{"request_type": "bilico"}"#;

/// What is wrong with the bytes at the JSON doorway. Trying the same bytes again cannot help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The first byte begins no object.
    #[error("not a JSON object: it begins with {}", describe(*.0))]
    NotAnObject(u8),
    /// A byte outside a string that no JSON text holds there.
    #[error("not JSON: {} outside a string", describe(*.0))]
    StrayByte(u8),
    /// A bracket closes another kind of bracket than was opened.
    #[error("not JSON: brackets that do not match")]
    Brackets,
    /// More open brackets than the limit.
    #[error("nested deeper than {MAX_JSON_DEPTH}")]
    TooDeep,
    /// The object does not end within the limit.
    #[error("an object larger than the limit of {0} bytes")]
    TooLarge(u64),
    /// The connection ended in the middle of an object.
    #[error("the connection ended in the middle of an object, {0} bytes into it")]
    Truncated(usize),
    /// The object's text is broken, or a field has the wrong type.
    #[error("bad JSON: {0}")]
    Syntax(String),
    /// A field is missing.
    #[error("an object without `{0}`")]
    Missing(&'static str),
    /// The request type is none that can be served here.
    #[error("unknown request type {0:?}")]
    UnknownRequest(String),
    /// The title is longer than the limit.
    #[error("a title of {0} bytes: at most {MAX_TITLE} are taken")]
    TitleTooLong(usize),
}

fn describe(byte: u8) -> String {
    match byte {
        0x16 => "byte 0x16 (a TLS handshake?)".to_owned(),
        b'A'..=b'Z' => format!("'{}' (an HTTP request?)", byte as char),
        0x21..=0x7e => format!("'{}'", byte as char),
        _ => format!("byte 0x{byte:02x}"),
    }
}

/// Finds the end of the first object in a growing buffer.
#[derive(Debug, Default)]
pub struct Splitter {
    /// How far the buffer has been read.
    seen: usize,
    depth: u32,
    /// One bit an open bracket, the innermost lowest: 1 for `{`, 0 for `[`.
    kinds: u128,
    in_string: bool,
    escaped: bool,
}

impl Splitter {
    /// Whether an object has begun that has not ended.
    pub fn is_inside(&self) -> bool {
        self.depth > 0
    }

    /// Reads on in `buffer`, whose beginning must be what earlier calls saw, and gives the length
    /// of the object at its front once it is whole. White space before the object must have been
    /// taken off.
    pub fn find_end(&mut self, buffer: &[u8]) -> Result<Option<usize>, JsonError> {
        while let Some(rest) = buffer.get(self.seen..).filter(|rest| !rest.is_empty()) {
            if self.in_string {
                self.skip_string(rest);
            } else if let Some(end) = self.step(rest)? {
                *self = Self::default();
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    /// Reads on to the end of the string, or of what has arrived of it.
    fn skip_string(&mut self, rest: &[u8]) {
        if self.escaped {
            self.escaped = false;
            self.seen += 1;
            return;
        }
        match memchr::memchr2(b'"', b'\\', rest) {
            None => self.seen += rest.len(),
            Some(at) => {
                self.seen += at + 1;
                if rest.get(at) == Some(&b'"') {
                    self.in_string = false;
                } else {
                    self.escaped = true;
                }
            }
        }
    }

    /// Reads one byte outside a string; gives the object's length if it is the last one.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, JsonError> {
        let Some(&byte) = rest.first() else {
            return Ok(None);
        };
        if self.depth == 0 && byte != b'{' {
            return Err(JsonError::NotAnObject(byte));
        }
        self.seen += 1;
        match byte {
            b'{' | b'[' => self.open(byte == b'{')?,
            b'}' | b']' => return self.close(byte == b'}'),
            b'"' => self.in_string = true,
            b' '
            | b'\t'
            | b'\r'
            | b'\n'
            | b','
            | b':'
            | b'+'
            | b'-'
            | b'.'
            | b'0'..=b'9'
            | b'a'..=b'z'
            | b'E' => {}
            stray => return Err(JsonError::StrayByte(stray)),
        }
        Ok(None)
    }

    fn open(&mut self, is_object: bool) -> Result<(), JsonError> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        self.kinds = self.kinds << 1 | u128::from(is_object);
        Ok(())
    }

    fn close(&mut self, is_object: bool) -> Result<Option<usize>, JsonError> {
        if (self.kinds & 1 == 1) != is_object {
            return Err(JsonError::Brackets);
        }
        self.kinds >>= 1;
        self.depth -= 1;
        Ok((self.depth == 0).then_some(self.seen))
    }
}

/// How many bytes of white space stand at the front of `buffer`.
pub fn leading_space(buffer: &[u8]) -> usize {
    buffer
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
        .count()
}

/// What an object at the doorway asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A file.
    File {
        /// Its title.
        title: String,
        /// Its content: the string's UTF-8 bytes.
        content: Bytes,
        /// Its request number, which an old-style balancer adds for a server.
        number: Option<u64>,
    },
    /// The overload byte.
    Status,
    /// The native greeting.
    Discovery,
    /// A request type that is none of these.
    Other(String),
}

/// A title and its content, as a JSON payload holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The payload's title.
    pub title: String,
    /// The payload's content: the string's UTF-8 bytes.
    pub content: Bytes,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    request_type: Option<Text<'a>>,
    #[serde(borrow, alias = "titolo")]
    title: Option<Text<'a>>,
    #[serde(borrow, alias = "contenuto")]
    content: Option<Text<'a>>,
    #[serde(alias = "numero_richiesta")]
    request_number: Option<u64>,
}

/// Reads one whole object.
pub fn parse(object: &Bytes) -> Result<Request, JsonError> {
    let fields = read(object)?;
    let request_type = fields
        .request_type
        .ok_or(JsonError::Missing("request_type"))?;
    match &*request_type.0 {
        "file_di_testo" | "file" => {
            let number = fields.request_number;
            let Payload { title, content } = payload(fields.title, fields.content, object)?;
            Ok(Request::File {
                title,
                content,
                number,
            })
        }
        "richiesta_status" => Ok(Request::Status),
        "bilico" => Ok(Request::Discovery),
        other => Ok(Request::Other(other.to_owned())),
    }
}

/// Reads a JSON payload: one object with a title and a content, whatever else it holds.
pub fn parse_payload(text: &Bytes) -> Result<Payload, JsonError> {
    let fields = read(text)?;
    payload(fields.title, fields.content, text)
}

fn read(object: &Bytes) -> Result<Object<'_>, JsonError> {
    // All of it: serde_json looks only into the strings that are asked for.
    let text = str::from_utf8(object).map_err(|error| JsonError::Syntax(error.to_string()))?;
    object::flat_from_str(text).map_err(|error| JsonError::Syntax(error.to_string()))
}

fn payload(
    title: Option<Text<'_>>,
    content: Option<Text<'_>>,
    object: &Bytes,
) -> Result<Payload, JsonError> {
    let title = title.ok_or(JsonError::Missing("title"))?.0;
    if title.len() > MAX_TITLE {
        return Err(JsonError::TitleTooLong(title.len()));
    }
    let content = match content.ok_or(JsonError::Missing("content"))?.0 {
        // Small content is copied, so that it does not keep a whole read buffer alive while it
        // waits.
        Cow::Borrowed(text) if text.len() as u64 > SMALL_CONTENT => {
            object.slice_ref(text.as_bytes())
        }
        Cow::Borrowed(text) => Bytes::copy_from_slice(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    Ok(Payload {
        title: title.into_owned(),
        content,
    })
}

#[derive(Serialize)]
struct OldStyleFile<'a> {
    titolo: &'a str,
    contenuto: &'a str,
    request_type: &'a str,
    numero_richiesta: u64,
}

/// Why a file cannot go to an old-style server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOldStyle {
    /// Its document would be longer than such a server reads.
    #[error(
        "its document is larger than the {OLD_STYLE_READ} bytes that an old-style server reads"
    )]
    TooLarge,
    /// A JSON string cannot hold its content.
    #[error("its content is not UTF-8 text, which is all that an old-style server takes")]
    NotText,
}

/// The document that hands a file to an old-style server.
pub fn old_style_file(number: u64, title: &str, content: &[u8]) -> Result<Vec<u8>, NotOldStyle> {
    if is_too_large_for_old_style(title, content.len() as u64) {
        return Err(NotOldStyle::TooLarge);
    }
    let file = OldStyleFile {
        titolo: title,
        contenuto: str::from_utf8(content).map_err(|_| NotOldStyle::NotText)?,
        request_type: "file_di_testo",
        numero_richiesta: number,
    };
    let document = serde_json::to_vec(&file).map_err(|_| NotOldStyle::NotText)?;
    if document.len() > OLD_STYLE_READ {
        return Err(NotOldStyle::TooLarge);
    }
    Ok(document)
}

/// Whether a file is surely too large for an old-style server: its document holds title and
/// content, and more.
pub fn is_too_large_for_old_style(title: &str, size: u64) -> bool {
    size.saturating_add(title.len() as u64) > OLD_STYLE_READ as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
}

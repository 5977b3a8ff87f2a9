//! Whatever comes in: refused with a reason, and nobody else notices.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bilico::server::name::stored_name;
use serde_json::{Value, json};

use crate::harness::{
    DEADLINE, Farm, Mount, PREFACE, Role, Wire, frame, mount, old_style_put, put, start_balancer,
    start_server, stored, wait_for_line, wait_until,
};

// ---------------------------------------------------------------- helpers

/// Writes what the other end may not want to read to the end.
fn offer(wire: &mut Wire, bytes: &[u8]) {
    let _ = wire.0.write_all(bytes);
}

/// This end of the connection, as the other end's log names it.
fn peer_of(wire: &Wire) -> String {
    format!("peer={}", wire.0.local_addr().unwrap())
}

/// Reads all frames to the end of the connection.
fn frames_to_the_end(wire: &mut Wire) -> Vec<Value> {
    std::iter::from_fn(|| wire.frame())
        .map(|(header, _)| serde_json::from_str(&header).unwrap())
        .collect()
}

fn is_of(frame: &Value, request_type: &str) -> bool {
    frame["request_type"] == request_type
}

/// A frame with this header that says it has `declared` bytes of content, followed by these bytes.
fn frame_declaring(header: &str, declared: u64, bytes: &[u8]) -> Vec<u8> {
    let mut wire = frame(header, b"");
    wire[4..12].copy_from_slice(&declared.to_be_bytes());
    wire.extend_from_slice(bytes);
    wire
}

/// A frame whose content was damaged on the way.
fn damaged_frame(header: &str, content: &[u8]) -> Vec<u8> {
    let mut wire = frame(header, content);
    let middle = wire.len() - 4 - content.len() / 2;
    wire[middle] ^= 1;
    wire
}

/// The head of a frame with a header of `length` bytes and no content.
fn head(length: u32) -> Vec<u8> {
    [&length.to_be_bytes()[..], &[0; 8]].concat()
}

/// The header with which a balancer hands a file to a server.
fn store(number: u64, title: &str) -> String {
    json!({"request_type": "store", "request_number": number, "title": title}).to_string()
}

/// Connects to a file server and greets as a balancer.
fn link(address: &str) -> Wire {
    let mut wire = Wire::connect(address);
    wire.write(&PREFACE);
    wire.write(&frame(r#"{"request_type":"hello","role":"balancer"}"#, b""));
    let (hello, _) = wire.greeting();
    assert!(hello.contains(r#""role":"server""#), "{hello}");
    wire
}

/// The object with which a balancer of the first system sends a file on.
fn numbered(number: u64, document: &str) -> String {
    format!(
        "{}, \"numero_richiesta\": {number}}}",
        document.strip_suffix('}').unwrap()
    )
}

/// The stored files by title.
fn titles(stored: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    stored
        .into_iter()
        .map(|(name, content)| (name.split_once('_').unwrap().1.to_owned(), content))
        .collect()
}

/// A farm whose only server is down, and known to be.
fn farm_without_server(balancer_flags: &[&str]) -> Farm {
    let mut farm = Farm::with(&[1], &[], balancer_flags);
    farm.servers[0].kill();
    wait_until("it to be seen down", || !farm.server_status(0).eligible);
    farm
}

#[track_caller]
fn wait_for_delivered(farm: &Farm, files: u64) {
    wait_until(&format!("{files} files to be delivered"), || {
        farm.status().delivered == files
    });
}

/// A file server in a directory of its own.
struct Lone {
    server: Role,
    dir: tempfile::TempDir,
}

impl Lone {
    fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            server: start_server(dir.path(), 1, flags),
            dir,
        }
    }

    fn files(&self) -> PathBuf {
        self.dir.path().join("json_files_1")
    }

    fn log(&self) -> String {
        let port = self.server.address.rsplit_once(':').unwrap().1;
        fs::read_to_string(self.dir.path().join(format!("logs/server-{port}.log"))).unwrap()
    }
}

// ---------------------------------------------------------------- the JSON doorway

/// Something bad at the JSON doorway.
struct BadJson {
    what: &'static str,
    bytes: Vec<u8>,
    /// What the log must say.
    reason: &'static str,
}

const MAX_JSON: usize = 100 * 1024;

/// An object that nests so deep.
fn nested(depth: usize) -> String {
    let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
    format!(
        r#"{{"titolo": "deep.json", "contenuto": "deep", "request_type": "file_di_testo", "x": {open}{close}}}"#
    )
}

/// A file whose object is just so many bytes long.
fn of_length(title: &str, length: usize) -> String {
    let frame = old_style_put(title, "").len();
    old_style_put(title, &"x".repeat(length - frame))
}

fn bad_json() -> Vec<BadJson> {
    let bad = |what, bytes: &[u8], reason| BadJson {
        what,
        bytes: bytes.to_vec(),
        reason,
    };
    let not_utf8 = |document: &str| {
        document
            .bytes()
            .map(|byte| if byte == b'?' { 0xff } else { byte })
            .collect::<Vec<_>>()
    };
    vec![
        bad(
            "text that is no JSON",
            b"hello there\n",
            "not a JSON object",
        ),
        bad("an array", br#"[{"titolo": "x"}]"#, "not a JSON object"),
        bad("a byte-order mark", b"\xef\xbb\xbf{}", "not a JSON object"),
        bad(
            "markup in an object",
            br#"{"titolo": <b>"#,
            "outside a string",
        ),
        bad(
            "brackets that do not match",
            br#"{"titolo": [}"#,
            "brackets",
        ),
        bad("no colon", br#"{"titolo" "x"}"#, "expected `:`"),
        bad("an empty object", b"{}", "without `request_type`"),
        bad(
            "no request type",
            br#"{"titolo": "x", "contenuto": "y"}"#,
            "without `request_type`",
        ),
        bad(
            "no content",
            br#"{"titolo": "x", "request_type": "file_di_testo"}"#,
            "without `content`",
        ),
        bad(
            "no title",
            br#"{"contenuto": "y", "request_type": "file_di_testo"}"#,
            "without `title`",
        ),
        bad(
            "a null title",
            br#"{"titolo": null, "contenuto": "y", "request_type": "file_di_testo"}"#,
            "title",
        ),
        bad(
            "a number as title",
            br#"{"titolo": 5, "contenuto": "y", "request_type": "file_di_testo"}"#,
            "invalid type",
        ),
        bad(
            "an array as content",
            br#"{"titolo": "x", "contenuto": ["y"], "request_type": "file_di_testo"}"#,
            "invalid type",
        ),
        bad(
            "a number as request type",
            br#"{"titolo": "x", "contenuto": "y", "request_type": 1}"#,
            "invalid type",
        ),
        bad(
            "a title that is too long",
            old_style_put(&"t".repeat(4097), "").as_bytes(),
            "a title of 4097 bytes",
        ),
        bad("nesting of 129", nested(129).as_bytes(), "deeper than 128"),
        bad(
            "an endless nesting",
            "{\"x\":".repeat(1000).as_bytes(),
            "deeper than 128",
        ),
        bad(
            "one byte more than the limit",
            of_length("x", MAX_JSON + 1).as_bytes(),
            "larger than the limit of 102400",
        ),
        bad(
            "much more than the limit",
            of_length("x", 5 << 20).as_bytes(),
            "larger than the limit of 102400",
        ),
        bad(
            "an endless string",
            format!("{{\"titolo\": \"{}", "x".repeat(1 << 20)).as_bytes(),
            "larger than the limit of 102400",
        ),
        bad(
            "content that is not UTF-8",
            &not_utf8(r#"{"titolo": "x", "contenuto": "?", "request_type": "file_di_testo"}"#),
            "utf-8",
        ),
        bad(
            "a title that is not UTF-8",
            &not_utf8(r#"{"titolo": "?", "contenuto": "y", "request_type": "file_di_testo"}"#),
            "utf-8",
        ),
        bad(
            "a lone surrogate in the content",
            br#"{"titolo": "x", "contenuto": "\ud83d", "request_type": "file_di_testo"}"#,
            "hex escape",
        ),
        bad(
            "a lone surrogate in the title",
            br#"{"titolo": "\udc00", "contenuto": "y", "request_type": "file_di_testo"}"#,
            "surrogate",
        ),
        bad(
            "a control character in a string",
            b"{\"titolo\": \"a\nb\", \"contenuto\": \"y\", \"request_type\": \"file_di_testo\"}",
            "control character",
        ),
        bad(
            "a key twice",
            br#"{"titolo": "x", "titolo": "z", "contenuto": "y", "request_type": "file_di_testo"}"#,
            "duplicate field",
        ),
        bad(
            "a key in both languages",
            br#"{"titolo": "x", "title": "z", "contenuto": "y", "request_type": "file_di_testo"}"#,
            "duplicate field",
        ),
        bad(
            "an object cut off in a string",
            br#"{"titolo": "x", "contenuto": "yyy"#,
            "ended in the middle",
        ),
        bad(
            "an object cut off behind its first byte",
            b"{",
            "ended in the middle",
        ),
        bad(
            "a TLS hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "TLS",
        ),
        bad(
            "an HTTP request",
            b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n{}",
            "HTTP",
        ),
        bad("a byte of zero", b"\0", "0x00"),
    ]
}

/// Two connections that are used all the time, one at each doorway.
struct Honest {
    json: Wire,
    native: Wire,
    sent: u64,
}

impl Honest {
    fn connect(farm: &Farm) -> Self {
        let address = &farm.balancer.address;
        Self {
            json: Wire::connect(address),
            native: Wire::native(address),
            sent: 0,
        }
    }

    /// Sends a file over each of them; the native one is delivered.
    fn go_on(&mut self) {
        self.json
            .write(old_style_put(&format!("honest-json-{}", self.sent), "honest").as_bytes());
        self.native.write(&frame(
            &put(self.sent, &format!("honest-native-{}", self.sent)),
            b"honest",
        ));
        self.native.frame_of("delivered");
        self.sent += 1;
    }

    /// How many files it has sent.
    fn files(&self) -> u64 {
        self.sent * 2
    }
}

#[test]
fn bad_json_closes_its_own_connection_with_a_reason_in_the_log_and_costs_no_file() {
    let farm = Farm::with(&[1], &[], &["--max-json", "100KiB"]);
    let mut honest = Honest::connect(&farm);
    let mut expected = BTreeMap::new();
    let unknown = BadJson {
        what: "an unknown request type",
        bytes: br#"{"request_type": "dance"}"#.to_vec(),
        reason: "unknown request type",
    };
    for BadJson {
        what,
        bytes,
        reason,
    } in bad_json().into_iter().chain([unknown])
    {
        let mut wire = Wire::connect(&farm.balancer.address);
        for n in 0..2 {
            let title = format!("{what} {n}");
            wire.write(old_style_put(&title, what).as_bytes());
            expected.insert(title, what.as_bytes().to_vec());
        }
        offer(&mut wire, &bytes);
        if reason == "ended in the middle" {
            wire.0.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(wire.rest(), b"", "{what}: nothing is sent back");
        wait_for_line(
            || farm.log(),
            &["connection closed", &peer_of(&wire), reason],
        );
        honest.go_on();
    }
    wait_for_delivered(&farm, expected.len() as u64 + honest.files());
    let mut stored = titles(farm.stored(0));
    stored.retain(|title, _| !title.starts_with("honest-"));
    assert_eq!(stored, expected, "all before it are kept, and nothing else");
}

/// A field that nobody reads may be as bad as one that is read.
#[test]
fn bytes_that_are_not_utf8_close_the_connection_wherever_they_stand() {
    let farm = Farm::start(&[1]);
    for (what, bytes) in [
        (
            "in an unknown field",
            &b"{\"x\": \"\xff\", \"titolo\": \"x\", \"contenuto\": \"y\", \"request_type\": \"file_di_testo\"}"[..],
        ),
        (
            "in an unknown key",
            b"{\"\xff\": 1, \"titolo\": \"x\", \"contenuto\": \"y\", \"request_type\": \"file_di_testo\"}",
        ),
    ] {
        let mut wire = Wire::connect(&farm.balancer.address);
        wire.write(bytes);
        // It is no more than a silent connection if the object was taken.
        wire.0.shutdown(Shutdown::Write).unwrap();
        wire.rest();
        wait_until(&format!("bytes that are not UTF-8 {what} to be judged"), || {
            farm.status().accepted > 0 || farm.log().contains(&peer_of(&wire))
        });
        assert_eq!(farm.status().accepted, 0, "not UTF-8 {what}, and taken");
    }
}

#[test]
fn json_at_its_limits_is_taken() {
    let farm = Farm::with(&[1], &[], &["--max-json", "100KiB"]);
    let mut wire = Wire::connect(&farm.balancer.address);
    wire.write(nested(128).as_bytes());
    wire.write(of_length("full.json", MAX_JSON).as_bytes());
    let long_title = "t".repeat(4096);
    wire.write(old_style_put(&long_title, "long").as_bytes());
    wire.write(
        b"  \r\n\t{\"request_type\": \"file\", \"title\": \"English\", \"content\": \"yes\"}\n\n",
    );
    wait_for_delivered(&farm, 4);
    let stored = farm.stored(0);
    assert_eq!(stored["1_deep.json"], b"deep");
    assert_eq!(
        stored["2_full.json"].len(),
        MAX_JSON - old_style_put("full.json", "").len()
    );
    assert_eq!(stored[&stored_name(3, &long_title)], b"long");
    assert_eq!(stored["4_English"], b"yes");
}

#[test]
fn bad_json_at_a_server_closes_its_own_connection_with_a_reason_in_the_log_and_costs_no_file() {
    let lone = Lone::start(&["--max-json", "100KiB"]);
    let mut honest = link(&lone.server.address);
    let mut expected = BTreeMap::new();
    let no_number = BadJson {
        what: "no number",
        bytes: old_style_put("x", "y").into_bytes(),
        reason: "without `numero_richiesta`",
    };
    let bad_number = BadJson {
        what: "a number that is none",
        bytes: numbered(0, &old_style_put("x", "y"))
            .replace(": 0}", ": -1}")
            .into_bytes(),
        reason: "invalid value",
    };
    for (
        place,
        BadJson {
            what,
            bytes,
            reason,
        },
    ) in bad_json()
        .into_iter()
        .chain([no_number, bad_number])
        .enumerate()
    {
        let number = 2 * place as u64 + 1;
        let mut wire = Wire::connect(&lone.server.address);
        wire.write(numbered(number, &old_style_put(what, what)).as_bytes());
        expected.insert(stored_name(number, what), what.as_bytes().to_vec());
        offer(&mut wire, &bytes);
        if reason == "ended in the middle" {
            wire.0.shutdown(Shutdown::Write).unwrap();
        }
        assert_eq!(wire.rest(), b"", "{what}: nothing is sent back");
        wait_for_line(
            || lone.log(),
            &["connection closed", &peer_of(&wire), reason],
        );
        honest.write(&frame(&store(number + 1, "honest"), b"honest"));
        honest.frame_of("stored");
        expected.insert(format!("{}_honest", number + 1), b"honest".to_vec());
    }
    wait_until("all good files to be stored", || {
        stored(&lone.files()).len() >= expected.len()
    });
    assert_eq!(stored(&lone.files()), expected);
    // A file that is stored is closed a moment after it has its name.
    wait_until("no unfinished file to be left", || {
        lone.server.unfinished(&lone.files()) == 0
    });
}

// ---------------------------------------------------------------- the native doorway

/// How far a native connection has got before the bad thing comes.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// Nothing was sent.
    First,
    /// The preface was sent.
    Unnamed,
    /// Both sides have said what they are, and a file has been taken.
    Greeted,
}

/// Something bad on a native connection.
struct BadFrame {
    what: &'static str,
    when: When,
    bytes: Vec<u8>,
    /// The sender closes its side behind it.
    then_closes: bool,
    code: &'static str,
    /// What peer and log are told.
    reason: &'static str,
}

impl BadFrame {
    fn at(when: When, what: &'static str, bytes: Vec<u8>, reason: &'static str) -> Self {
        Self {
            what,
            when,
            bytes,
            then_closes: false,
            code: "malformed",
            reason,
        }
    }

    fn cut_off(when: When, what: &'static str, bytes: Vec<u8>) -> Self {
        let reason = "ended in the middle";
        Self {
            then_closes: true,
            ..Self::at(when, what, bytes, reason)
        }
    }

    fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }
}

/// What is bad at both ports, where files come in with headers like `header(number, title)`.
fn bad_frames(header: fn(u64, &str) -> String) -> Vec<BadFrame> {
    use When::{First, Greeted, Unnamed};
    let at = BadFrame::at;
    let typed = |from: &str, to: &str| frame(&header(9, "bad").replace(from, to), b"");
    let (small, large) = (&b"0123456789"[..], &vec![b'x'; 600_000][..]);
    let large_cut_off = frame_declaring(&header(9, "bad"), 600_000, &large[..400_000]);
    vec![
        at(
            First,
            "wrong magic",
            b"\xB1ILIKE\0\x01".to_vec(),
            "wrong magic",
        ),
        at(
            First,
            "an unknown version",
            b"\xB1ILICO\0\x07".to_vec(),
            "not 7",
        )
        .coded("version"),
        BadFrame::cut_off(First, "half a preface", PREFACE[..5].to_vec()),
        at(
            Unnamed,
            "a file before the hello",
            frame(&header(9, "bad"), small),
            "begins with a hello",
        ),
        at(
            Unnamed,
            "a hello without a role",
            frame(r#"{"request_type":"hello"}"#, b""),
            "no `role`",
        ),
        at(
            Unnamed,
            "a hello of a king",
            frame(r#"{"request_type":"hello","role":"king"}"#, b""),
            "king",
        ),
        at(
            Unnamed,
            "content behind a hello",
            frame(r#"{"request_type":"hello","role":"client"}"#, small),
            "behind a message that takes none",
        ),
        BadFrame::cut_off(
            Unnamed,
            "half a hello",
            frame(r#"{"request_type":"hello"}"#, b"")[..20].to_vec(),
        ),
        at(
            Greeted,
            "a header of 0 bytes",
            head(0),
            "a header of 0 bytes",
        ),
        at(
            Greeted,
            "a header larger than the limit",
            head(65_537),
            "a header of 65537 bytes",
        ),
        at(
            Greeted,
            "a header larger than anything",
            head(u32::MAX),
            "a header of 4294967295 bytes",
        ),
        at(
            Greeted,
            "a header that is no JSON",
            frame("nonsense", b""),
            "bad header",
        ),
        at(
            Greeted,
            "a header that is no object",
            frame("[1]", b""),
            "bad header",
        ),
        at(
            Greeted,
            "a header that is not UTF-8",
            {
                let mut wire = typed("bad", "b?d");
                wire.iter_mut()
                    .filter(|byte| **byte == b'?')
                    .for_each(|byte| *byte = 0xff);
                wire
            },
            "bad header",
        ),
        at(
            Greeted,
            "a header nested too deep",
            frame(
                &format!("{{\"request_type\":\"put\",\"id\":{}", "[".repeat(5000)),
                b"",
            ),
            "bad header",
        ),
        at(
            Greeted,
            "an unknown request type",
            frame(r#"{"request_type":"dance"}"#, b""),
            "unknown request type",
        ),
        at(
            Greeted,
            "no request type",
            frame(r#"{"title":"x"}"#, b""),
            "request_type",
        ),
        at(
            Greeted,
            "text as number",
            typed(":9", r#":"nine""#),
            "bad header",
        ),
        at(
            Greeted,
            "a negative number",
            typed(":9", ":-1"),
            "bad header",
        ),
        at(
            Greeted,
            "a number past 64 bits",
            typed(":9", ":18446744073709551616"),
            "bad header",
        ),
        at(
            Greeted,
            "a number as title",
            typed(r#""bad""#, "5"),
            "bad header",
        ),
        at(
            Greeted,
            "no title",
            typed(r#""title""#, r#""no_title""#),
            "no `title`",
        ),
        at(
            Greeted,
            "a title that is too long",
            frame(&header(9, &"t".repeat(4097)), small),
            "a title of 4097 bytes",
        ),
        at(
            Greeted,
            "a lone surrogate in the title",
            typed("bad", r"\ud800"),
            "bad header",
        ),
        at(
            Greeted,
            "content behind a message that takes none",
            frame(r#"{"request_type":"resumed"}"#, small),
            "behind a message that takes none",
        ),
        at(
            Greeted,
            "a second hello",
            frame(r#"{"request_type":"hello","role":"client"}"#, b""),
            "unexpected message",
        ),
        at(
            Greeted,
            "a message of the other direction",
            frame(r#"{"request_type":"resumed"}"#, b""),
            "unexpected message",
        ),
        at(
            Greeted,
            "a wrong checksum",
            damaged_frame(&header(9, "bad"), small),
            "checksum wrong",
        )
        .coded("checksum"),
        at(
            Greeted,
            "a wrong checksum of much",
            damaged_frame(&header(9, "bad"), large),
            "checksum wrong",
        )
        .coded("checksum"),
        at(
            Greeted,
            "more bytes than declared",
            frame_declaring(
                &header(9, "bad"),
                5,
                &[small, &crc32c::crc32c(small).to_be_bytes()].concat(),
            ),
            "checksum wrong",
        )
        .coded("checksum"),
        BadFrame::cut_off(Greeted, "half a head", head(7)[..5].to_vec()),
        BadFrame::cut_off(
            Greeted,
            "half a header",
            frame(&header(9, "bad"), b"")[..20].to_vec(),
        ),
        BadFrame::cut_off(
            Greeted,
            "fewer bytes than declared",
            frame_declaring(&header(9, "bad"), 20, small),
        ),
        BadFrame::cut_off(
            Greeted,
            "no byte of those declared",
            frame_declaring(&header(9, "bad"), 20, b""),
        ),
        BadFrame::cut_off(
            Greeted,
            "content without its checksum",
            frame_declaring(&header(9, "bad"), 10, small),
        ),
        BadFrame::cut_off(Greeted, "fewer bytes than declared of many", large_cut_off),
    ]
}

/// Offers something bad, checks that it is answered with a `bye` that says why and then closed, and
/// gives the frames that came before that. Closes this end, too: as long as it is open, the other
/// end lingers.
#[track_caller]
fn refused_with(mut wire: Wire, bad: &BadFrame) -> Vec<Value> {
    offer(&mut wire, &bad.bytes);
    if bad.then_closes {
        wire.0.shutdown(Shutdown::Write).unwrap();
    }
    let mut frames = Vec::new();
    if bad.when != When::Greeted {
        let (first, _) = wire.greeting();
        frames.push(serde_json::from_str(&first).unwrap());
    }
    frames.extend(frames_to_the_end(&mut wire));
    let bye = frames
        .pop()
        .unwrap_or_else(|| panic!("{}: closed without a word", bad.what));
    assert!(is_of(&bye, "bye"), "{}: {bye}", bad.what);
    assert_eq!(bye["code"], bad.code, "{}: {bye}", bad.what);
    let reason = bye["reason"].as_str().unwrap();
    assert!(
        !reason.is_empty() && reason.contains(bad.reason),
        "{}: {bye}",
        bad.what
    );
    // A server greets at once, whoever comes.
    frames.retain(|frame| !is_of(frame, "hello"));
    frames
}

#[test]
fn a_bad_native_frame_is_refused_with_a_reason_and_costs_no_file() {
    let farm = Farm::start(&[1]);
    let mut honest = Honest::connect(&farm);
    let mut good = BTreeSet::new();
    for bad in bad_frames(put) {
        let mut wire = Wire::connect(&farm.balancer.address);
        match bad.when {
            When::First => {}
            When::Unnamed => wire.write(&PREFACE),
            When::Greeted => {
                wire = Wire::native(&farm.balancer.address);
                wire.write(&frame(&put(1, bad.what), b"good"));
                wire.frame_of("delivered");
                good.insert(bad.what.to_owned());
            }
        }
        let peer = peer_of(&wire);
        for frame in refused_with(wire, &bad) {
            assert!(
                is_of(&frame, "refused") && frame["id"] == 9 && frame["code"] == bad.code,
                "{}: {frame}",
                bad.what
            );
        }
        wait_for_line(|| farm.log(), &["connection closed", &peer, bad.reason]);
        honest.go_on();
    }
    wait_for_delivered(&farm, good.len() as u64 + honest.files());
    let stored = titles(farm.stored(0))
        .into_keys()
        .filter(|title| !title.starts_with("honest-"));
    assert_eq!(
        stored.collect::<BTreeSet<_>>(),
        good,
        "files before it are kept, and nothing else"
    );
}

#[test]
fn who_is_no_client_is_told_so_by_the_balancer_and_sent_away() {
    let farm = Farm::start(&[1]);
    for role in ["server", "balancer"] {
        let mut wire = Wire::connect(&farm.balancer.address);
        wire.write(&PREFACE);
        wire.0
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let hello = frame(
            &json!({"request_type": "hello", "role": role}).to_string(),
            b"",
        );
        let peer = peer_of(&wire);
        refused_with(wire, &BadFrame::at(When::Unnamed, role, hello, "client"));
        wait_for_line(|| farm.log(), &["connection closed", &peer]);
    }
}

#[test]
fn a_bad_native_frame_at_a_server_is_refused_with_a_reason_and_leaves_nothing() {
    let lone = Lone::start(&[]);
    let mut honest = link(&lone.server.address);
    let mut expected = BTreeSet::new();
    let hello_of = |role: &str| {
        frame(
            &json!({"request_type": "hello", "role": role}).to_string(),
            b"",
        )
    };
    let more = [
        BadFrame::at(
            When::Unnamed,
            "a client's hello",
            hello_of("client"),
            "from a balancer only",
        ),
        BadFrame::at(
            When::Unnamed,
            "a server's hello",
            hello_of("server"),
            "from a balancer only",
        ),
        BadFrame::at(
            When::Greeted,
            "a client's put",
            frame(&put(9, "bad"), b"content"),
            "`store`",
        ),
    ];
    for (place, bad) in bad_frames(store).into_iter().chain(more).enumerate() {
        let number = 100 + 2 * place as u64;
        let mut wire = Wire::connect(&lone.server.address);
        match bad.when {
            When::First => {}
            When::Unnamed => wire.write(&PREFACE),
            When::Greeted => {
                wire = link(&lone.server.address);
                wire.write(&frame(&store(number, bad.what), b"good"));
                wire.frame_of("stored");
                expected.insert(stored_name(number, bad.what));
            }
        }
        let peer = peer_of(&wire);
        for frame in refused_with(wire, &bad) {
            assert!(
                is_of(&frame, "not_stored") && frame["request_number"] == 9,
                "{}: {frame}",
                bad.what
            );
        }
        wait_for_line(|| lone.log(), &["connection closed", &peer, bad.reason]);
        honest.write(&frame(&store(number + 1, "honest"), b"honest"));
        honest.frame_of("stored");
        expected.insert(format!("{}_honest", number + 1));
    }
    assert_eq!(
        stored(&lone.files()).into_keys().collect::<BTreeSet<_>>(),
        expected
    );
    wait_until("no unfinished file to be left", || {
        lone.server.unfinished(&lone.files()) == 0
    });
}

#[test]
fn a_file_larger_than_can_pass_is_refused_and_the_connection_goes_on() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    let mut wire = Wire::native(&farm.balancer.address);
    for id in [1, 3, 5] {
        wire.write(&frame(&put(id, "large"), &vec![b'x'; 600 << 10]));
        let refused: Value = serde_json::from_str(&wire.frame_of("refused")).unwrap();
        assert_eq!(
            (&refused["id"], &refused["code"]),
            (&json!(id), &json!("too_large")),
            "{refused}"
        );
        let reason = refused["reason"].as_str().unwrap();
        assert!(
            reason.contains("600 KiB") && reason.contains("--queue-bytes"),
            "{reason}"
        );
        wire.write(&frame(&put(id + 1, "small"), b"small"));
        wire.frame_of("delivered");
    }
    // It need not come for that: the declared size is enough.
    wire.write(&frame_declaring(&put(7, "endless"), u64::MAX, b"some"));
    assert!(wire.frame_of("refused").contains("too_large"));
    wire.0.shutdown(Shutdown::Write).unwrap();
    wire.rest();
    assert_eq!(
        farm.stored(0).into_values().collect::<Vec<_>>(),
        [b"small", b"small", b"small"]
    );
    assert_eq!(farm.status().accepted, 3);
}

#[test]
fn bilico_send_tells_of_a_file_larger_than_can_pass_and_sends_the_others() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    fs::write(farm.dir.path().join("large"), vec![b'x'; 600 << 10]).unwrap();
    fs::write(farm.dir.path().join("small"), "small").unwrap();
    let output = farm.send(&["large", "small"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("large") && errors.contains("--queue-bytes"),
        "{errors}"
    );
    assert_eq!(farm.stored(0).into_values().collect::<Vec<_>>(), [b"small"]);
}

// ---------------------------------------------------------------- stalls

const STALL: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_millis(700);
/// By when a stalled connection must be closed, on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);
const IMPATIENT: [&str; 4] = ["--stall-timeout", "500ms", "--idle-timeout", "700ms"];

/// A peer that does not go on.
struct Stall {
    what: &'static str,
    begins: Vec<u8>,
    /// What it then sends for ever, a byte every 100 ms.
    trickles: &'static [u8],
    after: Duration,
    reason: &'static str,
}

impl Stall {
    fn new(what: &'static str, begins: impl Into<Vec<u8>>) -> Self {
        Self {
            what,
            begins: begins.into(),
            trickles: b"",
            after: STALL,
            reason: "stalled",
        }
    }

    fn trickling(self, trickles: &'static [u8]) -> Self {
        Self { trickles, ..self }
    }

    fn idle(self) -> Self {
        Self {
            after: IDLE,
            reason: "silent",
            ..self
        }
    }

    /// Does not go on, until the other end has had enough; gives its own address.
    fn play(&self, address: &str) -> String {
        let mut wire = Wire::connect(address);
        let started = Instant::now();
        wire.write(&self.begins);
        wire.0
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let mut trickle = self.trickles.iter().cycle();
        let mut buffer = [0; 4096];
        loop {
            match wire.0.read(&mut buffer) {
                // A greeting, or last words.
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    // The pause was the input; here is its next byte.
                    trickle.next().map(|byte| wire.0.write_all(&[*byte]));
                }
                Ok(0) | Err(_) => break,
            }
            assert!(started.elapsed() < LONGEST, "{}: still open", self.what);
        }
        let elapsed = started.elapsed();
        assert!(
            elapsed >= self.after,
            "{}: closed after {elapsed:?}",
            self.what
        );
        peer_of(&wire)
    }
}

/// Peers that stall at either port, where files come in with headers like `header(number, title)`
/// after this hello.
fn stalls(role: &str, header: fn(u64, &str) -> String) -> Vec<Stall> {
    let hello = frame(
        &json!({"request_type": "hello", "role": role}).to_string(),
        b"",
    );
    let greeted = |then: &[u8]| [&PREFACE[..], &hello, then].concat();
    let cut_off =
        |size: u64, came: usize| frame_declaring(&header(1, "half"), size, &vec![b'x'; came]);
    vec![
        Stall::new("nothing at all", "").idle(),
        Stall::new("half a preface", &PREFACE[..4]),
        Stall::new("a preface and no hello", PREFACE).idle(),
        Stall::new("half a hello", [&PREFACE[..], &hello[..20]].concat()),
        Stall::new("half a head", greeted(&head(10)[..6])),
        Stall::new(
            "half a header",
            greeted(&frame(&header(1, "half"), b"")[..25]),
        ),
        Stall::new("half its content", greeted(&cut_off(1000, 500))),
        Stall::new("half of much content", greeted(&cut_off(400_000, 300_000))),
        Stall::new("content and no checksum", greeted(&cut_off(1000, 1000))),
        Stall::new("half an object", r#"{"titolo": "half"#),
        Stall::new(
            "half of a large object",
            format!(r#"{{"titolo": "{}"#, "x".repeat(80_000)),
        ),
        Stall::new("a header byte by byte", greeted(b""))
            .trickling(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Stall::new("content byte by byte", greeted(&cut_off(1000, 1))).trickling(b"x"),
        Stall::new("an object byte by byte", "{").trickling(b"\""),
    ]
}

#[test]
fn who_stalls_before_the_balancer_is_closed_after_a_deadline_and_others_go_on() {
    let farm = Farm::with(&[1], &[], &IMPATIENT);
    let mut stalls = stalls("client", put);
    stalls.push(
        Stall::new(
            "a client that only greets",
            [&PREFACE[..], CLIENT_HELLO].concat(),
        )
        .idle(),
    );
    stalls.push(
        Stall::new(
            "a client that falls silent",
            old_style_put("before", "kept"),
        )
        .idle(),
    );
    let mut honest = Wire::native(&farm.balancer.address);
    let mut sent = 1;
    std::thread::scope(|scope| {
        let playing: Vec<_> = stalls
            .iter()
            .map(|stall| scope.spawn(|| stall.play(&farm.balancer.address)))
            .collect();
        while !playing
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            honest.write(&frame(&put(sent, "honest"), b"honest"));
            honest.frame_of("delivered");
            sent += 1;
        }
        for (stall, peer) in stalls.iter().zip(playing) {
            wait_for_line(
                || farm.log(),
                &["connection closed", &peer.join().unwrap(), stall.reason],
            );
        }
    });
    wait_for_delivered(&farm, sent);
    assert_eq!(
        titles(farm.stored(0)).into_keys().collect::<Vec<_>>(),
        ["before", "honest"]
    );
}

#[test]
fn who_stalls_before_a_server_is_closed_after_a_deadline_and_others_go_on() {
    let lone = Lone::start(&IMPATIENT);
    let stalls = stalls("balancer", store);
    let mut honest = link(&lone.server.address);
    let mut number = 100;
    std::thread::scope(|scope| {
        let playing: Vec<_> = stalls
            .iter()
            .map(|stall| scope.spawn(|| stall.play(&lone.server.address)))
            .collect();
        while !playing
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            honest.write(&frame(&store(number, "honest"), b"honest"));
            honest.frame_of("stored");
            number += 1;
        }
        for (stall, peer) in stalls.iter().zip(playing) {
            wait_for_line(
                || lone.log(),
                &["connection closed", &peer.join().unwrap(), stall.reason],
            );
        }
    });
    assert_eq!(
        titles(stored(&lone.files()))
            .into_keys()
            .collect::<Vec<_>>(),
        ["honest"]
    );
    wait_until("no unfinished file to be left", || {
        lone.server.unfinished(&lone.files()) == 0
    });
}

/// White space between two objects is nothing: who sends no more than that is silent.
#[test]
fn who_sends_nothing_but_white_space_is_closed_after_a_deadline() {
    let farm = Farm::with(&[1], &IMPATIENT, &IMPATIENT);
    std::thread::scope(|scope| {
        for role in [&farm.balancer, &farm.servers[0]] {
            scope.spawn(|| {
                Stall::new("white space byte by byte", "")
                    .trickling(b" ")
                    .idle()
                    .play(&role.address)
            });
        }
    });
}

const CLIENT_HELLO: &[u8] =
    b"\0\0\0\x28\0\0\0\0\0\0\0\0{\"request_type\":\"hello\",\"role\":\"client\"}";

#[test]
fn a_native_client_with_a_file_under_way_is_not_closed_for_its_silence() {
    let mut farm = farm_without_server(&IMPATIENT);
    let mut wire = Wire::native(&farm.balancer.address);
    wire.write(&frame(&put(1, "first"), b"first"));
    wire.frame_of("accepted");
    // The silence is the input.
    std::thread::sleep(IDLE * 3);
    wire.write(&frame(&put(2, "second"), b"second"));
    wire.frame_of("accepted");
    farm.servers[0].restart();
    let delivered = [wire.frame_of("delivered"), wire.frame_of("delivered")];
    assert_eq!(farm.stored(0).len(), 2, "{delivered:?}");
    // And once nothing is under way, it is.
    assert!(is_of(frames_to_the_end(&mut wire).last().unwrap(), "bye"));
    wait_for_line(
        || farm.log(),
        &["connection closed", &peer_of(&wire), "silent"],
    );
}

// ---------------------------------------------------------------- titles

/// Titles that mean harm to a path, a terminal or a log.
fn nasty_titles(outside: &Path) -> Vec<String> {
    let forged = "x\r\n2026-11-21T06:27:00.123Z INFO  delivered number=4711 server=forged";
    let titles = [
        "",
        "../../etc/passwd",
        "..\\..\\windows\\system.ini",
        "/etc/passwd",
        "a/b/c",
        "nul\0byte",
        "\r\n",
        forged,
        "\u{1b}[2J\u{1b}]0;title\u{7}",
        "\u{9b}31m\u{85}\u{7f}",
        "gpj.\u{202e}exe",
        "\u{feff}\u{2028}\u{2029}\u{2066}",
        ".",
        "..",
        "...",
        "~",
        "-rf",
        "🚚🇮🇹 città.json",
        "trailing dot.",
        "trailing space ",
        " leading space",
        "COM1",
        ".bilico-1-1.part",
        "%2e%2e%2f",
        "$(reboot)`reboot`;|&*?",
    ];
    let mut titles: Vec<String> = titles.into_iter().map(str::to_owned).collect();
    titles.push(outside.to_str().unwrap().to_owned());
    titles.push("x".repeat(300));
    titles.push(format!("{}.json", "è".repeat(150)));
    titles.push("/".repeat(4096));
    titles
}

/// All files and directories below a directory, but for those of the log.
fn tree(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

/// Checks that a log has one line an event and no character that a terminal acts on.
fn check_log(log: &str) {
    for line in log.lines() {
        let is_time = |start: &str| start.ends_with('Z') && start.as_bytes()[10] == b'T';
        assert!(
            line.get(..24).is_some_and(is_time),
            "no time at the beginning of {line:?}"
        );
    }
    let bad = |c: &char| {
        (c.is_control() && *c != '\n')
            || ('\u{2028}'..='\u{202e}').contains(c)
            || "\u{feff}\u{2066}".contains(*c)
    };
    assert_eq!(log.chars().find(bad), None);
    let forged = log
        .lines()
        .find(|line| line.contains(" delivered number=4711") && !line.contains("title="));
    assert_eq!(forged, None);
}

#[test]
fn every_title_is_stored_inside_the_directory_and_logged_escaped() {
    let farm = Farm::start(&[1]);
    let outside = farm.dir.path().join("outside.json");
    let titles = nasty_titles(&outside);
    let mut native = Wire::native(&farm.balancer.address);
    let mut json = Wire::connect(&farm.balancer.address);
    let mut expected = BTreeMap::new();
    let mut number = 0;
    for title in &titles {
        let header = json!({"request_type": "put", "id": 1, "title": title}).to_string();
        native.write(&frame(&header, title.as_bytes()));
        native.frame_of("delivered");
        json.write(old_style_put(title, title).as_bytes());
        number += 2;
        wait_for_delivered(&farm, number);
        expected.insert(stored_name(number - 1, title), title.as_bytes().to_vec());
        expected.insert(stored_name(number, title), title.as_bytes().to_vec());
    }
    assert_eq!(farm.stored(0), expected);
    let inside = farm.server_dir(0);
    for path in tree(farm.dir.path()) {
        let below = path.strip_prefix(farm.dir.path()).unwrap();
        let known = ["json_files_1", "logs", "journal"]
            .iter()
            .any(|dir| below.starts_with(dir));
        assert!(known, "{} is outside", path.display());
        assert!(
            !path.starts_with(&inside) || path == inside || path.is_file(),
            "{}",
            path.display()
        );
    }
    assert_eq!(
        tree(&inside).len(),
        expected.len() + 1,
        "the files and the server's index"
    );
    assert!(!outside.exists());
    wait_for_line(|| farm.log(), &["delivered", &format!("number={number}")]);
    check_log(&farm.log());
    wait_for_line(
        || farm.server_log(0),
        &["stored", &format!("number={number}")],
    );
    check_log(&farm.server_log(0));
}

// ---------------------------------------------------------------- a server that cannot store

/// A balancer over two servers, the first of which stores in this directory.
fn farm_storing_in(dir: tempfile::TempDir, first: &Path) -> Farm {
    let first = Role::start(
        dir.path(),
        &[
            "server",
            "--listen",
            "127.0.0.1:0",
            "--dir",
            first.to_str().unwrap(),
        ],
    );
    let servers = vec![first, start_server(dir.path(), 2, &[])];
    let specs: Vec<String> = servers
        .iter()
        .map(|server| format!("{}=1", server.address))
        .collect();
    let balancer = start_balancer(dir.path(), &specs, &[]);
    Farm {
        servers,
        balancer,
        dir,
    }
}

/// The first server cannot even keep its index: it gets nothing, and says why. When the cause is
/// gone, it gets files.
fn gets_nothing_until_repaired(farm: &Farm, first: &Path, reason: &str, repair: impl FnOnce()) {
    wait_until("the other server to be up", || {
        farm.server_status(1).eligible
    });
    wait_until("the reason to be known", || {
        farm.server_status(0)
            .reason
            .is_some_and(|text| text.contains(reason))
    });
    let mut sent = send_some(farm);
    assert_eq!(
        (
            farm.server_status(0).delivered,
            farm.server_status(1).delivered
        ),
        (0, sent)
    );
    repair();
    wait_until("it to get files", || {
        sent += send_some(farm);
        farm.server_status(0).delivered > 0
    });
    assert_eq!(farm.status().delivered, sent);
    assert!(!stored(first).is_empty());
}

/// Sends 20 small files and one that is written to disk as it comes; all must be delivered.
fn send_some(farm: &Farm) -> u64 {
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..20 {
        fs::write(folder.join(file.to_string()), vec![b'x'; 1000]).unwrap();
    }
    fs::write(folder.join("large"), vec![b'x'; 300_000]).unwrap();
    let output = farm.send(&["-r", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    21
}

/// The first server cannot store: its files go to the other one, and it says why. When the cause is
/// gone, it gets files again.
fn goes_elsewhere_until_repaired(
    farm: &mut Farm,
    first: &Path,
    reason: &str,
    repair: impl FnOnce(),
) {
    let before = farm.server_status(0).delivered;
    let mut sent = farm.status().delivered;
    sent += send_some(farm);
    assert_eq!(farm.status().delivered, sent);
    assert_eq!(
        farm.server_status(0).delivered,
        before,
        "it cannot have stored any"
    );
    wait_for_line(|| farm.server_log(0), &["cannot store", reason]);
    wait_for_line(
        || farm.log(),
        &["came back", &farm.servers[0].address, reason],
    );
    let flip = wait_for_line(
        || farm.log(),
        &["server ineligible", &farm.servers[0].address, "storage"],
    );
    assert!(flip.contains(reason), "{flip}");
    assert!(farm.server_status(0).returned > 0);

    repair();
    wait_until("it to get files again", || {
        sent += send_some(farm);
        farm.server_status(0).delivered > before
    });
    wait_for_line(
        || farm.log(),
        &["server recovered", &farm.servers[0].address, "storage"],
    );
    assert_eq!(farm.status().delivered, sent);
    let stored: Vec<(String, Vec<u8>)> = stored(first).into_iter().chain(farm.stored(1)).collect();
    for (name, content) in stored {
        let length = if name.ends_with("_large") {
            300_000
        } else {
            1000
        };
        assert!(
            name.starts_with("ballast") || content == vec![b'x'; length],
            "{name} is not whole"
        );
    }
    wait_until("no unfinished file to be left", || {
        farm.servers[0].unfinished(first) == 0
    });
}

#[test]
fn files_go_elsewhere_when_a_servers_directory_is_removed_and_it_ends() {
    let mut farm = Farm::start(&[1, 1]);
    let mut sent = send_some(&farm);
    fs::remove_dir_all(farm.server_dir(0)).unwrap();
    sent += send_some(&farm);
    wait_until("the server to end", || farm.servers[0].ended().is_some());
    assert_eq!(farm.servers[0].ended().unwrap().code(), Some(6));
    wait_for_line(
        || farm.server_log(0),
        &[
            "ERROR",
            "json_files_1",
            "while the server ran",
            "the server stops",
        ],
    );
    assert_eq!(farm.status().delivered, sent);
    let before = farm.server_status(0).delivered;
    farm.servers[0].restart();
    wait_until("it to get files again", || {
        sent += send_some(&farm);
        farm.server_status(0).delivered > before
    });
    assert_eq!(farm.status().delivered, sent);
}

#[test]
fn files_go_elsewhere_while_a_servers_directory_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("in_the_way");
    fs::write(&in_the_way, "a file").unwrap();
    let files = in_the_way.join("json_files");
    let farm = farm_storing_in(dir, &files);
    wait_for_line(
        || farm.server_log(0),
        &["cannot use the directory", "in_the_way"],
    );
    gets_nothing_until_repaired(&farm, &files, "ot a directory", || {
        fs::remove_file(&in_the_way).unwrap();
        fs::create_dir_all(&files).unwrap();
    });
}

#[test]
fn files_go_elsewhere_while_a_servers_disk_is_full() {
    let Some(disk) = Mount::tmpfs("4m") else {
        return;
    };
    let ballast = disk.path().join("ballast");
    let mut filling = fs::File::create(&ballast).unwrap();
    while filling.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    // An open file would keep its room after its removal.
    drop(filling);
    let farm = farm_storing_in(tempfile::tempdir().unwrap(), disk.path());
    gets_nothing_until_repaired(&farm, disk.path(), "o space left", || {
        fs::remove_file(&ballast).unwrap()
    });
}

#[test]
fn files_go_elsewhere_while_a_servers_directory_is_read_only() {
    let Some(disk) = Mount::tmpfs("4m") else {
        return;
    };
    let mut farm = farm_storing_in(tempfile::tempdir().unwrap(), disk.path());
    farm.wait_until_up();
    assert!(mount(&["-o", "remount,ro"], disk.path()));
    goes_elsewhere_until_repaired(&mut farm, disk.path(), "Read-only", || {
        assert!(mount(&["-o", "remount,rw"], disk.path()));
    });
}

// ---------------------------------------------------------------- the queue is full

/// Writes until the other end has read nothing for half a second; gives how much of `bytes` was
/// written.
fn write_until_stuck(wire: &mut Wire, bytes: &[u8]) -> usize {
    wire.0
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut written = 0;
    while written < bytes.len() {
        match wire.0.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after {written} bytes"),
        }
    }
    wire.0.set_write_timeout(None).unwrap();
    written
}

#[test]
fn a_full_queue_makes_native_clients_wait_and_tells_them_why_and_drops_nothing() {
    let mut farm = farm_without_server(&["--queue-files", "5"]);
    let mut wire = Wire::native(&farm.balancer.address);
    for id in 1..=6 {
        wire.write(&frame(&put(id, &id.to_string()), id.to_string().as_bytes()));
    }
    let mut told = (BTreeSet::new(), None);
    while told.0.len() < 5 || told.1.is_none() {
        let header: Value = serde_json::from_str(&wire.frame().unwrap().0).unwrap();
        if is_of(&header, "accepted") {
            told.0.insert(header["id"].as_u64().unwrap());
        } else {
            assert!(is_of(&header, "waiting"), "{header}");
            told.1 = Some(header);
        }
    }
    assert_eq!(told.0, (1..=5).collect());
    let waiting = told.1.unwrap();
    let reason = waiting["reason"].as_str().unwrap();
    assert!(
        reason.contains("full") && reason.contains("5 of 5"),
        "{reason}"
    );
    wait_for_line(|| farm.log(), &["not reading from clients", "full"]);

    // Nothing more is read: what the kernels hold between us is far less than this.
    let resident = farm.balancer.resident();
    let size = 256 * 1024;
    let last = 6 + 256;
    let rest: Vec<u8> = (7..=last)
        .flat_map(|id| frame(&put(id, &id.to_string()), &vec![b'x'; size]))
        .collect();
    let written = write_until_stuck(&mut wire, &rest);
    assert!(written < rest.len(), "64 MiB were read past a full queue");
    assert_eq!(farm.status().accepted, 5);
    assert!(
        farm.balancer.resident() < resident + (16 << 20),
        "what is not read is not held"
    );

    // The files that have been begun are ended, and no more are sent.
    let frame_len = |id: u64| frame(&put(id, &id.to_string()), &vec![b'x'; size]).len();
    let (mut end, mut sent) = (0, 6);
    while end < written {
        sent += 1;
        end += frame_len(sent);
    }
    farm.servers[0].restart();
    let mut other_half = Wire(wire.0.try_clone().unwrap());
    let mut resumed = false;
    std::thread::scope(|scope| {
        scope.spawn(|| other_half.write(&rest[written..end]));
        let mut delivered = BTreeSet::new();
        while delivered.len() < usize::try_from(sent).unwrap() {
            let (header, _) = wire.frame().unwrap();
            let header: Value = serde_json::from_str(&header).unwrap();
            resumed |= is_of(&header, "resumed");
            assert!(
                !is_of(&header, "refused") && !is_of(&header, "bye"),
                "{header}"
            );
            if is_of(&header, "delivered") {
                assert!(
                    delivered.insert(header["id"].as_u64().unwrap()),
                    "{header} came twice"
                );
            }
        }
    });
    assert!(resumed);
    let stored = farm.stored(0);
    assert_eq!(stored.len() as u64, sent);
    for (name, content) in stored {
        let id: u64 = name.split_once('_').unwrap().1.parse().unwrap();
        assert!(
            if id <= 6 {
                content == id.to_string().as_bytes()
            } else {
                content == vec![b'x'; size]
            },
            "{name}"
        );
    }
}

#[test]
fn a_full_queue_makes_old_clients_wait_and_drops_nothing() {
    let mut farm = farm_without_server(&["--queue-files", "5"]);
    let mut wire = Wire::connect(&farm.balancer.address);
    let content = "è".repeat(100_000);
    let documents: Vec<String> = (0..300)
        .map(|file| old_style_put(&file.to_string(), &content))
        .collect();
    let all = documents.concat();
    let written = write_until_stuck(&mut wire, all.as_bytes());
    assert!(written < all.len(), "60 MB were read past a full queue");
    wait_until("five to be accepted", || farm.status().accepted == 5);
    let (mut end, mut sent) = (0, 0);
    while end < written {
        end += documents[sent].len();
        sent += 1;
    }
    assert_eq!(farm.status().accepted, 5, "it is not read from");
    farm.servers[0].restart();
    wire.write(&all.as_bytes()[written..end]);
    drop(wire);
    wait_for_delivered(&farm, sent as u64);
    let stored = titles(farm.stored(0));
    assert_eq!(stored.len(), sent);
    assert!(stored.values().all(|stored| stored == content.as_bytes()));
}

/// Large files wait in two places: for leave to be read, and for room in the queue. Wherever a
/// client waits, it is told.
#[test]
fn every_native_client_that_waits_for_a_full_queue_learns_why() {
    let mut farm = farm_without_server(&["--queue-bytes", "1MiB", "--max-json", "100KiB"]);
    let large = |id| frame(&put(id, "large"), &vec![b'x'; 400 << 10]);
    let mut filler = Wire::native(&farm.balancer.address);
    for id in 1..=2 {
        filler.write(&large(id));
        filler.frame_of("accepted");
    }
    let mut waiting: Vec<Wire> = (0..3)
        .map(|_| Wire::native(&farm.balancer.address))
        .collect();
    for wire in &mut waiting {
        wire.write(&large(1));
        wire.0
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let told = wire.frame_of("waiting");
        assert!(told.contains("full"), "{told}");
    }
    farm.servers[0].restart();
    for wire in &mut waiting {
        wire.0.set_read_timeout(Some(DEADLINE)).unwrap();
        wire.frame_of("resumed");
        wire.frame_of("delivered");
    }
    assert_eq!(farm.stored(0).len(), 5);
}

// ---------------------------------------------------------------- many

#[test]
fn many_silent_and_many_garbled_connections_do_not_hinder_an_honest_client() {
    let farm = Farm::start(&[2, 1]);
    let mut silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&farm.balancer.address).unwrap())
        .collect();
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = || {
        // Xorshift: the same garbage in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let garbage: Vec<Vec<u8>> = (0..50)
        .map(|_| (0..2000).flat_map(|_| random()).collect())
        .collect();
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..200 {
        fs::write(folder.join(file.to_string()), format!("file {file}")).unwrap();
    }
    let output = std::thread::scope(|scope| {
        let sending = scope.spawn(|| farm.send(&["-r", folder.to_str().unwrap()]));
        for (place, garbage) in garbage.iter().enumerate() {
            let mut wire = Wire::connect(&farm.balancer.address);
            // A third of them gets through the door first.
            match place % 3 {
                0 => {}
                1 => offer(&mut wire, &[&PREFACE[..], CLIENT_HELLO].concat()),
                _ => offer(&mut wire, b"{"),
            }
            offer(&mut wire, garbage);
            wire.rest();
        }
        sending.join().unwrap()
    });
    assert!(output.status.success(), "{output:?}");
    let stored = farm.all_stored();
    assert_eq!(stored.len(), 200);
    for (name, content) in stored {
        assert_eq!(
            content,
            format!("file {}", name.split_once('_').unwrap().1).as_bytes()
        );
    }
    for stream in &mut silent {
        stream.set_nonblocking(true).unwrap();
        let read = stream.read(&mut [0]);
        assert!(
            read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
            "it was closed too early"
        );
    }
}

#[test]
fn a_client_that_never_reads_its_receipts_costs_bounded_memory_and_no_other_client_notices() {
    let farm = Farm::with(&[1], &[], &["--stall-timeout", "5m"]);
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..50 {
        fs::write(folder.join(file.to_string()), "honest").unwrap();
    }
    let folder = folder.to_str().unwrap();
    assert!(farm.send(&["-r", folder]).status.success());
    let before = farm.balancer.resident();

    let mut deaf = Wire::native(&farm.balancer.address);
    let files = 20_000;
    let mut writing = Wire(deaf.0.try_clone().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for id in 0..files {
                writing.write(&frame(&put(id, "deaf"), b"x"));
            }
        });
        // It is read from to the end, or it stands still.
        let mut accepted = (0, Instant::now());
        wait_until("the flood to end or to stand still", || {
            let now = farm.status().accepted;
            if now != accepted.0 {
                accepted = (now, Instant::now());
            }
            now == files + 50 || accepted.1.elapsed() > Duration::from_secs(1)
        });
        assert!(farm.send(&["-r", folder]).status.success(), "others go on");
        check_grown(&farm, before);

        // Once it reads, it has all of them.
        let mut receipts = (0, 0);
        while receipts.1 < files {
            let (header, _) = deaf.frame().expect("the connection is still there");
            receipts.0 += u64::from(header.contains(r#""request_type":"accepted""#));
            receipts.1 += u64::from(header.contains(r#""request_type":"delivered""#));
        }
        assert_eq!(receipts, (files, files));
    });
    wait_for_delivered(&farm, files + 100);
}

/// Checks that the balancer does not hold much more than it did before.
#[track_caller]
fn check_grown(farm: &Farm, before: u64) {
    let grown = farm.balancer.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more for what is not read");
}

#[test]
fn a_client_that_asks_and_never_reads_the_answers_is_no_longer_read_from_until_it_does() {
    let farm = Farm::with(&[1], &[], &["--stall-timeout", "5m"]);
    let before = farm.balancer.resident();
    let mut deaf = Wire::native(&farm.balancer.address);
    // Long requests, so that few of them wait in the kernel.
    let request = frame(
        &json!({"request_type": "status", "more": "x".repeat(1000)}).to_string(),
        b"",
    );
    let flood = request.repeat(64 * 1024);
    let written = write_until_stuck(&mut deaf, &flood);
    assert!(written < flood.len(), "it is read from for ever");
    check_grown(&farm, before);
    let mut other = Wire::native(&farm.balancer.address);
    other.write(&frame(&put(1, "x"), b"x"));
    other.frame_of("delivered");

    for _ in 0..written / request.len() {
        let (header, report) = deaf.frame().expect("the connection is still there");
        assert!(
            header.contains("status") && report.starts_with(b"{"),
            "{header}"
        );
    }
}

/// Room for a title and content that together are just too large never comes: they must not be
/// waited for.
#[test]
fn a_file_that_its_title_makes_too_large_is_refused_at_once() {
    let farm = Farm::with(
        &[1],
        &[],
        &["--queue-bytes", "1MiB", "--max-json", "100KiB"],
    );
    let mut wire = Wire::native(&farm.balancer.address);
    let title = "t".repeat(1000);
    let most = 512 * 1024 - 768;
    for (id, size, answer) in [
        (1, most, "refused"),
        (2, most - 999, "refused"),
        (3, most - 1000, "accepted"),
    ] {
        wire.write(&frame(&put(id, &title), &vec![b'x'; size]));
        let heard = wire.frame_of(answer);
        assert!(heard.contains(&format!(r#""id":{id}"#)), "{heard}");
    }
    wire.frame_of("delivered");
}

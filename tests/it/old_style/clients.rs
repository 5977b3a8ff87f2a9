//! Old-style clients of our balancer.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use bilico_testkit::{DEADLINE, Farm, Wire, by_title, old_style_put};

use super::farms::{AWKWARD, as_ascii, unread, write_files};

/// An old-style client. It writes objects one after another, never reads, and closes.
struct OldClient(TcpStream);

impl OldClient {
    fn connect(farm: &Farm) -> Self {
        let stream = TcpStream::connect(&farm.balancer.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Writes pieces that end at these places, each after the balancer has read the one before.
    fn write_cut_at(&mut self, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) {
        let mut from = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            self.write(&bytes[from..cut]);
            self.wait_until_read();
            from = cut;
        }
    }

    /// Waits until the other end has read all that was written.
    fn wait_until_read(&self) {
        let (ours, theirs) = (self.0.local_addr().unwrap(), self.0.peer_addr().unwrap());
        let started = Instant::now();
        while unread(ours, theirs) + unread(theirs, ours) > 0 {
            assert!(started.elapsed() < DEADLINE, "the balancer does not read");
            std::thread::yield_now();
        }
    }
}

#[test]
fn objects_that_arrive_byte_by_byte_are_found() {
    let farm = Farm::start(&[1]);
    let mut client = OldClient::connect(&farm);
    let document = old_style_put("perché.json", AWKWARD);
    let both = format!(
        "{document}{}",
        as_ascii(&document.replace("perché", "ascii"))
    );
    for byte in both.bytes() {
        client.write([byte]);
        // The pause is part of the input: it lets the balancer read the piece.
        std::thread::sleep(Duration::from_micros(200));
    }
    drop(client);
    farm.wait_for_delivered(2);
    let stored = farm.all_stored();
    assert_eq!(
        stored.keys().collect::<Vec<_>>(),
        ["1_perché.json", "2_ascii.json"]
    );
    assert!(
        stored.values().all(|content| content == AWKWARD.as_bytes()),
        "{stored:?}"
    );
}

#[test]
fn objects_are_found_wherever_they_are_cut() {
    let farm = Farm::start(&[1]);
    let documents: Vec<String> = (0..8)
        .map(|file| old_style_put(&format!("{file}.json"), &format!("{file} {AWKWARD}")))
        .map(|document| {
            if document.contains("5.json") {
                as_ascii(&document)
            } else {
                document
            }
        })
        .collect();
    let all = documents.concat();
    let middle_of = |what: &str| all.find(what).unwrap_or_else(|| panic!("no {what}")) + 1;
    // In a UTF-8 character, in `\uXXXX`, between the halves of a surrogate pair, behind a
    // backslash, at the border of two objects and one byte off on both sides, in the middle of a
    // key.
    let border = documents[0].len();
    let mut cuts = vec![
        middle_of("ò"),
        middle_of("🚚") + 1,
        middle_of(r"\u00f2") + 2,
        middle_of(r"\ud83d\ude9a") + 5,
        middle_of(r"\ud83d\ude9a") + 8,
        middle_of(r"\\ /"),
        middle_of(r#"\"{["#),
        border - 1,
        border,
        border + 1,
        border + documents[1].len() + middle_of("contenuto"),
    ];
    cuts.sort_unstable();
    let mut client = OldClient::connect(&farm);
    client.write_cut_at(all.as_bytes(), cuts);
    drop(client);
    farm.wait_for_delivered(8);
    for (name, content) in farm.all_stored() {
        let (number, title) = name.split_once('_').unwrap();
        let file = number.parse::<u64>().unwrap() - 1;
        assert_eq!(
            title,
            format!("{file}.json"),
            "numbers follow the order on the connection"
        );
        assert_eq!(
            String::from_utf8(content).unwrap(),
            format!("{file} {AWKWARD}")
        );
    }
}

#[test]
fn objects_in_one_write_are_stored_although_the_client_closes_at_once() {
    let farm = Farm::start(&[2, 1]);
    let title = |file: usize| format!("{file}.json");
    let content = |file: usize| format!("{file} {AWKWARD}").repeat(file % 50);
    let document = |file: usize| old_style_put(&title(file), &content(file));
    let all: String = (0..300)
        .map(|file| {
            if file % 2 == 0 {
                document(file)
            } else {
                as_ascii(&document(file))
            }
        })
        .collect();
    let mut client = OldClient::connect(&farm);
    client.write(all);
    drop(client);
    farm.wait_for_delivered(300);
    let expected: BTreeMap<_, _> = (0..300)
        .map(|file| (title(file), content(file).into_bytes()))
        .collect();
    assert_eq!(by_title(farm.all_stored()), expected);
}

#[test]
fn a_client_gets_no_answer() {
    let farm = Farm::start(&[1]);
    let mut wire = Wire::connect(&farm.balancer.address);
    wire.write(old_style_put("x.json", "content").as_bytes());
    farm.wait_for_delivered(1);
    wire.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.rest(), b"");
}

#[test]
fn a_client_may_send_an_object_of_several_mebibytes() {
    let farm = Farm::start(&[1]);
    let content = AWKWARD.repeat((5 << 20) / AWKWARD.len());
    let mut client = OldClient::connect(&farm);
    client.write(old_style_put("small before.json", "1"));
    client.write(old_style_put("large.json", &content));
    client.write(as_ascii(&old_style_put("large, escaped.json", &content)));
    client.write(old_style_put("small after.json", "2"));
    drop(client);
    farm.wait_for_delivered(4);
    let stored = by_title(farm.all_stored());
    assert_eq!(stored["small before.json"], b"1");
    assert!(
        stored["large.json"] == content.as_bytes(),
        "the content differs"
    );
    assert!(
        stored["large, escaped.json"] == content.as_bytes(),
        "the content differs"
    );
    assert_eq!(stored["small after.json"], b"2");
}

#[test]
fn old_style_and_native_clients_share_a_port() {
    let farm = Farm::start(&[3, 2, 1]);
    let folder = write_files(&farm, 100, |file| {
        format!("native {file} {AWKWARD}").into_bytes()
    });
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| farm.send(&["-r", &folder]));
        for client in 0..5 {
            let farm = &farm;
            scope.spawn(move || {
                let mut old = OldClient::connect(farm);
                for file in 0..40 {
                    let document = old_style_put(
                        &format!("old-{client}-{file}"),
                        &format!("{client} {file} {AWKWARD}"),
                    );
                    old.write(if client % 2 == 0 {
                        document
                    } else {
                        as_ascii(&document)
                    });
                }
            });
        }
        let output = sending.join().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
    farm.wait_for_delivered(300);
    let stored = by_title(farm.all_stored());
    assert_eq!(stored.len(), 300);
    for (title, content) in stored {
        let expected = match title
            .strip_prefix("old-")
            .and_then(|rest| rest.split_once('-'))
        {
            Some((client, file)) => format!("{client} {file} {AWKWARD}"),
            None => format!("native {} {AWKWARD}", title.strip_suffix(".bin").unwrap()),
        };
        assert_eq!(String::from_utf8(content).unwrap(), expected, "{title}");
    }
}

//! Answers about files and folders as WebDAV has them (RFC 4918).

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::escape;

use super::propfind::{DAV, Name, Wanted};
use super::shelf::{Known, Thing};
use crate::text::printable;

/// The namespace of the checksums.
const OWNCLOUD: &str = "http://owncloud.org/ns";

/// What does not stand for itself in a path.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The most bytes of an answer.
const MOST_BYTES: usize = 8 << 20;

/// A property: its namespace, its name, and its value as XML.
type Property = (&'static str, &'static str, String);

/// An answer that is being written.
pub(super) struct Multistatus {
    text: String,
    wanted: Wanted,
}

impl Multistatus {
    pub(super) fn new(wanted: Wanted) -> Self {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"{DAV}\" \
             xmlns:oc=\"{OWNCLOUD}\">\n"
        );
        Self { text, wanted }
    }

    /// Adds what is asked for about the thing with this title; false if there is no room for more.
    pub(super) fn add(&mut self, title: &str, thing: &Thing) -> bool {
        if self.text.len() > MOST_BYTES {
            return false;
        }
        let has = properties(title, thing);
        let (mut there, mut missing) = (String::new(), String::new());
        match &self.wanted {
            Wanted::All => has.iter().for_each(|property| value(&mut there, property)),
            Wanted::Names => {
                for (namespace, local, _) in has {
                    value(&mut there, &(namespace, local, String::new()));
                }
            }
            Wanted::These(names) => {
                for name in names {
                    match has
                        .iter()
                        .find(|(space, local, _)| *space == name.namespace && *local == name.local)
                    {
                        Some(property) => value(&mut there, property),
                        None => empty(&mut missing, name),
                    }
                }
            }
        }
        let _ = write!(
            self.text,
            "<D:response><D:href>{}</D:href>",
            href(title, thing)
        );
        let is_empty = there.is_empty() && missing.is_empty();
        for (status, properties) in [("200 OK", there), ("404 Not Found", missing)] {
            if !properties.is_empty() || (is_empty && status == "200 OK") {
                let _ = write!(
                    self.text,
                    "<D:propstat><D:prop>{properties}</D:prop><D:status>HTTP/1.1 \
                     {status}</D:status></D:propstat>"
                );
            }
        }
        self.text.push_str("</D:response>\n");
        true
    }

    /// Says that the folder with this title has more in it than there is room for.
    pub(super) fn cut_off(&mut self, title: &str) {
        let _ = writeln!(
            self.text,
            "<D:response><D:href>{}</D:href><D:status>HTTP/1.1 507 Insufficient \
             Storage</D:status></D:response>",
            href(title, &Thing::Folder)
        );
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.text.push_str("</D:multistatus>\n");
        self.text.into_bytes()
    }
}

/// The path of a title.
pub(super) fn href(title: &str, thing: &Thing) -> String {
    let slash = match thing {
        Thing::Folder if !title.is_empty() && !title.ends_with('/') => "/",
        _ => "",
    };
    format!("/files/{}{slash}", utf8_percent_encode(title, ESCAPED))
}

/// The name of a file's content: it changes with it.
pub(super) fn etag(known: &Known) -> String {
    let hash = known.hash.to_hex();
    format!("\"{}\"", hash.get(..32).unwrap_or_default())
}

fn properties(title: &str, thing: &Thing) -> Vec<Property> {
    let trimmed = title.strip_suffix('/').unwrap_or(title);
    let name = trimmed.rsplit_once('/').map_or(trimmed, |(_, name)| name);
    let name = (DAV, "displayname", escape(printable(name)).into_owned());
    match thing {
        Thing::Folder => vec![name, (DAV, "resourcetype", "<D:collection/>".to_owned())],
        Thing::File(known) => {
            let modified = httpdate::fmt_http_date(known.modified.max(UNIX_EPOCH));
            let mut all = vec![
                name,
                (DAV, "resourcetype", String::new()),
                (DAV, "getcontentlength", known.size.to_string()),
                (DAV, "getlastmodified", modified),
                (DAV, "getetag", escape(etag(known)).into_owned()),
                (DAV, "getcontenttype", "application/octet-stream".to_owned()),
            ];
            if let Some(checksum) = &known.checksum {
                let checksum = format!("<oc:checksum>{}</oc:checksum>", escape(&**checksum));
                all.push((OWNCLOUD, "checksums", checksum));
            }
            all
        }
    }
}

/// A time that HTTP has a form for.
pub(super) fn in_range(time: SystemTime) -> bool {
    // The year 9999 is the last one.
    let seconds = time.duration_since(UNIX_EPOCH).map(|since| since.as_secs());
    seconds.is_ok_and(|seconds| seconds < 253_402_300_800)
}

fn value(out: &mut String, (namespace, local, value): &Property) {
    let prefix = if *namespace == DAV { "D" } else { "oc" };
    let _ = if value.is_empty() {
        write!(out, "<{prefix}:{local}/>")
    } else {
        write!(out, "<{prefix}:{local}>{value}</{prefix}:{local}>")
    };
}

/// A property that there is not.
fn empty(out: &mut String, Name { namespace, local }: &Name) {
    let _ = match namespace.as_str() {
        DAV => write!(out, "<D:{local}/>"),
        "" => write!(out, "<{local}/>"),
        other => write!(out, "<x:{local} xmlns:x=\"{}\"/>", escape(other)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_xml::events::Event;
    use quick_xml::reader::NsReader;
    use std::time::Duration;

    fn file() -> Thing {
        Thing::File(Known {
            number: 7,
            size: 12,
            hash: blake3::hash(b"x"),
            modified: UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            checksum: Some("SHA1:ab".into()),
        })
    }

    fn answer(wanted: Wanted, title: &str, thing: &Thing) -> String {
        let mut answer = Multistatus::new(wanted);
        assert!(answer.add(title, thing));
        let text = String::from_utf8(answer.end()).unwrap();
        let mut reader = NsReader::from_str(&text);
        while reader.read_event().unwrap() != Event::Eof {}
        text
    }

    #[test]
    fn a_file_has_its_size_its_time_and_a_path_that_leads_back_to_it() {
        let text = answer(Wanted::All, "a b/<ü>&\"%2F\u{0}.txt", &file());
        for part in [
            "<D:href>/files/a%20b/%3C%C3%BC%3E%26%22%252F%00.txt</D:href>",
            "<D:displayname>&lt;ü&gt;&amp;&quot;%2F\\0.txt</D:displayname>",
            "<D:resourcetype/>",
            "<D:getcontentlength>12</D:getcontentlength>",
            "<D:getlastmodified>Sun, 09 Sep 2001 01:46:40 GMT</D:getlastmodified>",
            "<oc:checksums><oc:checksum>SHA1:ab</oc:checksum></oc:checksums>",
            "<D:status>HTTP/1.1 200 OK</D:status>",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("404"));
    }

    #[test]
    fn a_folder_ends_in_a_slash_and_what_is_not_there_is_told() {
        let name = |namespace: &str, local: &str| Name {
            namespace: namespace.to_owned(),
            local: local.to_owned(),
        };
        let names = [
            name(DAV, "resourcetype"),
            name(DAV, "getcontentlength"),
            name("urn:\"<x>", "y"),
            name("", "z"),
        ];
        let text = answer(Wanted::These(names.into()), "a/b", &Thing::Folder);
        for part in [
            "<D:href>/files/a/b/</D:href>",
            "<D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop>",
            "<D:prop><D:getcontentlength/><x:y xmlns:x=\"urn:&quot;&lt;x&gt;\"/><z/></D:prop>\
             <D:status>HTTP/1.1 404 Not Found</D:status>",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let text = answer(Wanted::Names, "", &Thing::Folder);
        assert!(text.contains("<D:href>/files/</D:href>") && text.contains("<D:resourcetype/>"));
    }

    #[test]
    fn an_answer_has_a_bound() {
        let mut answer = Multistatus::new(Wanted::All);
        let mut added = 0;
        while answer.add(&"x".repeat(4096), &file()) {
            added += 1;
        }
        answer.cut_off("a/");
        let text = String::from_utf8(answer.end()).unwrap();
        assert!(added > 500 && text.len() < MOST_BYTES + (64 << 10));
        assert!(text.contains("<D:href>/files/a/</D:href><D:status>HTTP/1.1 507"));
    }
}

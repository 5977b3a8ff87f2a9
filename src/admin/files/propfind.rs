//! What a client asks about, from the body of its `PROPFIND`.

use quick_xml::events::Event;
use quick_xml::name::{LocalName, Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// The namespace of all that WebDAV itself has names for.
pub(super) const DAV: &str = "DAV:";

/// The most properties that a client names.
const MOST_NAMES: usize = 64;

/// The most elements within each other.
const MOST_DEPTH: usize = 16;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All properties.
    All,
    /// The names of all properties.
    Names,
    /// These properties.
    These(Vec<Name>),
}

/// The name of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) local: String,
}

impl Wanted {
    /// Reads a body; one without anything asks for all.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
        if text.trim().is_empty() {
            return Ok(Self::All);
        }
        let mut reader = NsReader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut form = Form::default();
        loop {
            let (bound, event) = reader
                .read_resolved_event()
                .map_err(|error| format!("it is not XML: {error}"))?;
            match event {
                Event::Start(element) => form.begin(&bound, element.local_name())?,
                Event::End(_) => form.depth -= 1,
                Event::DocType(_) => return Err("it has a document type".to_owned()),
                Event::Text(text) if form.depth == 0 && !text.trim_ascii().is_empty() => {
                    return Err("it is not XML: there is text outside of the element".to_owned());
                }
                Event::Eof => return form.end(),
                _ => {}
            }
        }
    }
}

/// How far a body is read.
#[derive(Default)]
struct Form {
    depth: usize,
    has_root: bool,
    /// What stands directly in the root.
    asks: Option<Wanted>,
    /// The element in the root that is read has names of properties in it.
    is_list: bool,
}

impl Form {
    fn begin(&mut self, bound: &ResolveResult<'_>, local: LocalName<'_>) -> Result<(), String> {
        let namespace = match bound {
            ResolveResult::Bound(Namespace(namespace)) => *namespace,
            ResolveResult::Unbound => "",
            ResolveResult::Unknown(prefix) => {
                return Err(format!("the prefix {prefix:?} has no namespace"));
            }
        };
        let local = local.into_inner();
        match self.depth {
            0 if self.has_root || (namespace, local) != (DAV, "propfind") => {
                return Err("expected one element `propfind` of the namespace `DAV:`".to_owned());
            }
            0 => self.has_root = true,
            1 if namespace == DAV => {
                self.is_list = local == "prop";
                match local {
                    "allprop" => self.asks = Some(Wanted::All),
                    "propname" => self.asks = Some(Wanted::Names),
                    "prop" => self.asks = Some(Wanted::These(Vec::new())),
                    _ => {}
                }
            }
            2 if self.is_list => self.name(namespace, local)?,
            _ if self.depth >= MOST_DEPTH => return Err("it is nested too deeply".to_owned()),
            _ => {}
        }
        self.depth += 1;
        Ok(())
    }

    fn name(&mut self, namespace: &str, local: &str) -> Result<(), String> {
        let Some(Wanted::These(names)) = &mut self.asks else {
            return Ok(());
        };
        if names.len() >= MOST_NAMES {
            return Err(format!("it names more than {MOST_NAMES} properties"));
        }
        // It is repeated in the answer.
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !local.starts_with(char::is_alphabetic) || !local.chars().all(is_plain) {
            return Err(format!("{local:?} is no name of a property"));
        }
        names.push(Name {
            namespace: namespace.to_owned(),
            local: local.to_owned(),
        });
        Ok(())
    }

    fn end(self) -> Result<Wanted, String> {
        if self.depth > 0 || !self.has_root {
            return Err("it is not XML: it ends before its element does".to_owned());
        }
        self.asks
            .ok_or_else(|| "expected `allprop`, `propname` or `prop` in it".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Wanted, String> {
        Wanted::read(body.as_bytes())
    }

    fn names(body: &str) -> Vec<String> {
        match read(body).unwrap() {
            Wanted::These(names) => names
                .into_iter()
                .map(|name| format!("{}{}", name.namespace, name.local))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_clients_ask_for_is_read() {
        assert_eq!(read(""), Ok(Wanted::All));
        assert_eq!(read(" \n"), Ok(Wanted::All));
        let all = r#"<?xml version="1.0"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>"#;
        assert_eq!(read(all), Ok(Wanted::All));
        let all = r#"<propfind xmlns="DAV:"><allprop/><include><x/></include></propfind>"#;
        assert_eq!(read(all), Ok(Wanted::All));
        let some = r#"<propfind xmlns="DAV:"><propname/></propfind>"#;
        assert_eq!(read(some), Ok(Wanted::Names));
        let some = r#"<d:propfind xmlns:d="DAV:" xmlns:oc="http://owncloud.org/ns"><d:prop>
            <d:getlastmodified/><oc:checksums></oc:checksums><x xmlns="y&amp;z"/></d:prop></d:propfind>"#;
        let read = names(some);
        assert_eq!(
            read[..2],
            ["DAV:getlastmodified", "http://owncloud.org/nschecksums"]
        );
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn garbage_is_refused() {
        let many = "<x/>".repeat(MOST_NAMES + 1);
        let many = format!(r#"<propfind xmlns="DAV:"><prop>{many}</prop></propfind>"#);
        let deep = "<a>".repeat(100_000);
        let deep = format!(r#"<propfind xmlns="DAV:"><prop>{deep}"#);
        for body in [
            "garbage",
            "{}",
            "<",
            "<a/>",
            "<propfind/>",
            r#"<propfind xmlns="DAV:"/>"#,
            r#"<propfind xmlns="DAV:"><allprop/>"#,
            r#"<propfind xmlns="DAV:"><allprop></propfind>"#,
            r#"<propfind xmlns="DAV:"><allprop/></propfind>x"#,
            r#"<propfind xmlns="DAV:"><allprop/></propfind><propfind xmlns="DAV:"/>"#,
            "<x:propfind><x:allprop/></x:propfind>",
            r#"<!DOCTYPE p [<!ENTITY a "b">]><propfind xmlns="DAV:"><allprop/></propfind>"#,
            r#"<propfind xmlns="DAV:"><prop><a"b/></prop></propfind>"#,
            &many,
            &deep,
        ] {
            assert!(read(body).is_err(), "{}", crate::text::excerpt(body));
        }
        assert!(Wanted::read(b"\xff\xfe<\0").is_err());
    }
}

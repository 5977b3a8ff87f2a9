//! The content of files to send.
//!
//! Invariant: content is what its file held at one moment, as far as [`super::look`] can tell, or
//! the change is told beside it.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::look::{Look, Seen, shrunk_or_grown};
use super::options::Changed;
use super::reading::{Opened, Trouble};
use super::source::{Form, Source};
use crate::protocol::json;
use crate::protocol::limits::DEFAULT_MAX_JSON;

/// Files up to this size, in bytes, are read whole before they are sent, and sent again from their
/// beginning when a connection is lost.
pub(super) const WHOLE: u64 = 1024 * 1024;

/// The content of a file to send.
#[derive(Debug)]
pub(super) enum Content {
    /// In memory. Beside it the change of the file while it was read, if it is sent all the same.
    Bytes(Bytes, Option<String>),
    /// On disk.
    File(Opened),
}

impl Content {
    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes, _) => bytes.len() as u64,
            Self::File(opened) => opened.size(),
        }
    }
}

/// Opens a file, or reads it whole if it is small, and gives its title. A file that is another one
/// than the caller had seen has changed.
pub(super) async fn read(
    source: &Source,
    changed: Changed,
    seen: Option<Seen>,
) -> Result<(String, Content), Trouble> {
    let is_json = source
        .path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let whole = match source.form {
        Form::Payload => u64::MAX,
        Form::Either if is_json => DEFAULT_MAX_JSON,
        Form::Either | Form::Raw => WHOLE,
    };
    let path = source.path.clone();
    let loaded = spawn_blocking(move || load(path, whole, changed == Changed::Send, seen)).await;
    let (bytes, change) = match loaded.map_err(io::Error::other)?? {
        Content::Bytes(bytes, change) => (bytes, change),
        file @ Content::File(_) => return Ok((source.title.clone(), file)),
    };
    let (title, bytes) = match source.form {
        Form::Payload => unwrap(&bytes)?,
        Form::Either if is_json => unwrap(&bytes).unwrap_or_else(|_| (source.title.clone(), bytes)),
        Form::Either | Form::Raw => (source.title.clone(), bytes),
    };
    Ok((title, Content::Bytes(bytes, change)))
}

/// Opens a file, and reads it if it has at most `whole` bytes. Blocks.
fn load(
    path: PathBuf,
    whole: u64,
    is_sent_anyway: bool,
    seen: Option<Seen>,
) -> Result<Content, Trouble> {
    let looked = Look::settled(&path)?;
    if let Some(change) = seen.and_then(|seen| looked.0.other_than(&seen)) {
        return Err(Trouble::Changed(change));
    }
    load_looked_at(path, looked, whole, is_sent_anyway)
}

/// The same behind the first look, which may have found a change.
fn load_looked_at(
    path: PathBuf,
    (look, change): (Look, Option<String>),
    whole: u64,
    is_sent_anyway: bool,
) -> Result<Content, Trouble> {
    if let Some(change) = change.clone().filter(|_| !is_sent_anyway) {
        return Err(Trouble::Changed(change));
    }
    let mut file = File::open(&path)?;
    if look.size > whole {
        return Ok(Content::File(Opened {
            file,
            path,
            look,
            change,
            is_sent_anyway,
        }));
    }
    let bytes = fill(&mut file, look.size)?;
    let change = look
        .change_since(&file.metadata()?, std::fs::metadata(&path))
        .or(change);
    match change {
        // The file never held less than its size, so these bytes are no content of it.
        _ if bytes.len() as u64 != look.size => Err(Trouble::Changed(shrunk_or_grown(
            look.size,
            bytes.len() as u64,
        ))),
        Some(change) if !is_sent_anyway => Err(Trouble::Changed(change)),
        change => Ok(Content::Bytes(bytes.into(), change)),
    }
}

/// Reads `size` bytes, or fewer at the end of the file.
fn fill(file: &mut File, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(io::Error::other)?;
    bytes.resize(size, 0);
    let mut came = 0;
    while let Some(rest) = bytes.get_mut(came..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => came += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(came);
    Ok(bytes)
}

fn unwrap(bytes: &Bytes) -> io::Result<(String, Bytes)> {
    let payload = json::parse_payload(bytes)
        .map_err(|error| io::Error::other(format!("not a JSON payload: {error}")))?;
    Ok((payload.title, payload.content))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A small file was once sent as it was read, whatever had happened to it meanwhile.
    #[test]
    fn a_small_file_that_changes_behind_the_look_is_not_taken_for_what_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let open = || File::options().write(true).open(&path).unwrap();
        let meddlers: [(&str, &dyn Fn()); 4] = [
            ("3 bytes before, 4 after", &|| {
                open().write_all_at(b"4", 3).unwrap();
            }),
            ("written to", &|| open().write_all_at(b"x", 0).unwrap()),
            ("3 bytes before, 1 after", &|| open().set_len(1).unwrap()),
            ("another file", &|| {
                fs::write(dir.path().join("other"), "abc").unwrap();
                fs::rename(dir.path().join("other"), &path).unwrap();
            }),
        ];
        for (expected, meddle) in meddlers {
            for is_sent_anyway in [false, true] {
                fs::write(&path, "123").unwrap();
                let looked = Look::settled(&path).unwrap();
                meddle();
                let loaded = load_looked_at(path.clone(), looked, WHOLE, is_sent_anyway);
                match loaded {
                    Err(Trouble::Changed(change)) => {
                        assert!(change.contains(expected), "{change}");
                        assert!(
                            !is_sent_anyway || expected.contains("1 after"),
                            "{expected}"
                        );
                    }
                    Ok(Content::Bytes(bytes, Some(change))) => {
                        assert!(
                            is_sent_anyway && bytes.len() == 3 && change.contains(expected),
                            "{change}"
                        );
                    }
                    other => panic!("{expected}: {other:?}"),
                }
            }
        }
        fs::write(&path, "123").unwrap();
        let looked = Look::settled(&path).unwrap();
        let loaded = load_looked_at(path, looked, WHOLE, false);
        assert!(matches!(loaded, Ok(Content::Bytes(bytes, None)) if bytes == "123"));
    }
}

//! What is sent: files on disk, and how each becomes a title and content.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::session::Content;
use crate::protocol::json;
use crate::protocol::limits::DEFAULT_MAX_JSON;

/// Files up to this size, in bytes, are read whole before they are sent, and sent again from their beginning when a
/// connection is lost.
pub(super) const WHOLE: u64 = 1024 * 1024;

/// How a file on disk becomes a title and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Its bytes are the content.
    Raw,
    /// It is a JSON payload, whose title and content are sent.
    Payload,
    /// A payload if it is called `.json` and is one, its bytes otherwise.
    Either,
}

/// A file that is to be sent.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// Its title, unless it is a payload with a title of its own.
    pub title: String,
    /// What it is.
    pub form: Form,
}

impl Source {
    /// A file whose title is its name.
    pub fn named(path: &Path, form: Form) -> Self {
        let title = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { path: path.to_owned(), title, form }
    }

    /// Opens the file, or reads it whole if it is small, and gives its title.
    pub(super) async fn read(&self) -> io::Result<(String, Content)> {
        // Before it is opened: opening a pipe would wait for its other end.
        let metadata = tokio::fs::metadata(&self.path).await?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let is_json = self.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let whole = match self.form {
            Form::Payload => u64::MAX,
            Form::Either if is_json => DEFAULT_MAX_JSON,
            Form::Either | Form::Raw => WHOLE,
        };
        if metadata.len() > whole {
            let file = tokio::fs::File::open(&self.path).await?;
            return Ok((self.title.clone(), Content::File(file, metadata.len())));
        }
        let bytes = Bytes::from(tokio::fs::read(&self.path).await?);
        match self.form {
            Form::Payload => unwrap(&bytes),
            Form::Either if is_json => Ok(unwrap(&bytes).unwrap_or_else(|_| self.raw(bytes))),
            Form::Either | Form::Raw => Ok(self.raw(bytes)),
        }
    }

    fn raw(&self, bytes: Bytes) -> (String, Content) {
        (self.title.clone(), Content::Bytes(bytes))
    }
}

fn unwrap(bytes: &Bytes) -> io::Result<(String, Content)> {
    let payload = json::parse_payload(bytes).map_err(|error| io::Error::other(format!("no JSON payload: {error}")))?;
    Ok((payload.title, Content::Bytes(payload.content)))
}

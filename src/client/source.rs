//! Files to send.

use std::path::{Path, PathBuf};

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

/// A file to send.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path.
    pub path: PathBuf,
    /// Its title, unless it is a payload with a title of its own.
    pub title: String,
    /// How it becomes a title and content.
    pub form: Form,
}

impl Source {
    /// A file whose title is its name.
    pub fn named(path: &Path, form: Form) -> Self {
        let title = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        Self {
            path: path.to_owned(),
            title,
            form,
        }
    }
}

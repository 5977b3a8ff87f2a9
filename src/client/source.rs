//! Files to send.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::os_text;

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
    /// What people call it, if not by its path.
    pub called: Option<&'static str>,
}

impl Source {
    /// A file whose title is its name.
    pub fn named(path: &Path, form: Form) -> Self {
        Self::titled(path, path.file_name().unwrap_or(path.as_os_str()), form)
    }

    /// A file in a folder or below it, whose title is its path from there.
    pub fn below(folder: &Path, path: &Path, form: Form) -> Self {
        let title = path.strip_prefix(folder).unwrap_or(path);
        Self::titled(path, title.as_os_str(), form)
    }

    fn titled(path: &Path, title: &OsStr, form: Form) -> Self {
        Self {
            path: path.to_owned(),
            title: os_text::encode(title).into_owned(),
            form,
            called: None,
        }
    }

    /// What people call the file: its path as [`os_text`] has it.
    pub fn shown(&self) -> String {
        match self.called {
            Some(called) => called.to_owned(),
            None => os_text::encode(self.path.as_os_str()).into_owned(),
        }
    }
}

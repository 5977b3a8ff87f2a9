//! The document that hands a file to an old-style server.

use std::io;

use serde::Serialize;

use crate::protocol::limits::OLD_STYLE_READ;

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
    /// Its document would have more bytes than such a server reads.
    #[error(
        "its document is larger than the {OLD_STYLE_READ} bytes that an old-style server reads"
    )]
    TooLarge,
    /// A JSON string cannot hold its content.
    #[error("its content is not UTF-8 text, which is all that an old-style server takes")]
    NotText,
    /// One of the two: its content is not at hand any more.
    #[error(
        "its document is larger than the {OLD_STYLE_READ} bytes that an old-style server reads, \
         or no UTF-8 text"
    )]
    Either,
}

/// The document that hands a file to an old-style server.
pub fn old_style_file(number: u64, title: &str, content: &[u8]) -> Result<Vec<u8>, NotOldStyle> {
    let mut document = Vec::new();
    write_old_style(number, title, content, &mut document)?;
    if document.len() > OLD_STYLE_READ {
        Err(NotOldStyle::TooLarge)
    } else {
        Ok(document)
    }
}

/// The length of that document with a request number of one digit, in bytes.
pub fn old_style_len(title: &str, content: &[u8]) -> Result<usize, NotOldStyle> {
    let mut counted = Counted(0);
    write_old_style(0, title, content, &mut counted)?;
    if counted.0 > OLD_STYLE_READ {
        Err(NotOldStyle::TooLarge)
    } else {
        Ok(counted.0)
    }
}

fn write_old_style(
    number: u64,
    title: &str,
    content: &[u8],
    out: &mut impl io::Write,
) -> Result<(), NotOldStyle> {
    if content.len() + title.len() > OLD_STYLE_READ {
        return Err(NotOldStyle::TooLarge);
    }
    let contenuto = str::from_utf8(content).map_err(|_| NotOldStyle::NotText)?;
    let file = OldStyleFile {
        titolo: title,
        contenuto,
        request_type: "file_di_testo",
        numero_richiesta: number,
    };
    serde_json::to_writer(out, &file).map_err(|_| NotOldStyle::NotText)
}

/// Counts what is written to it.
struct Counted(usize);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

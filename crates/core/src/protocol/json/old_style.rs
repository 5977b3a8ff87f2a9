//! The document that hands a file to an old-style server.

use serde::Serialize;

use crate::protocol::limits::OLD_STYLE_READ;

/// Bytes of a title that a file name surely keeps, if the title has as many.
const KEPT_OF_TITLE: usize = 200;

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

/// Whether a file is surely too large for an old-style server: its document holds content and
/// title, of which a long one is cut to what a file name may have, and more.
pub fn is_too_large_for_old_style(title: &str, size: u64) -> bool {
    let title = title.len().min(KEPT_OF_TITLE);
    size.saturating_add(title as u64) > OLD_STYLE_READ as u64
}

//! The words of the first monitoring system: its servers announce themselves and push lines of
//! status, its clients pick a server from a list, and its checker speaks in pickles.
//!
//! Nothing of it is framed: a message is what one read of [`MAX_READ`] bytes returns. So what is
//! written here fits into one read, and what is read may come in pieces.

mod list;
mod pickle;
mod requests;
mod status_line;

pub use list::{MAX_READ, list_text};
pub use pickle::{BadPickle, MAX_PICKLE, Unpickler, pickle};
pub use requests::{NoRequest, Requests, STATUS};
pub use status_line::{BadLine, MAX_LINE, next_line, parse_line, status_line};

//! The bounds of everything that a peer can make us keep or wait for.

use std::time::Duration;

/// The largest JSON header of a native frame, in bytes.
pub const MAX_HEADER: u32 = 64 * 1024;

/// The longest title, in bytes of UTF-8.
pub const MAX_TITLE: usize = 4096;

/// The longest key of a client, in bytes of UTF-8.
pub const MAX_KEY: usize = 256;

/// The most entries in one `holding` or `confirmed` message.
pub const MAX_LIST: usize = 16 * 1024;

/// The largest JSON content of a `holding`, `confirmed` or `query` message, in bytes: what
/// [`MAX_LIST`] entries take, with room to spare.
pub const MAX_LIST_BYTES: u64 = 1024 * 1024;

/// The deepest nesting of a JSON object at the JSON doorway.
pub const MAX_JSON_DEPTH: u32 = 128;

/// The largest JSON object at the JSON doorway, in bytes, unless a flag says otherwise.
pub const DEFAULT_MAX_JSON: u64 = 64 * 1024 * 1024;

/// The most that an old-style server reads of a request, in bytes: it calls `recv` once.
pub const OLD_STYLE_READ: usize = 4096;

/// Content up to this many bytes is small: it is held without asking for a large reservation first.
pub const SMALL_CONTENT: u64 = 64 * 1024;

/// A peer in the middle of a frame or an object must bring at least this many bytes, or the rest of
/// it, in each stall timeout: one byte every few seconds does not count as progress.
pub const PROGRESS_BYTES: usize = 16 * 1024;

/// How long a peer may pause in the middle of a frame or an object before its connection is closed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay silent with nothing under way before it is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// How long a peer may take to introduce itself: at a file server from the first moment, at a
/// balancer from the first byte of a native greeting, since old-style clients connect long before
/// they have anything to say.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client of the HTTP doorway waits for room in a full queue before its file is refused.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// How many files of more than [`SMALL_CONTENT`] come in at the HTTP doorway at once: each has a
/// thread that writes it, and the deliveries need threads, too.
pub const MAX_LARGE_UPLOADS: usize = 128;

/// How many receipts may wait for a client to read them before nothing more is read from that
/// client.
pub const MAX_UNREAD_RECEIPTS: usize = 4096;

/// How long a closing connection is still read from, so that the peer gets to see our last words:
/// closing a socket with unread bytes in it resets the connection and may destroy what was sent
/// last.
pub const LINGER: Duration = Duration::from_secs(1);

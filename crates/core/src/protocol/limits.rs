//! The bounds of all that a peer can make this side keep or wait for.

use std::time::Duration;

/// The largest JSON header of a native frame, in bytes.
pub const MAX_HEADER: u32 = 64 * 1024;

/// The largest JSON header of a peer's first message, in bytes: nothing is known of it before.
pub const MAX_HELLO: u32 = 4 * 1024;

/// The longest JSON of the facts that a server's greeting tells of its host, in bytes: they fit into
/// the greeting together with everything else.
pub const MAX_FACTS: usize = 3 * 1024;

/// The longest title, in bytes of UTF-8.
pub const MAX_TITLE: usize = 4096;

/// Bytes of a peer's reason, as UTF-8, that are kept; the rest is cut off.
pub const MAX_REASON: usize = 1024;

/// The longest key of a client, in bytes of UTF-8.
pub const MAX_KEY: usize = 256;

/// The longest token or other secret of a client, in bytes.
pub const MAX_TOKEN: usize = 128;

/// The longest name of a user, in bytes.
pub const MAX_USER: usize = 32;

/// The largest JSON content of an `account` message of a client, in bytes.
pub const MAX_ACCOUNT: u64 = 4 * 1024;

/// The longest address of a member of the fleet, as `HOST:PORT`, in bytes.
pub const MAX_ADDRESS: usize = 300;

/// The longest name of a member of the fleet, in bytes of UTF-8.
pub const MAX_MEMBER_NAME: usize = 64;

/// The largest JSON content of a `beat` message, in bytes.
pub const MAX_BEAT: u64 = 16 * 1024;

/// The most entries in one `holding` or `confirmed` message.
pub const MAX_LIST: usize = 16 * 1024;

/// The largest JSON content of a `holding` or `confirmed` message, in bytes: [`MAX_LIST`] entries
/// fit, with room to spare.
pub const MAX_LIST_BYTES: u64 = 1024 * 1024;

/// The deepest nesting of a JSON object at the JSON doorway.
pub const MAX_JSON_DEPTH: u32 = 128;

/// The largest JSON object at the JSON doorway, in bytes, unless a flag says otherwise.
pub const DEFAULT_MAX_JSON: u64 = 64 * 1024 * 1024;

/// The most bytes that an old-style server reads of a request: it calls `recv` once.
pub const OLD_STYLE_READ: usize = 4096;

/// The most content of a refused file that is read past, in bytes, so that its client can go on
/// over the same connection. Beyond that the client has to connect again.
pub const MAX_READ_PAST: u64 = 64 * 1024 * 1024;

/// The largest size of small content, in bytes: it needs no reservation of its own.
pub const SMALL_CONTENT: u64 = 64 * 1024;

/// A peer in the middle of a frame or an object must send at least this many bytes, or the rest, in
/// each stall timeout: one byte every few seconds does not count as progress.
pub const PROGRESS_BYTES: usize = 16 * 1024;

/// Bytes a second that a large file must bring while it has the turn to be taken before others that
/// wait for it: a slower one gives way, and its client can go on with it later.
pub const LEAST_PACE: u64 = 1024 * 1024;

/// How long a peer may pause in the middle of a frame or an object before its connection is closed.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may stay silent with nothing under way before it is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(10);

/// How long a peer may take to introduce itself: at a file server from the first moment, at a
/// balancer from the first byte of a native greeting, since old-style clients connect long before
/// they have anything to say. A balancer where old-style clients may send nothing waits no longer for
/// the first byte, either.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client of the HTTP doorway waits for room in a full queue before its file is refused.
pub const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// The most files of more than [`SMALL_CONTENT`] that come in at the HTTP doorway at once: a thread
/// writes each, and the deliveries need threads, too.
pub const MAX_LARGE_UPLOADS: usize = 128;

/// The most receipts that may wait for a client to read them. Beyond that, nothing more is read
/// from the client.
pub const MAX_UNREAD_RECEIPTS: usize = 4096;

/// The most bytes of messages that may wait for a client to read them, estimated by what they take
/// in memory. Beyond that, nothing more is read from the client. Receipts reach
/// [`MAX_UNREAD_RECEIPTS`] first, unless their texts are long.
pub const MAX_UNREAD_BYTES: usize = 2 * 1024 * 1024;

/// How long a closing connection is still read from, so that the peer gets to see the last message:
/// closing a socket with unread bytes in it resets the connection and may destroy the last bytes
/// that were sent.
pub const LINGER: Duration = Duration::from_secs(1);

/// How long an old-style server may take to save a file. The first system's counts letters with a
/// pause of 20 ms for each, and a document has up to [`OLD_STYLE_READ`] of them.
pub const OLD_STYLE_TIMEOUT: Duration = Duration::from_mins(2);

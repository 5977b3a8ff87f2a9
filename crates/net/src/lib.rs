//! Between the roles and the protocol: connections, deadlines and the accept loop.
//!
//! Owns how bytes get in and out. [`Reader`] and [`ObjectReader`] drive the codecs over anything
//! that can be read, and bound every wait. [`Connect`] and [`Listener`] are passed in, so that a
//! role does not know whether it runs over TCP, TLS or a simulated network; [`tls`] is the second. Leaves what the
//! messages mean to the roles. [`pool`] is the memory that large messages of unknown size share.

pub mod bulk;
mod complaints;
mod connect;
mod deadline;
pub mod descriptors;
mod error;
mod foreign;
mod http;
mod listen;
mod object_reader;
mod places;
pub mod pool;
mod reader;
mod send;
pub mod shutdown;
mod source;
mod stream;
pub mod tls;

pub use connect::{Connect, Connecting, Resolving, Tcp};
pub use deadline::{Deadlines, ProgressDeadline, until};
pub use error::{ReadError, WriteError, plain};
pub use foreign::{Foreign, Heard, Words, hear};
pub use http::{HttpStream, MAX_HEAD, MAX_HEADERS, Patience};
pub use listen::{Accepted, Listener, serve};
pub use object_reader::{Object, ObjectReader};
pub use places::{Place, Places, Rest, SETTLE, Seat};
pub use reader::Reader;
pub use send::{send_content, send_summed, write_all};
pub use source::Source;
pub use stream::{BoxStream, Direct, Socket, Stream};

/// The target of this crate's log lines, by which a level can name them: `bilico::transport=debug`.
const LOG: &str = "bilico::transport";

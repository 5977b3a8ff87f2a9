//! Decides what happens to each file and each server: a state machine without sockets, tasks, a
//! clock or a log.
//!
//! It is told what happened and when (times are on the hub's clock, which never steps back), and
//! answers with [`Action`]s that the hub carries out. It owns the windows, the attempts, what is in
//! doubt at which server, and when a link is opened. The order of servers is
//! [`Scheduler`](crate::schedule::Scheduler)'s, their state [`Health`](crate::schedule::Health)'s,
//! the order of files [`Pending`]'s. Of a file it knows the description ([`Queued::meta`]), not the
//! content: that is in the tag, which its caller keeps beside each file.
//!
//! Invariant: a file is taken from the queue exactly while it is in flight to one server.
//!
//! | file | what it decides |
//! |---|---|
//! | `dispatcher` | the state, what comes in, and what is due |
//! | `send` | which server gets the next file, and how long one waits that nobody can take |
//! | `head_start` | which server gets a file while it still comes in |
//! | `links` | what probes and links say of servers |
//! | `answers` | what servers answer for files |
//! | `blame` | whether a refusal is the server's fault or the file's |
//! | `reconcile` | what is in doubt, and which copies of earlier runs are believed |
//! | `operator` | orders |
//! | `explain` | why files wait, and the status, for people |

mod action;
mod answers;
mod blame;
mod config;
mod delivery;
mod dispatcher;
mod event;
mod explain;
mod head_start;
mod links;
mod members;
mod names;
mod operator;
mod pending;
mod reconcile;
mod send;
mod server;
#[cfg(test)]
mod tests;
mod window;

pub use action::{Action, Cancel, Note};
pub use config::{DispatchConfig, InDoubt};
pub use delivery::Delivery;
pub use dispatcher::Dispatcher;
pub use event::{LinkEvent, LinkId, Probed, Ticket};
pub use members::Found;
pub use names::{Speaker, Who};
pub use pending::{Depth, Pending, Queued};
pub(super) use server::OLD_STYLE_FILES;
pub use window::Window;

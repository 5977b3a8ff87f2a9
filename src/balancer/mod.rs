//! Role: the balancer. Takes files from clients, queues them, gives receipts, and sends the files
//! on to servers.
//!
//! ```text
//! ingress ──▶ gate ──▶ hub ──▶ link ──▶ server
//!    ▲                │  ▲       │
//!    └── receipts ────┘  └─ acks ┴─ probe
//! ```
//!
//! [`ingress`] reads from clients, and [`gate`] reserves room for their files. `hub` is the one
//! task that owns the state of all files; its decisions are [`dispatch`]'s, which does no I/O. The
//! journal's writer is a thread beside it. `link` and `probe` talk to servers and report to the
//! hub. Operators take samples and give orders by [`control`], and follow [`events`]. `boot` starts
//! all of this, and stops it in order.

mod boot;
mod cold;
mod config;
pub mod control;
mod directories;
mod disk_space;
pub mod dispatch;
pub mod events;
pub mod gate;
mod happening;
mod head_start;
pub mod host_facts;
mod hub;
pub mod ingress;
mod join;
mod link;
mod members;
pub mod messages;
pub mod orders;
mod probe;
pub mod query;
mod recovery_log;
pub mod room;
pub mod saved;
mod selection;
mod sharing;
mod shortage;
pub mod standing;

pub use boot::Balancer;
pub use config::{BalancerConfig, BalancerError, BalancerLimits, Outcome};
pub use dispatch::{DispatchConfig, InDoubt, Window};
pub use ingress::Door;
pub use join::Join;
pub use orders::{ServersSpeak, Settings};
pub use room::{LimitsError, QueueLimits};

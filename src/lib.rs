//! Bilico: a weighted round-robin load balancer for file transfer.
//!
//! Clients hand files over once and get a receipt; the balancer keeps them in a journal and stores
//! each on exactly one of its servers, whatever dies on the way. `docs/architecture.md` follows a
//! file through the house.
//!
//! # The map
//!
//! Dependencies run one way, from the top of this list to its bottom.
//!
//! | where | what |
//! |---|---|
//! | `src/bin/bilico.rs` | parses the command line, runs it, sets the exit code |
//! | [`cli`] | one file a subcommand, and what people see |
//! | [`load`] | role: sends files at a given rate, and measures what becomes of them |
//! | [`watch`] | role: a hot folder: hands over what settles in it, and puts it away |
//! | [`verify`] | compares the receipts of clients with what servers have |
//! | [`admin`] | the admin listener: HTTP for operators, on this machine only |
//! | [`balancer`] | role: doorways, the hub that decides, links and probes to servers |
//! | [`doors`] | the doorways of the fleet: agents, and the first systems of their kind |
//! | [`server`] | role: the store, the overload monitor, the work |
//! | [`agent`] | role: tells a balancer the figures of a host that stores no files |
//! | [`client`] | role: sends files and follows their receipts |
//! | [`fleet`] | the members of a balancer's fleet, what they tell, and their history |
//! | [`host`] | the figures of this machine |
//! | [`certs`] | makes and reads the certificates of a cluster |
//! | [`access`] | foundation of the roles: the one lock: who somebody is, and what they may do |
//! | [`logging`] | foundation of the roles: the rotating log |
//! | `websocket` | foundation of the roles: what both sides of its handshake reckon |
//! | `crates/net`: [`transport`], [`descriptors`], [`bulk`], [`pool`], [`shutdown`], [`transport::tls`] | connections, deadlines, TLS and the accept loop, over any stream |
//! | `crates/queue`: [`queue`] | core: the journal of what is accepted, what waits, and what is remembered |
//! | `crates/core`: [`protocol`] | core: native frames and messages, the JSON doorway, limits |
//! | `crates/core`: [`schedule`] | core: weighted round robin over the eligible servers, and what makes them eligible |
//! | `crates/core`: [`fleet_core`] | core: the registry of members, facts with age and trust, and their history |
//! | `crates/core`: [`checksum`], [`config`], [`durability`], [`mod@file`], [`numbers`], [`os_error`], [`os_text`], [`secret`], [`text`], [`units`] | foundation |
//!
//! The cores know no socket, no task and no clock (the journal's writer is a thread, and all that it
//! knows of a disk is [`queue::disk::Disk`]): they are told what happened and when, and tests drive
//! them by the million. `src/balancer/dispatch/`, which decides what happens to each file and each
//! server, is written in the same way.

pub mod access;
pub mod admin;
pub mod agent;
pub mod balancer;
pub mod certs;
pub mod cli;
pub mod client;
pub mod doors;
pub mod fleet;
pub mod host;
pub mod load;
pub mod logging;
pub mod server;
pub mod verify;
pub mod watch;
mod websocket;

pub use bilico_core::{
    checksum, config, durability, file, fleet as fleet_core, numbers, os_error, os_text, protocol,
    schedule, secret, text, units,
};
pub use bilico_net as transport;
pub use bilico_net::{bulk, descriptors, pool, shutdown};
pub use bilico_queue as queue;

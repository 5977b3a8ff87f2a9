//! Role: the file server. Takes files from balancers, stores each whole or not at all, and
//! acknowledges it.
//!
//! `connection` speaks to balancers, old and new, and `links` knows which of them are connected.
//! [`store`] hands files to one thread, the `keeper`. The keeper writes them to disk by way of
//! `staged` and `opened`, under [`name`]s that are safe there; it keeps an `index` of the files
//! that balancers have not confirmed, and `unlink`s those that another server has, too.
//! [`overload`] watches the process's memory, and [`work`] is what is done with each stored file.

mod announcing;
mod cluster;
mod config;
mod connection;
mod count;
mod directory;
mod figures;
mod gauge;
mod held;
mod index;
mod job;
mod keeper;
mod links;
pub mod name;
mod opened;
pub mod overload;
mod place;
mod register;
mod run;
mod staged;
pub mod store;
mod unlink;
pub mod work;

pub use announcing::keep_announcing;
pub use cluster::ClusterDoor;
pub use config::{ReadableBy, ServerConfig, ServerError};
pub use gauge::ServerGauge;
pub use keeper::most_files;
pub use register::Registering;
pub use run::Server;

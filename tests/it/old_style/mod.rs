//! Peers of the system before Bilico, written here from the bytes that they put on the wire.

mod balancers;
mod changes;
mod clients;
mod farms;
mod servers;
mod work;

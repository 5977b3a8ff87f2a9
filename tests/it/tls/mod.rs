//! TLS: certificates, clients and operators, and the cluster.

mod certs;
mod clients;
mod cluster;
mod impostors;
mod others;
mod place;

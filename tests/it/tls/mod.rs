//! TLS: certificates, clients and operators, and the cluster.

mod agent;
mod capture;
mod certs;
mod clients;
mod cluster;
mod impostors;
mod others;
mod place;
mod register;
mod reload;
mod stalls;

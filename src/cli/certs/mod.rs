//! `bilico certs`: the certificates of a cluster.

mod command;
mod show;

pub(super) use command::{CertsArgs, run};

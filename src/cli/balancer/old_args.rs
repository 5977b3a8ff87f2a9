//! The flags of the doorways of the first monitoring system.

use std::net::SocketAddr;

use clap::Args;
use ipnet::IpNet;
use tokio::net::TcpListener;

use super::door_at::DoorAt;
use crate::cli::output::Failure;
use crate::doors::old::{OldDoors, max_connections};

/// The doorways of the first monitoring system.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub(super) struct OldArgs {
    /// Address where servers of the first monitoring system announce themselves, 127.0.0.1:4999
    /// there; they are shown and get no files. `none` for no such doorway
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "none",
        env = "BILICO_OLD_ANNOUNCE"
    )]
    old_announce: DoorAt,
    /// A network whose addresses everybody may announce; without it, servers announce their own.
    /// Repeat the flag for each
    #[arg(
        long,
        value_name = "NETWORK",
        value_delimiter = ',',
        env = "BILICO_OLD_ANNOUNCE_HOSTS"
    )]
    old_announce_hosts: Vec<IpNet>,
    /// Address where its clients on this machine pick a server and get its status, 127.0.0.1:5000
    /// there; `none` for no such doorway
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "none",
        env = "BILICO_OLD_PICK"
    )]
    old_pick: DoorAt,
    /// Address where its health checkers on this machine come, 127.0.0.1:4998 there; what they say
    /// is shown. `none` for no such doorway
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "none",
        env = "BILICO_OLD_CHECKER"
    )]
    old_checker: DoorAt,
}

impl OldArgs {
    /// The most connections of these doorways.
    pub(super) fn max_connections(&self) -> usize {
        max_connections(
            self.old_announce.is_some(),
            self.old_pick.is_some(),
            self.old_checker.is_some(),
        )
    }

    /// Binds the doorways that are open, and returns what each is called and where it is, too.
    pub(super) async fn bind(&self) -> Result<(OldDoors, Vec<Bound>), Failure> {
        let mut bound = Vec::new();
        let mut keep = |name, listener: Option<(TcpListener, SocketAddr)>| {
            listener.map(|(listener, address)| {
                bound.push((name, address));
                listener
            })
        };
        let announce = self.old_announce.bind("--old-announce").await?;
        let pick = self.old_pick.bind_here("--old-pick").await?;
        let checker = self.old_checker.bind_here("--old-checker").await?;
        let doors = OldDoors {
            announce: keep("old-announce", announce),
            hosts: self.old_announce_hosts.clone(),
            pick: keep("old-pick", pick),
            checker: keep("old-checker", checker),
            ..OldDoors::default()
        };
        Ok((doors, bound))
    }
}

/// What a doorway is called, and where it is.
pub(super) type Bound = (&'static str, SocketAddr);

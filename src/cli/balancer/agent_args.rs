//! The flags of the doorways for agents, and the doorways that they open.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::door_at::DoorAt;
use crate::access::{Auth, Lock};
use crate::admin;
use crate::cli::output::{Exit, Failure};
use crate::cli::settings::values::whole;
use crate::doors::http::{AgentsHttp, HttpLimits, MAX_CONNECTIONS};
use crate::doors::udp::{self, AgentsUdp};
use crate::fleet::Fleet;
use crate::transport::tls::Door;

/// The doorways for agents.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
pub(super) struct AgentArgs {
    /// Address where datagrams of agents come in, plain or signed, e.g. 0.0.0.0:5005; `none` for no
    /// such doorway
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "none",
        env = "BILICO_AGENTS_UDP"
    )]
    agents_udp: DoorAt,
    /// A network that plain datagrams are taken from, as claims; without it, from this machine only.
    /// Repeat the flag for each. Signed ones are taken from anywhere
    #[arg(
        long,
        value_name = "NETWORK",
        value_delimiter = ',',
        env = "BILICO_AGENTS_UDP_FROM"
    )]
    agents_udp_from: Vec<IpNet>,
    /// Address where agents get tokens, and tell figures over WebSocket and HTTP, e.g.
    /// 127.0.0.1:8000; `none` for no such doorway
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "none",
        env = "BILICO_AGENTS_HTTP"
    )]
    agents_http: DoorAt,
    /// A network whose agents need no token there: what they tell is a claim. Without it, this
    /// machine if there are no users, and nobody if there are. Repeat the flag for each
    #[arg(
        long,
        value_name = "NETWORK",
        value_delimiter = ',',
        env = "BILICO_AGENTS_HTTP_FROM"
    )]
    agents_http_from: Vec<IpNet>,
    /// How many commands that users have typed are kept of each host, in memory, for administrators;
    /// with 0, agents cannot send any. Passwords may be among them
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = whole::<u32>(..=100_000),
        env = "BILICO_AGENTS_COMMANDS"
    )]
    agents_commands: u32,
}

impl AgentArgs {
    /// The most connections of these doorways.
    pub(super) fn max_connections(&self) -> usize {
        if self.agents_http.is_some() {
            most()
        } else {
            0
        }
    }

    /// Binds the doorways that are to be open.
    pub(super) async fn bind(
        &self,
        auth: Auth,
        tls: Option<&Arc<Door>>,
    ) -> Result<AgentDoors, Failure> {
        let udp = match self.agents_udp.address() {
            Some(address) => Some(self.bind_udp(address).await?),
            None => None,
        };
        let http = self.agents_http.bind("--agents-http").await?;
        if let Some((_, address)) = &http
            && !address.ip().is_loopback()
            && auth == Auth::Required
            && tls.is_none()
            && self.agents_http_from.is_empty()
        {
            let error = format!(
                "agents on other machines can show no token at {address}: tokens are taken over TLS \
                 only, and `tls` is off"
            );
            let hint = "pass --tls required with --tls-cert and --tls-key; or --agents-http \
                        127.0.0.1:8000, which others reach through a tunnel, e.g. `ssh -L`";
            return Err(Failure::new(Exit::Usage, error).hint(hint));
        }
        let http = http.map(|(listener, address)| {
            let doorway = self.http(listener, auth, tls.cloned());
            (doorway, address)
        });
        Ok(AgentDoors {
            udp,
            http,
            commands: self.agents_commands as usize,
        })
    }

    async fn bind_udp(&self, address: &str) -> Result<(AgentsUdp, SocketAddr), Failure> {
        let from = or_this_machine(&self.agents_udp_from);
        udp::bind(address, from).await.map_err(|error| {
            let error = format!("cannot take datagrams at {address}: {error}");
            let hint = "pass --agents-udp for another address, or --agents-udp none";
            Failure::new(Exit::Failed, error).hint(hint)
        })
    }

    fn http(&self, listener: TcpListener, auth: Auth, tls: Option<Arc<Door>>) -> AgentsHttp {
        let from = match auth {
            Auth::Off => or_this_machine(&self.agents_http_from),
            Auth::Required => self.agents_http_from.clone(),
        };
        AgentsHttp {
            listener,
            tls,
            from,
            commands: self.agents_commands > 0,
            limits: HttpLimits {
                connections: most(),
                ..HttpLimits::default()
            },
        }
    }
}

/// The most connections at once where the process may open few files.
fn most() -> usize {
    admin::max_connections().min(MAX_CONNECTIONS)
}

/// These networks, or this machine if there are none.
fn or_this_machine(networks: &[IpNet]) -> Vec<IpNet> {
    if !networks.is_empty() {
        return networks.to_vec();
    }
    let here = ["127.0.0.0/8", "::1/128"];
    here.iter()
        .filter_map(|network| network.parse().ok())
        .collect()
}

/// Doorways for agents that are bound and not open yet.
pub(super) struct AgentDoors {
    udp: Option<(AgentsUdp, SocketAddr)>,
    http: Option<(AgentsHttp, SocketAddr)>,
    commands: usize,
}

impl AgentDoors {
    /// What each is called, and where it is.
    pub(super) fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let udp = self.udp.as_ref().map(|(_, at)| ("agents-udp", *at));
        let http = self.http.as_ref().map(|(_, at)| ("agents-http", *at));
        udp.into_iter().chain(http).collect()
    }

    /// Opens them, until `stop` is cancelled.
    pub(super) fn serve(self, lock: &Lock, fleet: &Fleet, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        fleet.commands().keep(self.commands);
        if let Some((udp, _)) = self.udp {
            tasks.spawn(udp.run(lock.clone(), fleet.clone(), stop.clone()));
        }
        if let Some((http, _)) = self.http {
            tasks.spawn(http.run(lock.clone(), fleet.clone(), stop.clone()));
        }
        tasks
    }
}

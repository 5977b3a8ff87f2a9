//! Runs a balancer and two file servers in this process, hands a file over, and stops them.
//!
//! `cargo run --example in_process`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bilico::balancer::{Balancer, BalancerConfig, Settings};
use bilico::client::{Changed, Form, Keys, Options, Source, Tally, Wait, Way, transfer};
use bilico::server::{Server, ServerConfig};
use bilico::transport::Tcp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let stop = CancellationToken::new();
    let roles = TaskTracker::new();

    // The roles are given their listeners, so port 0 works: the system picks free ports.
    let mut servers = Vec::new();
    for weight in [2, 1] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let config = ServerConfig {
            dir: place.path().join(format!("server-{}", address.port())),
            ..ServerConfig::default()
        };
        roles.spawn(Server::open(config)?.run(listener, stop.clone()));
        servers.push(format!("{address}={weight}").parse()?);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let config = BalancerConfig {
        settings: Settings {
            servers,
            ..Settings::default()
        },
        journal: place.path().join("journal"),
        ..BalancerConfig::default()
    };
    roles.spawn(Balancer::open(config)?.run(listener, Arc::new(Tcp), stop.clone()));

    let sources = [Source::named(Path::new("README.md"), Form::Raw)];
    let options = Options {
        wait: Wait::Delivered,
        keys: Keys::default(),
        retry: Duration::ZERO,
        changed: Changed::Fail,
        hashed: false,
    };
    let tally = watch::Sender::new(Tally::default());
    transfer(&Way::plain(address), &sources, &options, &tally).await?;
    println!("{:?}", tally.borrow().fates);

    stop.cancel();
    roles.close();
    roles.wait().await;
    Ok(())
}

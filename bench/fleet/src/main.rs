//! Plays a fleet in one process, so that what a balancer spends on it is measured by itself, with
//! thousands of its members on one machine.
//!
//! ```text
//! fleet --servers N [--rates N,N…] [--cluster-ca FILE --cluster-cert FILE --cluster-key FILE]
//! fleet --agents N --native ADDRESS --secret-file FILE [--every SECONDS]
//! fleet --agents N --datagrams ADDRESS --tokens FILE [--every SECONDS]
//! fleet --users N --to DIR
//! ```
//!
//! `--servers` is about files: [`servers`]. `--agents` is about figures of hosts, over the balancer's
//! own port or by signed datagrams: [`agents`]. Each of those that sign has a user of its own:
//! [`users`] makes them.

mod agents;
mod servers;
mod users;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    // One thread: what is measured beside it has the other processors.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let count = |name| flag(name).as_deref().map(number).transpose();
    if let Some(servers) = count("--servers")? {
        runtime.block_on(servers::run(servers))
    } else if let Some(agents) = count("--agents")? {
        runtime.block_on(agents::run(agents))
    } else if let Some(users) = count("--users")? {
        users::make(users)
    } else {
        Err("one of --servers, --agents and --users is needed".into())
    }
}

/// The value behind a flag of the command line.
fn flag(name: &str) -> Option<String> {
    std::env::args().skip_while(|word| word != name).nth(1)
}

/// The same for one that must be there.
fn needed(name: &str) -> Result<String, Failure> {
    flag(name).ok_or_else(|| format!("{name} is missing").into())
}

fn number(text: &str) -> Result<u32, Failure> {
    let invalid = |_| format!("invalid number {text:?}").into();
    text.parse().map_err(invalid)
}

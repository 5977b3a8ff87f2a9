//! The subcommands of `bilico certs`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::show;
use crate::certs::{Authority, CertsError, Directory, Issued, Order};
use crate::cli::output::{Exit, Failure, say};
use crate::cli::settings::values::whole;
use crate::text::printable_path;
use crate::transport::tls::{Identity, Role, check_name};

/// Make and show the certificates by which balancers, servers and clients prove who they are
#[derive(Debug, Args)]
pub(in crate::cli) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Make the authority of a new cluster: ca.pem, which everybody may have, and ca.key
    ///
    /// Whoever has ca.key can make certificates of this cluster: keep it where certificates are made,
    /// and nowhere else.
    Init {
        #[command(flatten)]
        dir: DirArg,
        /// The name of the cluster
        #[arg(long, value_name = "NAME", default_value = "main", value_parser = check_name)]
        cluster: String,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 3650, value_parser = days())]
        days: u32,
    },
    /// Make a certificate, and its key, for a balancer, a server or a client
    Issue {
        /// What it is for: balancer, server or client
        #[arg(value_name = "ROLE")]
        role: Role,
        /// The name among those of this role
        #[arg(value_parser = check_name)]
        name: String,
        /// The host names and addresses that it is reached at; by default those of the machine
        /// itself, such as localhost
        #[arg(long = "san", value_name = "HOST,IP", value_delimiter = ',')]
        hosts: Vec<String>,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = days())]
        days: u32,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Make new certificates with the same role, name and hosts; the keys stay
    ///
    /// A role that runs takes them with `bilico reload` or SIGHUP.
    Renew {
        /// Whose certificates
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// Those of all balancers, servers and clients
        #[arg(long)]
        all: bool,
        /// How many days they are valid; by default as many as before
        #[arg(long, value_name = "DAYS", value_parser = days())]
        days: Option<u32>,
        #[command(flatten)]
        dir: DirArg,
    },
    /// Show what is in a certificate, or what is negotiated at an address
    Show {
        /// A file of certificates, or HOST:PORT
        #[arg(value_name = "FILE|ADDR")]
        what: String,
        /// At an address: the authority to judge by
        #[arg(long, value_name = "FILE", env = "BILICO_CA")]
        ca: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct DirArg {
    /// The directory of the certificates and keys
    #[arg(long, value_name = "DIR", default_value = "tls")]
    dir: PathBuf,
}

fn days() -> impl Fn(&str) -> Result<u32, String> + Clone + Send + Sync + 'static {
    whole(1..=36_500)
}

/// Makes or shows certificates.
pub(in crate::cli) async fn run(args: CertsArgs) -> Result<Exit, Failure> {
    match args.command {
        CertsCommand::Init { dir, cluster, days } => init(&dir, &cluster, days),
        CertsCommand::Issue {
            role,
            name,
            hosts,
            days,
            dir,
        } => issue((role, name), hosts, days, &dir),
        CertsCommand::Renew {
            name, days, dir, ..
        } => renew(name.as_deref(), days, &dir),
        CertsCommand::Show { what, ca } => show::show(&what, ca.as_deref()).await,
    }
}

fn init(dir: &DirArg, cluster: &str, days: u32) -> Result<Exit, Failure> {
    let made = Authority::create(Directory::new(&dir.dir), cluster, days);
    let authority = made.map_err(|error| failure(&error))?;
    let ca = Directory::new(&dir.dir).authority();
    let certificate = authority.certificate();
    say(format_args!(
        "authority of the cluster {cluster}: {}, valid until {}",
        printable_path(&ca),
        certificate.to
    ));
    say(format_args!("SHA-256 {}", certificate.fingerprint));
    Ok(Exit::Done)
}

fn issue(
    (role, name): (Role, String),
    hosts: Vec<String>,
    days: u32,
    dir: &DirArg,
) -> Result<Exit, Failure> {
    let authority = open(dir)?;
    let is_reached = role != Role::Client;
    let hosts = if hosts.is_empty() && is_reached {
        Order::local_hosts()
    } else {
        hosts
    };
    let order = Order {
        identity: Identity {
            cluster: authority.cluster().to_owned(),
            role,
            name,
        },
        hosts,
        days,
    };
    let files = authority.issue(&order).map_err(|error| failure(&error))?;
    say(format_args!("{}", order.identity));
    tell(&files);
    Ok(Exit::Done)
}

fn renew(name: Option<&str>, days: Option<u32>, dir: &DirArg) -> Result<Exit, Failure> {
    let renewed = open(dir)?.renew(name, days);
    let renewed = renewed.map_err(|error| failure(&error))?;
    if renewed.is_empty() {
        say("there is nothing to renew");
    }
    for files in &renewed {
        tell(files);
    }
    Ok(Exit::Done)
}

fn tell(Issued { cert, key }: &Issued) {
    let (cert, key) = (printable_path(cert), printable_path(key));
    say(format_args!("certificate {cert}, key {key}"));
}

fn open(dir: &DirArg) -> Result<Authority, Failure> {
    let opened = Authority::open(Directory::new(&dir.dir));
    opened.map_err(|error| failure(&error))
}

fn failure(error: &CertsError) -> Failure {
    let failure = Failure::new(Exit::Failed, error);
    match error {
        CertsError::There(_) => failure.hint(
            "`bilico certs renew` makes a new certificate for the same key; for another key, move \
             the old files away first",
        ),
        CertsError::NoAuthority { .. } => {
            failure.hint("`bilico certs init` makes one; --dir names another directory")
        }
        _ => failure,
    }
}

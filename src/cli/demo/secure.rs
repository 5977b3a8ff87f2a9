//! What `bilico demo --secure` makes before it starts its roles: an authority, certificates for all,
//! and a user with a password and a token. What is there from an earlier start stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::paths::show;
use super::roles::Launch;
use crate::access::users::{NewCode, NewToken, Token, UserName, UserOrder, Users};
use crate::access::{MAX_TOKEN_LIFE, UserRole, hash_password};
use crate::certs::{Authority, Directory, Issued, Order};
use crate::cli::output::{Exit, Failure, say};
use crate::cli::secrets::{self, TokenArg};
use crate::cli::send::BalancerArg;
use crate::cli::tls::CaArg;
use crate::secret::Secret;
use crate::transport::tls::{Identity, Role};

/// The cluster, and the balancer's name in it.
const CLUSTER: &str = "demo";

/// The user.
const USER: &str = "demo";

/// How long the certificates are valid, in days.
const DAYS: u32 = 365;

/// Where everything is. Children are given these paths, never what is in them.
pub(super) struct Secured {
    dir: PathBuf,
    tls: Directory,
    balancer: Issued,
    servers: Vec<Issued>,
}

impl Secured {
    /// Makes what is missing in this directory, for so many servers.
    pub(super) fn make(dir: &Path, servers: usize) -> Result<Self, Failure> {
        let dir = dir.join("secure");
        let tls = Directory::new(dir.join("tls"));
        let authority = if tls.authority().exists() {
            Authority::open(tls.clone())
        } else {
            Authority::create(tls.clone(), CLUSTER, 10 * DAYS)
        };
        let authority = authority.map_err(failed)?;
        let issued = |role, name: String| {
            let files = tls.files_of(role, &name);
            if files.cert.exists() {
                return Ok(files);
            }
            let cluster = authority.cluster().to_owned();
            let order = Order {
                identity: Identity {
                    cluster,
                    role,
                    name,
                },
                hosts: Order::local_hosts(),
                days: DAYS,
            };
            authority.issue(&order).map_err(failed)
        };
        let balancer = issued(Role::Balancer, CLUSTER.to_owned())?;
        let servers = (1..=servers)
            .map(|place| issued(Role::Server, server_name(place)))
            .collect::<Result<_, _>>()?;
        let secured = Self {
            dir,
            tls,
            balancer,
            servers,
        };
        secured.make_user()?;
        Ok(secured)
    }

    /// The user has another token after each start, and keeps the password.
    fn make_user(&self) -> Result<(), Failure> {
        let users = Users::open_or_begin(&self.users()).map_err(failed)?;
        let name = UserName::parse(USER).map_err(failed)?;
        if users.book(|book| book.user(&name).is_err()) {
            let NewCode { text, .. } = NewCode::make();
            let password = hash_password(&text).map_err(failed)?;
            let role = UserRole::Admin;
            let name = name.clone();
            users
                .order(UserOrder::Add {
                    name,
                    role,
                    password,
                })
                .map_err(failed)?;
            secrets::write(&self.dir.join("password"), text.reveal())?;
        }
        let NewToken { id, text, hash } = NewToken::make();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_err(failed)?.as_secs();
        let token = Token {
            user: name.clone(),
            name: "bilico demo".to_owned(),
            hash,
            rights: UserRole::Admin.rights(),
            created: now,
            expires: Some(now + MAX_TOKEN_LIFE),
            from: Vec::new(),
        };
        let issued = users.change(|book| {
            book.revoke_all(&name);
            book.issue(id, token, now)
        });
        issued.map_err(failed)?;
        self.write_token(&text)
    }

    fn write_token(&self, token: &Secret) -> Result<(), Failure> {
        secrets::write(&self.token(), token.reveal())?;
        let header = format!("Authorization: Bearer {}", token.reveal());
        secrets::write(&self.header(), &header)
    }

    fn users(&self) -> PathBuf {
        self.dir.join("users.json")
    }

    fn token(&self) -> PathBuf {
        self.dir.join("token")
    }

    fn header(&self) -> PathBuf {
        self.dir.join("header")
    }

    /// Adds what the server in this place, counted from 0, needs.
    pub(super) fn server(&self, launch: &mut Launch, place: usize) {
        if let Some(files) = self.servers.get(place) {
            self.cluster(launch, files);
        }
    }

    /// Adds what the balancer needs.
    pub(super) fn balancer(&self, launch: &mut Launch) {
        self.cluster(launch, &self.balancer);
        launch.flag("--tls", "required");
        launch.flag("--tls-cert", &show(&self.balancer.cert));
        launch.flag("--tls-key", &show(&self.balancer.key));
        launch.flag("--auth", "required");
        launch.flag("--users", &show(&self.users()));
    }

    fn cluster(&self, launch: &mut Launch, files: &Issued) {
        launch.flag("--cluster-ca", &show(&self.tls.authority()));
        launch.flag("--cluster-cert", &show(&files.cert));
        launch.flag("--cluster-key", &show(&files.key));
    }

    /// How the demo itself gets to the balancer at this address.
    pub(super) fn way(&self, balancer: String) -> BalancerArg {
        BalancerArg {
            balancer,
            token: TokenArg {
                token_file: Some(self.token()),
            },
            ca: CaArg {
                ca: Some(self.tls.authority()),
            },
        }
    }

    /// Says how to use it from another terminal.
    pub(super) fn print(&self, balancer: &str, admin: Option<&str>) {
        let whole = |path: &Path| {
            let whole = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            whole.display().to_string()
        };
        let (ca, token) = (whole(&self.tls.authority()), whole(&self.token()));
        say(format_args!(
            "secure    TLS everywhere, and a user {USER} whose password is in {}",
            show(&self.dir.join("password"))
        ));
        say("From another terminal:");
        say(format_args!(
            "  export BILICO_CA={ca} BILICO_TOKEN_FILE={token} BILICO_BALANCER={balancer}"
        ));
        say("  bilico send --wait delivered FILE");
        if let Some(admin) = admin {
            say(format_args!("  export BILICO_ADMIN={admin}"));
            say(format_args!(
                "  curl --cacert {ca} -H @{} -T FILE https://{admin}/files/",
                whole(&self.header())
            ));
            say("  bilico user invite anna");
        }
        say(format_args!("  bilico certs show {balancer}"));
    }
}

/// The name of the server in this place, counted from 1.
pub(super) fn server_name(place: usize) -> String {
    format!("s{place}")
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

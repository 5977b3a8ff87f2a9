//! TLS on both legs and a lock that is on, for all that runs on a stage.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bilico::access::UserRole;
use bilico::access::users::{NewToken, Token, UserName, UserOrder, Users};
use bilico::client::Way;
use bilico::secret::Secret;
use bilico::transport::tls::{Secure, client_of_balancer, read_authorities};

use crate::bilico;

/// The user that all clients are.
pub(super) const USER: &str = "chaos";

/// The certificates and the token of a stage.
pub(super) struct Secured {
    dir: PathBuf,
    token: Secret,
}

impl Secured {
    /// Makes them in the directory of a stage with so many servers.
    pub(super) fn make(dir: &Path, servers: usize) -> Self {
        let certs = |args: &[&str]| {
            let made = bilico(&[&["certs"], args, &["--dir", "tls"]].concat())
                .current_dir(dir)
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        };
        certs(&["init", "--cluster", "chaos"]);
        certs(&["issue", "balancer", "b1"]);
        for n in 1..=servers {
            certs(&["issue", "server", &format!("s{n}")]);
        }
        let users = Users::open_or_begin(&dir.join("users.json")).unwrap();
        let name = UserName::parse(USER).unwrap();
        let add = UserOrder::Add {
            name: name.clone(),
            role: UserRole::Sender,
            password: String::new(),
        };
        users.order(add).unwrap();
        let NewToken { id, text, hash } = NewToken::make();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let token = Token {
            user: name,
            name: String::new(),
            hash,
            rights: UserRole::Sender.rights(),
            created: now.as_secs(),
            expires: None,
            from: Vec::new(),
        };
        users
            .change(|book| book.issue(id, token, now.as_secs()))
            .unwrap();
        Self {
            dir: dir.to_owned(),
            token: text,
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join("tls").join(name).display().to_string()
    }

    fn cluster(&self, owner: &str) -> Vec<String> {
        let flags = [
            ("--cluster-ca", "ca.pem".to_owned()),
            ("--cluster-cert", format!("{owner}.pem")),
            ("--cluster-key", format!("{owner}.key")),
        ];
        flags
            .into_iter()
            .flat_map(|(flag, file)| [flag.to_owned(), self.path(&file)])
            .collect()
    }

    /// The flags of a server, counted from 1.
    pub(super) fn of_server(&self, n: usize) -> Vec<String> {
        self.cluster(&format!("server-s{n}"))
    }

    /// The flags of the balancer.
    pub(super) fn of_balancer(&self) -> Vec<String> {
        let mut flags = self.cluster("balancer-b1");
        let users = self.dir.join("users.json").display().to_string();
        let own = [
            ("--tls", "required".to_owned()),
            ("--tls-cert", self.path("balancer-b1.pem")),
            ("--tls-key", self.path("balancer-b1.key")),
            ("--auth", "required".to_owned()),
            ("--users", users),
        ];
        flags.extend(
            own.into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value]),
        );
        flags
    }

    /// Lets a command of a client in.
    pub(super) fn let_in(&self, command: &mut Command) {
        command
            .env("BILICO_CA", self.path("ca.pem"))
            .env("BILICO_TOKEN", self.token.reveal());
    }

    /// The way to the balancer at this address.
    pub(super) fn way(&self, address: &str) -> Way {
        let authorities = read_authorities(&self.dir.join("tls/ca.pem")).unwrap();
        let config = client_of_balancer(authorities).unwrap();
        Way {
            connector: Arc::new(Secure::to_balancers(config)),
            token: Some(self.token.clone()),
            ..Way::plain(address)
        }
    }
}

//! All ways to a pass.

use std::fmt;
use std::sync::Arc;

use super::account::{AccountAnswer, AccountRequest, Wanted};
use super::account_error::AccountError;
use super::accounts::Accounts;
use super::at::At;
use super::denied::{Denied, Why};
use super::pass::{Pass, Who};
use super::requests::you;
use super::right::{Right, Rights};
use super::users::{Charge, DatagramKey, TokenId, UserName};
use crate::secret::Secret;

/// What decides who may do what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// Where somebody is.
    Off,
    /// The token that somebody shows.
    Required,
}

/// Who may read the metrics at a listener that has nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFor {
    /// Whoever reaches it.
    Everybody,
    /// Whoever shows a token with that right.
    Users,
}

/// Says who somebody is. Each role has one, and all its doorways ask it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lock(Mode);

#[derive(Debug, Clone)]
enum Mode {
    /// Where somebody is decides what they may do. This machine has all rights, and others have
    /// these.
    Off(Rights),
    /// Whoever shows no token may do nothing.
    Users(Arc<Accounts>),
}

impl Lock {
    /// A balancer's, without users: other machines hand files over, and ask about their own.
    pub const fn off_at_balancer() -> Self {
        Self(Mode::Off(Rights::of(&[Right::Send, Right::ReadOwn])))
    }

    /// A file server's, without authentication: other machines are taken for balancers.
    pub const fn off_at_server() -> Self {
        Self(Mode::Off(Rights::of(&[Right::Store])))
    }

    /// That of a listener which has only the metrics: everybody may read them.
    pub const fn open_metrics() -> Self {
        Self(Mode::Off(Rights::of(&[Right::Metrics])))
    }

    /// A balancer's, with users.
    pub fn with_users(accounts: Arc<Accounts>) -> Self {
        Self(Mode::Users(accounts))
    }

    /// That of such a listener beside this lock.
    #[must_use]
    pub fn for_metrics(&self, who: MetricsFor) -> Self {
        match who {
            MetricsFor::Users if self.is_locked() => self.clone(),
            _ => Self::open_metrics(),
        }
    }

    /// Whether somebody has to say who they are.
    pub fn is_locked(&self) -> bool {
        self.accounts().is_some()
    }

    /// The users, if there are some.
    pub fn accounts(&self) -> Option<&Arc<Accounts>> {
        match &self.0 {
            Mode::Off(_) => None,
            Mode::Users(accounts) => Some(accounts),
        }
    }

    /// The pass of whoever connects and has shown nothing yet.
    pub fn by_place(&self, at: At) -> Pass {
        let from = at.address().to_string();
        match &self.0 {
            Mode::Off(_) if at.is_here() => Pass::new(from, Rights::all(), Who::Place),
            Mode::Off(elsewhere) => Pass::new(from, *elsewhere, Who::Place),
            Mode::Users(_) => Pass::new(from, Rights::default(), Who::Nobody),
        }
    }

    /// The pass of whoever shows this token. Without users nobody looks at it.
    pub fn by_token(&self, at: At, token: &Secret) -> Result<Pass, Denied> {
        match &self.0 {
            Mode::Off(_) => Ok(self.by_place(at)),
            Mode::Users(accounts) => accounts.by_token(at, token),
        }
    }

    /// The pass of whoever has signed a datagram with the token of this name. The token itself does not
    /// travel, so it does not matter who else hears it.
    pub fn by_datagram(
        &self,
        at: At,
        token: &TokenId,
        is_by: impl FnOnce(&DatagramKey) -> bool,
    ) -> Result<Pass, Denied> {
        match &self.0 {
            Mode::Off(_) => Err(Denied::new(Why::NoUsers)),
            Mode::Users(accounts) => accounts.by_datagram(at, token, is_by),
        }
    }

    /// A token for a program that shows the password of its user, and for how many seconds it is good:
    /// the one that it got last, while that has more than half of this life in seconds. Each program is
    /// to want the same.
    pub async fn program_login(
        &self,
        at: At,
        user: &str,
        password: Secret,
        wanted: Wanted,
        life: u64,
    ) -> Result<(Secret, u64), AccountError> {
        match &self.0 {
            Mode::Off(_) => Err(Denied::new(Why::NoUsers).into()),
            Mode::Users(accounts) => {
                let login = accounts.program_login(at, user, password, wanted, life);
                login.await
            }
        }
    }

    /// Counts a file of this user that has waited since an earlier run, whatever its quota; `None`
    /// without users, or if there is no such user any more.
    pub fn charge(&self, user: &str, bytes: u64) -> Option<Charge> {
        self.accounts()?.charge(&UserName::parse(user).ok()?, bytes)
    }

    /// The pass of an old-style client, which cannot say who it is, if its network is that of a user.
    pub fn by_network(&self, at: At) -> Option<Pass> {
        self.accounts()?.by_network(at)
    }

    /// The pass of whoever was refused: it is good for nothing but to say why.
    pub fn refused(at: At, denied: &Denied) -> Pass {
        let who = Who::Refused(denied.why().clone());
        Pass::new(at.address().to_string(), Rights::default(), who)
    }

    /// The pass of the process itself: for what it does of its own accord, and for whoever may send
    /// it signals.
    pub fn own() -> Pass {
        Pass::new("this process", Rights::all(), Who::Place)
    }

    /// Answers what somebody asks about their account.
    pub async fn account(
        &self,
        at: At,
        pass: &Pass,
        request: AccountRequest,
    ) -> Result<AccountAnswer, AccountError> {
        match &self.0 {
            Mode::Users(accounts) => accounts.answer(at, pass, request).await,
            Mode::Off(_) if request == AccountRequest::Whoami => Ok(you(pass)),
            Mode::Off(_) => Err(Denied::new(Why::NoUsers).into()),
        }
    }
}

/// What the lock lets in, for the log.
impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Mode::Off(elsewhere) => write!(
                f,
                "there is no authentication: this machine has all rights, others have {elsewhere}"
            ),
            Mode::Users(accounts) => write!(
                f,
                "whoever shows no token may do nothing; the users are those of {}",
                accounts.path()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{ToSend, ToStore};

    fn at(lock: &Lock, address: &str) -> Pass {
        lock.by_place(At::plain(address.parse().unwrap()))
    }

    #[test]
    fn this_machine_has_all_rights_and_others_have_few() {
        let balancer = Lock::off_at_balancer();
        for here in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(at(&balancer, here).rights(), Rights::all(), "{here}");
        }
        let server = Lock::off_at_server();
        for there in [
            "192.0.2.1:1",
            "[2001:db8::1]:1",
            "[::ffff:192.0.2.1]:1",
            "0.0.0.0:1",
        ] {
            let (client, other) = (at(&balancer, there), at(&server, there));
            assert_eq!(client.rights().to_string(), "send, read-own", "{there}");
            assert_eq!(other.rights().to_string(), "store", "{there}");
            assert!(client.allow::<ToSend>().is_ok() && other.allow::<ToStore>().is_ok());
            let denied = other.allow::<ToSend>().unwrap_err().to_string();
            assert_eq!(denied, "this takes the right `send`, and there is: store");
        }
    }

    #[test]
    fn everybody_may_read_open_metrics_and_nothing_else() {
        let pass = at(&Lock::open_metrics(), "192.0.2.1:1");
        assert_eq!(pass.rights(), Rights::of(&[Right::Metrics]));
    }

    #[test]
    fn what_it_lets_in_is_told_in_words() {
        assert_eq!(
            Lock::off_at_balancer().to_string(),
            "there is no authentication: this machine has all rights, others have send, read-own"
        );
    }
}

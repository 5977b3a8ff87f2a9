//! The accounts of a balancer: their users, who may guess when, and the threads that work on them.
//!
//! Everything that somebody can guess at passes `guesses` first, and everything that takes long is
//! done by the clerks.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::account::{TokenView, UserView, user_views};
use super::account_error::{AccountError, AccountsError};
use super::again::Again;
use super::at::At;
use super::audit;
use super::clerks::Clerks;
use super::denied::{Denied, Why};
use super::guess::Guesses;
use super::pass::{Allowed, Pass, Who};
use super::password::hash_password;
use super::right::ToAdminister;
use super::users::{
    Charge, DatagramKey, Known, NewToken, TokenId, UserName, UserOrder, Users, UsersFileError,
    read_token,
};
use crate::secret::Secret;
use crate::transport::Source;

/// How often the file is looked at, and expired tokens are ended.
const LOOK: Duration = Duration::from_millis(500);

/// The users of a balancer, and all that is done about them.
#[derive(Debug)]
pub struct Accounts {
    pub(super) users: Users,
    /// Where old-style clients are who are taken for a user.
    networks: Vec<(IpNet, UserName)>,
    guesses: Mutex<Guesses>,
    pub(super) clerks: Clerks,
    pub(super) again: Again,
    /// The hash of a password that nobody has: it is checked for users who are not there, so that
    /// the answer takes as long.
    pub(super) nobodys: String,
    began: Instant,
}

impl Accounts {
    /// Opens the accounts in this file. Blocks on the disk, and hashes a password.
    pub fn open(path: &Path, networks: Vec<(IpNet, UserName)>) -> Result<Self, AccountsError> {
        let users = Users::open(path)?;
        let NewToken { text, .. } = NewToken::make();
        Ok(Self {
            users,
            networks,
            guesses: Mutex::default(),
            clerks: Clerks::start()?,
            again: Again::default(),
            nobodys: hash_password(&text)?,
            began: Instant::now(),
        })
    }

    /// Follows changes of the file by others, and ends expired tokens, until `stop` is cancelled.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut trouble = None;
        while stop
            .run_until_cancelled(tokio::time::sleep(LOOK))
            .await
            .is_some()
        {
            self.users.end_expired();
            if !self.users.may_be_replaced() {
                continue;
            }
            match self.look_again().await {
                Ok(()) => trouble = None,
                Err(error) => {
                    let error = error.to_string();
                    if trouble.as_ref() != Some(&error) {
                        tracing::error!(error, "the users as they were read last stay");
                        trouble = Some(error);
                    }
                }
            }
        }
    }

    /// Where the users are kept.
    pub fn path(&self) -> String {
        self.users.path()
    }

    /// Whose token this is.
    pub(super) fn by_token(&self, at: At, token: &Secret) -> Result<Pass, Denied> {
        if !at.is_private() {
            return Err(Denied::new(Why::PlainText));
        }
        let Ok((id, hash)) = read_token(token) else {
            return Err(Denied::new(Why::Misspelt));
        };
        if let Some(known) = self.users.known(&id, &hash)
            && is_from(&known, at)
        {
            return Ok(pass_of(at, known));
        }
        let (source, now) = (Source::of(at.address()), self.now());
        let worth_a_word = self.guesses().bad_token(source, now);
        worth_a_word.map_err(|early| Denied::new(Why::TooEarly(early.0)))?;
        let refused = Denied::new(Why::BadToken);
        audit::bad_token(at, &id, &refused);
        Err(refused)
    }

    /// Whose token has signed a datagram. Nothing is counted as a guess: a token cannot be guessed, and
    /// anybody can write any address upon a datagram.
    pub(super) fn by_datagram(
        &self,
        at: At,
        token: &TokenId,
        is_by: impl FnOnce(&DatagramKey) -> bool,
    ) -> Result<Pass, Denied> {
        let signed = self.users.signed(token, is_by);
        match signed.filter(|known| is_from(known, at)) {
            Some(known) => Ok(pass_of(at, known)),
            None => Err(Denied::new(Why::BadToken)),
        }
    }

    /// Who an old-style client at this address is taken for: it cannot say who it is.
    pub(super) fn by_network(&self, at: At) -> Option<Pass> {
        let address = at.address().ip().to_canonical();
        let mut networks = self.networks.iter();
        let (_, user) = networks.find(|(network, _)| network.contains(&address))?;
        Some(pass_of(at, self.users.by_network(user)?))
    }

    /// Counts a file of this user that waits already.
    pub(super) fn charge(&self, user: &UserName, bytes: u64) -> Option<Charge> {
        Some(self.users.member(user)?.charge_anyway(bytes))
    }

    /// All users and invitations, by name.
    pub async fn users(self: &Arc<Self>, _: &Allowed<ToAdminister>) -> Vec<UserView> {
        self.be_up_to_date().await;
        self.users.book(user_views)
    }

    /// All tokens, the oldest first.
    pub async fn all_tokens(self: &Arc<Self>, _: &Allowed<ToAdminister>) -> Vec<TokenView> {
        self.be_up_to_date().await;
        self.users.tokens()
    }

    /// Changes something about users.
    pub async fn order(
        self: &Arc<Self>,
        by: &Allowed<ToAdminister>,
        order: UserOrder,
    ) -> Result<(), AccountError> {
        let (event, about) = (order.event(), order.about());
        self.change(move |users| Ok(users.order(order)?)).await?;
        audit::done(event, by.pass(), &about);
        Ok(())
    }

    /// Lets those try again at once who guessed wrong for this user.
    pub fn unlock(&self, by: &Allowed<ToAdminister>, user: &UserName) {
        self.guesses().unlock(user);
        audit::done("user.unlocked", by.pass(), user.text());
    }

    /// Reads the file again if it was replaced: a command may have invited whoever comes now. If it is
    /// being read at this moment, waits for that.
    pub(super) async fn be_up_to_date(self: &Arc<Self>) {
        if self.users.may_be_replaced() {
            // What is wrong with the file is told by whoever follows it.
            let _ = self.look_again().await;
        }
    }

    /// Has a clerk read the file again, if it was replaced.
    async fn look_again(self: &Arc<Self>) -> Result<(), UsersFileError> {
        let accounts = self.clone();
        let looked = self
            .clerks
            .change_own(move || accounts.users.look_again())
            .await;
        if looked.unwrap_or(Ok(false))? {
            tracing::info!(file = self.users.path(), "the users were read again");
        }
        Ok(())
    }

    /// Whether somebody may try a secret of this user now; the try counts. `None` if nobody can
    /// have that name.
    pub(super) async fn may_try(
        self: &Arc<Self>,
        at: At,
        user: &str,
    ) -> Result<Option<UserName>, Denied> {
        if !at.is_private() {
            return Err(Denied::new(Why::PlainText));
        }
        let name = UserName::parse(user).ok();
        let source = Source::of(at.address());
        let delay = {
            let mut guesses = self.guesses();
            let now = self.now();
            let delay = guesses.may_try(source, name.as_ref(), now);
            let delay = delay.map_err(|early| Denied::new(Why::TooEarly(early.0)))?;
            guesses.tried(source, name.as_ref(), now);
            delay
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.be_up_to_date().await;
        Ok(name)
    }

    /// Has a clerk change something.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Users) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let accounts = self.clone();
        let changed = self.clerks.change(move || change(&accounts.users)).await;
        changed.unwrap_or_else(|_| Err(Denied::new(Why::Busy).into()))
    }

    /// The same for a user who wants it.
    pub(super) async fn change_own<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Users) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let accounts = self.clone();
        let changed = self.clerks.change_own(move || change(&accounts.users));
        let busy = |_| Err(Denied::new(Why::Busy).into());
        changed.await.unwrap_or_else(busy)
    }

    /// A user's turn to change something, for as long as the value is kept: each has one at a time, so
    /// that no user keeps others waiting.
    pub(super) async fn turn_of(&self, user: &UserName) -> Option<OwnedMutexGuard<()>> {
        Some(self.users.member(user)?.turn().await)
    }

    pub(super) fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The pass of whoever shows this token.
fn pass_of(at: At, known: Arc<Known>) -> Pass {
    let from = format!("{}@{}", known.member.name, at.address());
    Pass::new(from, known.rights, Who::User(known))
}

pub(super) fn is_from(known: &Known, at: At) -> bool {
    let address = at.address().ip().to_canonical();
    known.from.is_empty() || known.from.iter().any(|network| network.contains(&address))
}

//! What is done about accounts: passwords are checked, tokens are given out and ended.
//!
//! Everything that somebody can guess at passes `guesses` first, and everything that takes long is
//! done by the clerks.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::account::{AccountAnswer, AccountRequest, TokenView, UserView, Wanted, user_views};
use super::at::At;
use super::audit;
use super::clerks::Clerks;
use super::denied::{Denied, Why};
use super::guess::Guesses;
use super::pass::{Allowed, Pass, Who};
use super::password::{HashError, WeakPassword, check_password, hash_password, is_password};
use super::right::{Right, ToAdminister};
use super::users::{
    BookError, ChangeError, Known, NewToken, Token, TokenId, UserName, UserOrder, Users,
    UsersFileError, read_code, read_token, seconds,
};
use crate::protocol::RefusalCode;
use crate::secret::Secret;
use crate::transport::Source;

/// How long a token lives if nothing is said.
const TOKEN_LIFE: u64 = 30 * 24 * 3600;

/// The longest life of a token.
pub const MAX_TOKEN_LIFE: u64 = 90 * 24 * 3600;

/// How often the file is looked at, and expired tokens are ended.
const LOOK: Duration = Duration::from_millis(500);

/// The users of a balancer, and all that is done about them.
#[derive(Debug)]
pub struct Accounts {
    users: Users,
    guesses: Mutex<Guesses>,
    clerks: Clerks,
    /// The hash of a password that nobody has: it is checked for users who are not there, so that
    /// the answer takes as long.
    nobodys: String,
    began: Instant,
}

/// Why accounts cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The file of the users.
    #[error(transparent)]
    File(#[from] UsersFileError),
    /// The system refuses the threads.
    #[error("cannot start the threads that check passwords: {0}")]
    Threads(#[from] io::Error),
    /// The first hash failed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Why something about an account was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// They may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// What they ask for is not possible.
    #[error(transparent)]
    Book(BookError),
    /// The password is not taken.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// What they ask for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The disk or the system fails.
    #[error("{0}")]
    Failed(String),
}

impl From<ChangeError> for AccountError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Book(error) => Self::Book(error),
            ChangeError::File(error) => Self::Failed(error.to_string()),
        }
    }
}

impl From<HashError> for AccountError {
    fn from(error: HashError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl AccountError {
    /// The kind of refusal.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Denied(denied) => denied.refusal().code,
            Self::Book(_) => RefusalCode::Conflict,
            Self::Weak(_) | Self::Invalid(_) => RefusalCode::Malformed,
            Self::Failed(_) => RefusalCode::Storage,
        }
    }

    /// The answer to whoever asked.
    pub fn answer(&self) -> AccountAnswer {
        AccountAnswer::Refused {
            code: self.code(),
            error: self.to_string(),
        }
    }
}

impl Accounts {
    /// Opens the accounts in this file. Blocks on the disk, and hashes a password.
    pub fn open(path: &Path) -> Result<Self, AccountsError> {
        let users = Users::open(path)?;
        let NewToken { text, .. } = NewToken::make();
        Ok(Self {
            users,
            guesses: Mutex::default(),
            clerks: Clerks::start()?,
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
            if !self.users.is_replaced() {
                continue;
            }
            let accounts = self.clone();
            let looked = self.clerks.run(move || accounts.users.look_again()).await;
            match looked {
                Ok(Ok(_)) => {
                    trouble = None;
                    tracing::info!(file = self.users.path(), "the users were read again");
                }
                Ok(Err(error)) => {
                    let error = error.to_string();
                    if trouble.as_ref() != Some(&error) {
                        tracing::error!(error, "the users as they were read last stay");
                        trouble = Some(error);
                    }
                }
                // The clerks are busy: later.
                Err(_) => {}
            }
        }
    }

    /// Reads the file again. Blocks on the disk.
    pub fn reload(&self) -> Result<bool, UsersFileError> {
        self.users.look_again()
    }

    /// Where the users are kept.
    pub fn path(&self) -> String {
        self.users.path()
    }

    /// Whose token this is.
    pub(super) fn by_token(&self, at: At, token: &Secret) -> Result<Pass, Denied> {
        let denied = |why| Denied::new(at.address().to_string().into(), why);
        if !at.is_private() {
            return Err(denied(Why::PlainText));
        }
        let Ok((id, hash)) = read_token(token) else {
            return Err(denied(Why::Misspelt));
        };
        if let Some(known) = self.users.known(&id, &hash)
            && is_from(&known, at)
        {
            return Ok(pass_of(at, known));
        }
        let (source, now) = (Source::of(at.address()), self.now());
        let worth_a_word = self.guesses().bad_token(source, now);
        worth_a_word.map_err(|early| denied(Why::TooEarly(early.0)))?;
        let refused = denied(Why::BadToken);
        audit::bad_token(at, &id, &refused);
        Err(refused)
    }

    /// Does what somebody asks for.
    pub async fn answer(
        self: &Arc<Self>,
        at: At,
        pass: &Pass,
        request: AccountRequest,
    ) -> Result<AccountAnswer, AccountError> {
        match request {
            AccountRequest::Register {
                user,
                password,
                code,
            } => self.register(at, &user, password, &code).await,
            AccountRequest::Login {
                user,
                password,
                token,
            } => self.login(at, &user, password, token).await,
            AccountRequest::ChangePassword {
                user,
                password,
                new_password,
            } => {
                let name = self.check(at, &user, password).await?;
                check_password(&name, &new_password)?;
                let changed = name.clone();
                self.change(move |users| {
                    let hash = hash_password(&new_password)?;
                    Ok(users.change(|book| book.set_password(&changed, hash))?)
                })
                .await?;
                audit::attempt("password.changed", at, name.text(), Ok(()));
                Ok(AccountAnswer::Done)
            }
            AccountRequest::Whoami if pass.is_nobody() => Err(no_user(pass)),
            AccountRequest::Whoami => Ok(you(pass)),
            AccountRequest::Logout => {
                let known = self.of_pass(pass)?;
                known.parts();
                self.revoke(pass, known.id.clone(), Some(user_of(pass)?))
                    .await
            }
            AccountRequest::Tokens => {
                let name = user_of(pass)?;
                let mut tokens = self.users.tokens();
                tokens.retain(|token| token.user == name);
                Ok(AccountAnswer::Tokens { tokens })
            }
            AccountRequest::CreateToken { token } => self.create(pass, token).await,
            AccountRequest::RevokeToken { id } => {
                let name = user_of(pass)?;
                self.revoke(pass, id, Some(name)).await
            }
        }
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

    async fn register(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
        code: &Secret,
    ) -> Result<AccountAnswer, AccountError> {
        let denied = |why| Denied::new(at.address().to_string().into(), why);
        let registered = async {
            let name = self.may_try(at, user).await?;
            let wrong = || AccountError::from(denied(Why::BadCode));
            let (Some(name), Ok(code)) = (name, read_code(code)) else {
                return Err(wrong());
            };
            // Before the password is hashed: a code cannot be guessed, and a wrong one must cost
            // nothing.
            let now = seconds();
            if !self.users.book(|book| book.is_invited(&name, &code, now)) {
                return Err(wrong());
            }
            check_password(&name, &password)?;
            let invited = name.clone();
            self.change(move |users| {
                let hash = hash_password(&password)?;
                Ok(users.change(|book| book.register(&invited, &code, hash, now))?)
            })
            .await
            .map_err(|error| match error {
                AccountError::Book(BookError::BadCode) => wrong(),
                other => other,
            })?;
            self.guesses().was_right(Source::of(at.address()), &name);
            Ok(AccountAnswer::Done)
        };
        let registered = registered.await;
        tell("user.registered", at, user, &registered);
        registered
    }

    async fn login(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
        wanted: Wanted,
    ) -> Result<AccountAnswer, AccountError> {
        let issued = async {
            let name = self.check(at, user, password).await?;
            self.issue(name, wanted, None).await
        };
        let issued = issued.await;
        tell("login", at, user, &issued);
        issued
    }

    /// Whose name and password these are. Users who are not there take as long.
    async fn check(
        self: &Arc<Self>,
        at: At,
        user: &str,
        password: Secret,
    ) -> Result<UserName, AccountError> {
        let denied = |why| Denied::new(at.address().to_string().into(), why);
        let name = self.may_try(at, user).await?;
        let hash = self.users.book(|book| {
            let user = name.as_ref().and_then(|name| book.user(name).ok());
            user.map(|user| (user.password.clone(), user.disabled))
        });
        let is_enabled = hash.as_ref().is_some_and(|(_, disabled)| !disabled);
        let hash = hash.map_or_else(|| self.nobodys.clone(), |(hash, _)| hash);
        let checked = self.clerks.run(move || is_password(&password, &hash)).await;
        let is_right = checked.map_err(|_| denied(Why::Busy))?;
        match name {
            Some(name) if is_right && is_enabled => {
                self.guesses().was_right(Source::of(at.address()), &name);
                Ok(name)
            }
            _ => Err(denied(Why::BadPassword).into()),
        }
    }

    /// Reads the file again if it was replaced: a command may have invited whoever comes now.
    async fn be_up_to_date(self: &Arc<Self>) {
        if self.users.is_replaced() {
            let accounts = self.clone();
            // What is wrong with the file is told by whoever follows it.
            let _ = self.clerks.run(move || accounts.users.look_again()).await;
        }
    }

    /// Whether somebody may try a secret of this user now; the try counts. `None` if nobody can
    /// have that name.
    async fn may_try(self: &Arc<Self>, at: At, user: &str) -> Result<Option<UserName>, Denied> {
        let denied = |why| Denied::new(at.address().to_string().into(), why);
        if !at.is_private() {
            return Err(denied(Why::PlainText));
        }
        let name = UserName::parse(user).ok();
        let source = Source::of(at.address());
        let delay = {
            let mut guesses = self.guesses();
            let now = self.now();
            let delay = guesses.may_try(source, name.as_ref(), now);
            let delay = delay.map_err(|early| denied(Why::TooEarly(early.0)))?;
            guesses.tried(source, name.as_ref(), now);
            delay
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.be_up_to_date().await;
        Ok(name)
    }

    async fn create(
        self: &Arc<Self>,
        pass: &Pass,
        wanted: Wanted,
    ) -> Result<AccountAnswer, AccountError> {
        let maker = self.of_pass(pass)?.clone();
        let answer = self
            .issue(maker.member.name.clone(), wanted, Some(&maker))
            .await?;
        if let AccountAnswer::Token { about, .. } = &answer {
            audit::done("token.created", pass, &about.id.to_string());
        }
        Ok(answer)
    }

    /// Makes a token for a user who has shown the password, or another token.
    async fn issue(
        self: &Arc<Self>,
        user: UserName,
        wanted: Wanted,
        maker: Option<&Known>,
    ) -> Result<AccountAnswer, AccountError> {
        let now = seconds();
        let user_has = self
            .users
            .book(|book| book.user(&user).map(|user| user.role.rights()));
        let had = match maker {
            Some(maker) => maker.rights,
            None => user_has.map_err(AccountError::Book)?,
        };
        let rights = wanted.rights.unwrap_or(had);
        if rights.is_empty() {
            return Err(AccountError::Invalid(
                "a token needs one right at least".to_owned(),
            ));
        }
        if !rights.are_among(had) {
            let error = BookError::TooManyRights {
                wanted: rights,
                had,
            };
            return Err(AccountError::Book(error));
        }
        let expires = life(&wanted, maker, now)?;
        let NewToken { id, text, hash } = NewToken::make();
        let token = Token {
            user,
            name: wanted.name,
            hash,
            rights,
            created: now,
            expires: Some(expires),
            from: wanted.from,
        };
        let about = TokenView::of(&id, &token, None);
        self.change(move |users| Ok(users.change(|book| book.issue(id, token, now))?))
            .await?;
        Ok(AccountAnswer::Token { token: text, about })
    }

    async fn revoke(
        self: &Arc<Self>,
        pass: &Pass,
        id: TokenId,
        of: Option<UserName>,
    ) -> Result<AccountAnswer, AccountError> {
        let named = id.to_string();
        self.change(move |users| Ok(users.change(|book| book.revoke(&id, of.as_ref()))?))
            .await?;
        audit::done("token.revoked", pass, &named);
        Ok(AccountAnswer::Done)
    }

    /// Has a clerk change something.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Users) -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let accounts = self.clone();
        let changed = self.clerks.run(move || change(&accounts.users)).await;
        changed.unwrap_or_else(|_| {
            let nobody: Arc<str> = "this balancer".into();
            Err(Denied::new(nobody, Why::Busy).into())
        })
    }

    fn of_pass<'a>(&self, pass: &'a Pass) -> Result<&'a Arc<Known>, AccountError> {
        pass.known().ok_or_else(|| no_user(pass))
    }

    fn guesses(&self) -> std::sync::MutexGuard<'_, Guesses> {
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

fn is_from(known: &Known, at: At) -> bool {
    let address = at.address().ip().to_canonical();
    known.from.is_empty() || known.from.iter().any(|network| network.contains(&address))
}

/// When a new token ends. One that is made with another ends no later.
fn life(wanted: &Wanted, maker: Option<&Known>, now: u64) -> Result<u64, AccountError> {
    let latest = maker.and_then(|maker| maker.expires);
    match wanted.seconds {
        Some(0) => Err(AccountError::Invalid(
            "a token must live for a while".to_owned(),
        )),
        Some(seconds) if seconds > MAX_TOKEN_LIFE => Err(AccountError::Invalid(
            "a token lives for 90 days at the most".to_owned(),
        )),
        Some(seconds) if latest.is_some_and(|latest| now + seconds > latest) => {
            Err(AccountError::Book(BookError::OutlivesMaker))
        }
        Some(seconds) => Ok(now + seconds),
        None => Ok(latest.map_or(now + TOKEN_LIFE, |latest| latest.min(now + TOKEN_LIFE))),
    }
}

/// Who somebody is.
pub(super) fn you(pass: &Pass) -> AccountAnswer {
    AccountAnswer::You {
        user: pass.user().cloned(),
        rights: pass.rights(),
        token: pass.token().cloned(),
        expires: pass.known().and_then(|known| known.expires),
    }
}

fn user_of(pass: &Pass) -> Result<UserName, AccountError> {
    pass.user().cloned().ok_or_else(|| no_user(pass))
}

/// Why somebody has no account here.
fn no_user(pass: &Pass) -> AccountError {
    match pass.check(Right::ReadOwn) {
        Err(denied) => denied.into(),
        Ok(()) => Denied::new(pass.from().clone(), Why::NoUsers).into(),
    }
}

fn tell<T>(event: &'static str, at: At, user: &str, result: &Result<T, AccountError>) {
    match result {
        Ok(_) => audit::attempt(event, at, user, Ok(())),
        Err(AccountError::Denied(denied)) => audit::attempt(event, at, user, Err(denied)),
        // Who they are was right, or is not known: nothing was guessed.
        Err(_) => {}
    }
}

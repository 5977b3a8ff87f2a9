//! The users as the process knows them: who has which token, and until when.
//!
//! Invariant: what a token opened ends as soon as the process knows that the token has ended, its
//! user is disabled or may do less, whoever changed the file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::book::{Book, BookError, Token};
use super::file::{Edition, UsersFile, UsersFileError};
use super::member::Member;
use super::name::UserName;
use super::order::UserOrder;
use super::token::{DatagramKey, Hash, TokenId};
use crate::access::account::TokenView;
use crate::access::right::{Right, Rights};

/// How long whoever ends their own token gets for the answer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The users that a file holds. Changes block on the disk; look-ups do not.
#[derive(Debug)]
pub struct Users {
    file: UsersFile,
    now: RwLock<Arc<Snapshot>>,
    /// Held while the file is read or changed by this process.
    turn: Mutex<Edition>,
}

/// What is known, at one moment.
#[derive(Debug)]
struct Snapshot {
    book: Book,
    members: HashMap<UserName, Arc<Member>>,
    known: HashMap<TokenId, Arc<Known>>,
    /// What users may do who are known by their network: hand files over.
    by_network: HashMap<UserName, Arc<Known>>,
}

/// A token that is good.
#[derive(Debug)]
pub(in crate::access) struct Known {
    pub(in crate::access) id: TokenId,
    pub(in crate::access) member: Arc<Member>,
    pub(in crate::access) rights: Rights,
    /// `None` for who is known by the network.
    hash: Option<Hash>,
    pub(in crate::access) expires: Option<u64>,
    pub(in crate::access) from: Vec<ipnet::IpNet>,
    /// Cancelled when the token ends.
    pub(in crate::access) live: CancellationToken,
    /// Whoever has it ends it: the answer to that is still on its way when it has ended.
    parting: AtomicBool,
    /// When something was last denied to it, in seconds since 1970.
    last_denied: AtomicU64,
    /// When it was last shown, in seconds since 1970; 0 if it was not, since this process started.
    last_used: AtomicU64,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The change is refused.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] UsersFileError),
}

impl Users {
    /// Reads the users of this file, which must be there. Blocks on the disk.
    pub fn open(path: &Path) -> Result<Self, UsersFileError> {
        let file = UsersFile::at(path)?;
        let (book, edition) = file.read()?;
        let snapshot = Snapshot::of(book, None, seconds());
        Ok(Self {
            file,
            now: RwLock::new(Arc::new(snapshot)),
            turn: Mutex::new(edition),
        })
    }

    /// Reads them, or begins without any if there is no such file: the first change makes it.
    pub fn open_or_begin(path: &Path) -> Result<Self, UsersFileError> {
        match Self::open(path) {
            Err(UsersFileError::Missing(_)) => {
                let file = UsersFile::at(path)?;
                let held = file.hold()?;
                // Another process may have been first.
                if file.edition().is_none() {
                    file.write(&held, &Book::default())?;
                }
                drop(held);
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Where they are kept.
    pub fn path(&self) -> String {
        self.file.shown()
    }

    /// What is known now.
    pub fn book<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.snapshot().book)
    }

    /// Changes the users, in the file first. Blocks on the disk, and while another process changes
    /// them.
    pub fn change<T>(
        &self,
        change: impl FnOnce(&mut Book) -> Result<T, BookError>,
    ) -> Result<T, ChangeError> {
        let mut edition = self.turn();
        let held = self.file.hold()?;
        let (mut book, _) = self.file.read()?;
        let answer = change(&mut book)?;
        *edition = self.file.write(&held, &book)?;
        self.install(book);
        Ok(answer)
    }

    /// Carries out an administrator's order. Blocks as [`Self::change`] does.
    pub fn order(&self, order: UserOrder) -> Result<(), ChangeError> {
        self.change(|book| order.apply(book, seconds()))
    }

    /// All tokens, the oldest first.
    pub fn tokens(&self) -> Vec<TokenView> {
        let snapshot = self.snapshot();
        let used = |id| {
            let used = snapshot.known.get(id)?.last_used.load(Ordering::Relaxed);
            (used > 0).then_some(used)
        };
        let tokens = snapshot.book.tokens();
        let views = tokens.map(|(id, token)| TokenView::of(id, token, used(id)));
        let mut views: Vec<_> = views.collect();
        views.sort_by_key(|token| token.created);
        views
    }

    /// Reads the file again if it was replaced; says whether it was. After an error everything is
    /// as it was. Blocks on the disk.
    pub fn look_again(&self) -> Result<bool, UsersFileError> {
        let mut edition = self.turn();
        if self.file.edition() == Some(*edition) {
            return Ok(false);
        }
        let (book, read) = self.file.read()?;
        *edition = read;
        self.install(book);
        Ok(true)
    }

    /// Whether the file may have been replaced since it was read last: while it is being read or
    /// changed, nobody can say.
    pub fn may_be_replaced(&self) -> bool {
        let edition = self.turn.try_lock().map(|edition| *edition);
        edition.map_or(true, |read| self.file.edition() != Some(read))
    }

    /// Ends what tokens opened whose time is over.
    pub fn end_expired(&self) {
        let snapshot = self.snapshot();
        let now = seconds();
        let over = snapshot.known.values().filter(|known| known.is_over(now));
        over.for_each(|known| known.live.cancel());
    }

    /// The token of this identity and hash, if it is good now.
    pub(in crate::access) fn known(&self, id: &TokenId, hash: &Hash) -> Option<Arc<Known>> {
        let now = seconds();
        let known = self.snapshot().known.get(id).cloned()?;
        if known.hash.as_ref() != Some(hash) || known.is_over(now) {
            return None;
        }
        known.last_used.store(now, Ordering::Relaxed);
        Some(known)
    }

    /// The token of this identity, if it is good now and its key has signed something.
    pub(in crate::access) fn signed(
        &self,
        id: &TokenId,
        is_by: impl FnOnce(&DatagramKey) -> bool,
    ) -> Option<Arc<Known>> {
        let now = seconds();
        let known = self.snapshot().known.get(id).cloned()?;
        if known.is_over(now) || !is_by(&DatagramKey::of(known.hash.as_ref()?)) {
            return None;
        }
        known.last_used.store(now, Ordering::Relaxed);
        Some(known)
    }

    /// What a user may do who is known by the network, if it may do anything.
    pub(in crate::access) fn by_network(&self, user: &UserName) -> Option<Arc<Known>> {
        self.snapshot().by_network.get(user).cloned()
    }

    /// A user, whatever it may do now.
    pub(in crate::access) fn member(&self, user: &UserName) -> Option<Arc<Member>> {
        self.snapshot().members.get(user).cloned()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.now
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn turn(&self) -> std::sync::MutexGuard<'_, Edition> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install(&self, book: Book) {
        let before = self.snapshot();
        let after = Arc::new(Snapshot::of(book, Some(&before), seconds()));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = after.clone();
        let is_same =
            |new: Option<&Arc<Known>>, known| new.is_some_and(|new| Arc::ptr_eq(new, known));
        let tokens = before.known.iter();
        let over = tokens.filter(|(id, known)| !is_same(after.known.get(id), known));
        over.for_each(|(_, known)| known.live.cancel());
        let users = before.by_network.iter();
        let over = users.filter(|(user, known)| !is_same(after.by_network.get(*user), known));
        over.for_each(|(_, known)| known.live.cancel());
    }
}

impl Snapshot {
    /// What stays as it was keeps what it has under way.
    fn of(book: Book, before: Option<&Self>, now: u64) -> Self {
        let member = |(name, user): (&UserName, &super::User)| {
            let member = match before.and_then(|before| before.members.get(name)) {
                Some(old) => {
                    old.set_quota(user.quota);
                    old.clone()
                }
                None => Arc::new(Member::new(name.clone(), user.quota)),
            };
            (name.clone(), member)
        };
        let members: HashMap<_, _> = book.users().map(member).collect();
        let mut known = HashMap::new();
        for (id, token) in book.tokens() {
            let (Ok(user), Some(member)) = (book.user(&token.user), members.get(&token.user))
            else {
                continue;
            };
            let new = Known::of(member.clone(), user.role.rights(), id.clone(), token);
            if user.disabled || new.is_over(now) {
                continue;
            }
            let old = before.and_then(|before| before.known.get(id));
            known.insert(id.clone(), new.or_old(old));
        }
        let enabled = book.users().filter(|(_, user)| !user.disabled);
        let by_network = enabled.filter_map(|(name, user)| {
            let new = Known::by_network(members.get(name)?.clone(), user.role.rights());
            let old = before.and_then(|before| before.by_network.get(name));
            Some((name.clone(), new.or_old(old)))
        });
        let by_network = by_network.collect();
        Self {
            book,
            members,
            known,
            by_network,
        }
    }
}

impl Known {
    fn of(member: Arc<Member>, user_may: Rights, id: TokenId, token: &Token) -> Self {
        Self {
            hash: Some(token.hash),
            expires: token.expires,
            from: token.from.clone(),
            ..Self::new(id, member, token.rights.and(user_may))
        }
    }

    /// What stands for a token of somebody who is known by the network.
    fn by_network(member: Arc<Member>, user_may: Rights) -> Self {
        let rights = Rights::of(&[Right::Send]).and(user_may);
        Self::new(TokenId::of_network(), member, rights)
    }

    /// Without a hash, an end or bounds on where it is shown.
    fn new(id: TokenId, member: Arc<Member>, rights: Rights) -> Self {
        Self {
            id,
            member,
            rights,
            hash: None,
            expires: None,
            from: Vec::new(),
            live: CancellationToken::new(),
            parting: AtomicBool::new(false),
            last_denied: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
        }
    }

    /// The old one, with all that it has opened, if nothing about it has changed.
    fn or_old(self, old: Option<&Arc<Self>>) -> Arc<Self> {
        let kept = old.filter(|old| old.is_same_as(&self)).cloned();
        kept.unwrap_or_else(|| Arc::new(self))
    }

    /// Whether whoever has it is about to end it.
    pub(in crate::access) fn set_parting(&self, parting: bool) {
        self.parting.store(parting, Ordering::Relaxed);
    }

    /// Whether it is a second since this was last asked.
    pub(in crate::access) fn is_worth_a_word(&self) -> bool {
        let now = seconds();
        self.last_denied.swap(now, Ordering::Relaxed) != now
    }

    /// Waits until what it opened must be closed.
    pub(in crate::access) async fn ended(&self) {
        self.live.cancelled().await;
        if self.parting.load(Ordering::Relaxed) {
            tokio::time::sleep(LAST_WORDS).await;
        }
    }

    fn is_over(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether whatever the other one opened may go on.
    fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.member, &other.member)
            && self.rights == other.rights
            && self.hash == other.hash
            && self.expires == other.expires
            && self.from == other.from
    }
}

/// Seconds since 1970.
pub(in crate::access) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

//! The users of a balancer, their tokens and invitations.
//!
//! `book` holds what is known about them, and `file` the file with it. `store` joins the two: it
//! answers whose a token is, makes changes, and ends what a token had opened once the token ends.
//! `order` is what an administrator does; `name`, `token` and `quota` are the parts, and `member`
//! is what a user takes up of its quota.

mod book;
mod file;
mod member;
mod name;
mod order;
mod quota;
mod store;
mod token;

pub use book::{Book, BookError, Invitation, MAX_TOKENS, MAX_USERS, Token, User};
pub use file::{UsersFile, UsersFileError};
pub use member::{Charge, TooManySessions, UserSession};
pub use name::{BadName, UserName};
pub use order::{Change, INVITATION_LIFE, UserOrder};
pub use quota::Quota;
pub use store::{ChangeError, Users};
pub(super) use store::{Known, seconds};
pub use token::{DatagramKey, Hash, MAC_HEX, Misspelt, NewCode, NewToken, TOKEN, TokenId};
pub(super) use token::{read_code, read_token};

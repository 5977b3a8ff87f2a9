//! The one lock: who somebody is, and what they may do.
//!
//! Invariant: nobody reaches the gate, the hub, an operator's order or the store without a value that
//! only the [`Lock`] makes. Each doorway asks the lock for a [`Pass`], which says who somebody is and
//! which [`Rights`] they have, and shows it, or an [`Allowed`] that was made of it. So a doorway that
//! forgets the lock does not compile, and no flag has to be set or looked at:
//!
//! ```
//! use bilico::access::{At, Lock, ToSend};
//!
//! let lock = Lock::off_at_balancer();
//! let pass = lock.by_place(At::plain("192.0.2.1:40000".parse().unwrap()));
//! assert!(pass.allow::<ToSend>().is_ok());
//! ```
//!
//! A pass cannot be made elsewhere, nor can what proves a right:
//!
//! ```compile_fail
//! let pass = bilico::access::Pass { who: "admin".into() };
//! ```
//!
//! ```compile_fail
//! let allowed = bilico::access::Allowed::<bilico::access::ToSend>::default();
//! ```
//!
//! A door leads nowhere without one:
//!
//! ```compile_fail
//! fn enter(door: &bilico::balancer::Door) {
//!     let _ = door.gate();
//! }
//! ```
//!
//! And operators show theirs with each order:
//!
//! ```compile_fail
//! async fn drain(control: bilico::balancer::control::Control, order: bilico::balancer::orders::Order) {
//!     let _ = control.order(order).await;
//! }
//! ```
//!
//! `right` has the rights, `role` the sets of them that people have names for, `pass` what is made
//! of them, `denied` why not, and `lock` all ways to a pass; `at` says where somebody is. With users,
//! `users` has them and their tokens, `account` what somebody can ask about their own, and
//! `requests` does it with the `accounts`: behind `guess`, which bounds guessing, and with `clerks`,
//! the threads that check each `password`; `programs` logs those in who get a token `again`. `audit`
//! writes down who was let in, and `bounds` has what quotas bound; `shown` reads the token of a
//! request over HTTP. A balancer at a file server shows a `certificate` instead.

mod account;
mod account_error;
mod accounts;
mod again;
mod at;
pub(crate) mod audit;
mod bounds;
mod certificate;
mod clerks;
mod denied;
mod guess;
mod lock;
mod pass;
mod password;
mod programs;
mod requests;
mod right;
mod role;
mod shown;
pub mod users;

pub use account::{AccountAnswer, AccountRequest, TokenView, UserView, Wanted, user_views};
pub use account_error::{AccountError, AccountsError};
pub use accounts::Accounts;
pub use at::At;
pub use bounds::OverQuota;
pub use certificate::{Balancers, Proven};
pub use denied::{Denied, DeniedKind};
pub use lock::{Auth, Lock, MetricsFor};
pub use pass::{Allowed, Pass, shown_key};
pub use password::{HashError, WeakPassword, check_password, hash_password};
pub use requests::MAX_TOKEN_LIFE;
pub use right::{
    Purpose, Right, Rights, ToAdminister, ToReadOwn, ToReport, ToSend, ToStore, UnknownRight,
};
pub use role::{UnknownRole, UserRole};
pub use shown::shown_token;
pub use users::{DatagramKey, MAC_HEX};

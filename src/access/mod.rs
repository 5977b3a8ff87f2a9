//! The one lock: who somebody is, and what they may do.
//!
//! Invariant: nobody reaches the gate, the hub, an operator's order or the store without a value that
//! only the [`Lock`] makes. Each doorway asks the lock for a [`Pass`], which says who somebody is and
//! which [`Rights`] they have, and shows it, or an [`Allowed`] that was made of it. So a doorway that
//! forgets the lock does not compile, and no flag has to be set or looked at:
//!
//! ```
//! use bilico::access::{Lock, ToSend};
//!
//! let lock = Lock::off_at_balancer();
//! let pass = lock.by_place("192.0.2.1:40000".parse().unwrap());
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
//! `right` has the rights, `pass` what is made of them, and `lock` all ways to a pass.

mod lock;
mod pass;
mod right;

pub use lock::Lock;
pub use pass::{Allowed, Denied, Pass};
pub use right::{Purpose, Right, Rights, ToReadOwn, ToSend, ToStore};

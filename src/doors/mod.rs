//! The doorways of the fleet: small tasks that turn bytes of agents into what is told of a member.
//!
//! All are off unless they are configured, bounded in what a peer can make them keep, and count what
//! they refuse by reason. What comes in at them is told to the [`Fleet`](crate::fleet::Fleet), and
//! nothing else happens because of it.
//!
//! `words` makes facts of what agents say, from an `object` that is read without trust; `known` bounds
//! who may say something, and how often, by a `rate`; `refused` has the reasons why not. [`old`] has those of the
//! first monitoring system, whose programs claim and look.

pub mod http;
mod known;
mod object;
pub mod old;
mod rate;
mod refused;
pub mod udp;
mod words;

#[cfg(test)]
mod tests;

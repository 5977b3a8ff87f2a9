//! The doorways of the fleet: small tasks that turn bytes of agents into what is told of a member.
//!
//! All are off unless they are configured, bounded in what a peer can make them keep, and count what
//! they refuse by reason. What comes in at them is told to the [`Fleet`](crate::fleet::Fleet), and
//! nothing else happens because of it.

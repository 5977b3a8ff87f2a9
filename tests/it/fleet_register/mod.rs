//! Servers that register themselves: real processes on loopback.

mod helpers;
mod many;
mod moves;
mod refused;
mod starts;

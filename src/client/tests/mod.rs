//! Transfers against a pretended balancer, whose connections are cut wherever a test says.

mod changed;
mod keys;
mod lost;
mod pretended;
mod sending;

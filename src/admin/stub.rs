//! Stands in for what the balancer's control gives, until it is there.
#![allow(missing_docs)]

use serde::{Deserialize, Serialize};

/// Stands in for the balancer's control.
#[derive(Debug, Clone, Default)]
pub struct Control;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub id: u64,
    pub at_ms: u64,
    pub level: String,
    pub kind: String,
    pub server: Option<String>,
    pub number: Option<u64>,
    pub text: String,
}

//! How files are given out.

use super::window::Window;
use crate::schedule::HealthConfig;

/// What becomes of a file that was with a server when the server vanished: it may be stored there,
/// or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDoubt {
    /// The file goes to another server at once. When the first one returns and has it, too, it
    /// removes its copy.
    Redirect,
    /// The file waits until the server returns and says whether it has it.
    Wait,
}

/// How files are given out.
#[derive(Debug, Clone, Copy)]
pub struct DispatchConfig {
    /// How much may be in flight to the heaviest server.
    pub window: Window,
    /// How probes count.
    pub health: HealthConfig,
    /// After so many refusals that are its own fault a file is a dead letter.
    pub max_attempts: u32,
    /// What becomes of a file whose server vanished.
    pub in_doubt: InDoubt,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            window: Window::default(),
            health: HealthConfig::default(),
            max_attempts: 16,
            in_doubt: InDoubt::Redirect,
        }
    }
}

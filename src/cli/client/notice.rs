//! What the prompt is told while it runs.

/// A notice for the person at the prompt.
pub(in crate::cli) struct Notice {
    pub(in crate::cli) text: String,
    /// The command that starts the balancer again, if the balancer has ended.
    pub(in crate::cli) restart: Option<String>,
}

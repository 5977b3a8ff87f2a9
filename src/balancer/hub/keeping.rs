//! Answers to orders that wait until the orders are kept.

use tokio::sync::oneshot;

use crate::balancer::orders::OrderError;

pub(super) type Answered = oneshot::Sender<Result<(), OrderError>>;

/// Which orders are kept, and who waits for that.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// The text of the file, as far as it is known.
    pub(super) kept: Option<String>,
    pub(super) is_under_way: bool,
    /// Those whose orders are being written,
    pub(super) written: Vec<Answered>,
    /// and those whose orders came later.
    pub(super) next: Vec<Answered>,
}

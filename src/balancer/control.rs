//! The operators' handle on a balancer: it takes samples and gives orders.
//!
//! All of it goes to the hub over the channel that files come through, so that orders and files are
//! handled in one sequence. Whoever orders or asks shows a [`Pass`]. It takes no files: that is the [`Door`](super::Door)'s.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::events::Events;
use super::gate::Gate;
use super::ingress::DoorBounds;
use super::messages::{Ask, ToHub};
use super::orders::{Command, Order, OrderError, Sample, Settings};
use super::query::{Answer, Query};
use super::standing::Held;
use crate::access::{Pass, Right, audit};
use crate::shutdown::Shutdown;

/// The operators' handle on a balancer. Cheap to clone. It can be used from
/// [`super::Balancer::open`] on; answers come once the balancer runs.
#[derive(Clone)]
pub struct Control {
    pub(super) hub: mpsc::UnboundedSender<ToHub>,
    pub(super) gate: Arc<Gate>,
    pub(super) door_bounds: watch::Sender<DoorBounds>,
    pub(super) events: Events,
    pub(super) shutdown: Shutdown,
}

impl Control {
    /// The state of the balancer now; `None` once it is gone.
    pub async fn sample(&self) -> Option<Sample> {
        let (to, sample) = oneshot::channel();
        self.hub.send(ToHub::Ask(Ask::Sample(to))).ok()?;
        sample.await.ok()
    }

    /// Carries out an order of somebody who may give it, which is in force when this returns.
    pub async fn order(&self, pass: &Pass, order: Order) -> Result<(), OrderError> {
        pass.check(order.right())?;
        order.check()?;
        let (event, about) = order.told();
        let done = self.command(|done| Command::Order(order, done)).await;
        // What cannot be kept is in force all the same.
        if matches!(done, Ok(()) | Err(OrderError::NotKept(_))) {
            audit::done(event, pass, &about);
        }
        done
    }

    /// Changes the balancer's settings. If they are invalid, nothing changes.
    pub async fn apply(&self, pass: &Pass, settings: Settings) -> Result<(), OrderError> {
        pass.check(Right::Admin)?;
        settings.check()?;
        self.gate.set_limits(settings.queue, settings.max_json);
        self.door_bounds.send_replace(DoorBounds::from(&settings));
        match self
            .command(|done| Command::Apply(Box::new(settings), done))
            .await
        {
            // They are in force, and the configuration has them for the next start. What cannot be
            // kept is which orders they ended; the hub has said so in its log.
            Ok(()) | Err(OrderError::NotKept(_)) => {}
            Err(error) => return Err(error),
        }
        audit::done("order.apply", pass, "the configuration");
        Ok(())
    }

    /// The orders about servers that stand, for somebody who may look.
    pub async fn standing(&self, pass: &Pass) -> Result<Vec<(String, Held)>, OrderError> {
        pass.check(Right::Read)?;
        let (to, standing) = oneshot::channel();
        self.hub
            .send(ToHub::Control(Command::Standing(to)))
            .map_err(|_| OrderError::Stopping)?;
        standing.await.map_err(|_| OrderError::Stopping)
    }

    async fn command(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), OrderError>>) -> Command,
    ) -> Result<(), OrderError> {
        let (to, done) = oneshot::channel();
        self.hub
            .send(ToHub::Control(command(to)))
            .map_err(|_| OrderError::Stopping)?;
        done.await.unwrap_or(Err(OrderError::Stopping))
    }

    /// Answers a question about files, or carries out an order about them, for somebody who may ask
    /// for that.
    pub async fn ask(&self, pass: &Pass, query: Query) -> Result<Answer, OrderError> {
        pass.check(query.right())?;
        let told = query.told();
        let (to, answer) = oneshot::channel();
        let asked = self.hub.send(ToHub::Ask(Ask::Files(query, to)));
        asked.map_err(|_| OrderError::Stopping)?;
        let answer = answer.await.map_err(|_| OrderError::Stopping)?;
        if let Some((event, about)) = told {
            match &answer {
                Answer::Done { .. } | Answer::Content(_) => audit::done(event, pass, &about),
                Answer::Bulk(done) if done.files > 0 => {
                    audit::done(event, pass, &format!("{about}: {}", done.files));
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// The last events, and those to come.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Whether the balancer takes no more files: it was told to stop, or has failed.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.draining.is_cancelled()
    }
}

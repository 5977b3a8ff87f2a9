//! The driver of the registry of members: has the hub do what the registry wants, and tells operators
//! what it has to tell.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::events::{Events, Kind, Level};
use super::hub::directory_of;
use super::messages::ToHub;
use super::orders::{Command, MemberOrder, OrderError};
use crate::config::ServerSpec;
use crate::fleet::Fleet;
use crate::fleet_core::registry::{Action, Notice, Probed};

/// Carries out what the registry wants, for as long as the balancer runs.
pub(super) async fn drive(fleet: Fleet, hub: mpsc::UnboundedSender<ToHub>, events: Events) {
    loop {
        let order = match fleet.next_action().await {
            Action::Notice(notice) => {
                tell(&events, &notice);
                continue;
            }
            Action::Add {
                address,
                weight,
                moved_from,
            } => {
                let member = fleet.find(&address).ok();
                MemberOrder::Add {
                    spec: ServerSpec {
                        address: address.to_string(),
                        weight,
                    },
                    directory: member.and_then(|member| directory_of(&member.id)),
                    moved_from,
                }
            }
            Action::Drain { address, reason } => MemberOrder::HoldBack {
                server: address,
                reason: Some(reason),
            },
            Action::Undrain { address } => MemberOrder::HoldBack {
                server: address,
                reason: None,
            },
            Action::Remove { address, reason } => {
                tracing::info!(server = &*address, reason = &*reason, "a member is removed");
                MemberOrder::Remove { server: address }
            }
        };
        let (to, done) = oneshot::channel();
        let asked = hub.send(ToHub::Control(Command::Member(order.clone(), to)));
        let Ok(done) = done.await else {
            return;
        };
        if asked.is_err() {
            return;
        }
        if let Err(error) = done {
            failed(&fleet, &events, &order, &error);
        }
    }
}

/// What the registry wants cannot be done now.
fn failed(fleet: &Fleet, events: &Events, order: &MemberOrder, error: &OrderError) {
    match (order, error) {
        (_, OrderError::NotKept(_) | OrderError::Stopping) => {}
        (MemberOrder::Add { spec, .. }, _) => {
            let text = format!(
                "{} has registered and cannot be added: {error}",
                spec.address
            );
            tracing::error!("{text}");
            events.tell(Level::Error, Kind::Added, Some(&spec.address), None, text);
            // So that the server hears of it.
            let reason: Arc<str> = error.to_string().into();
            fleet.probed(&spec.address, Probed::Unfit { reason });
        }
        (MemberOrder::HoldBack { server, .. } | MemberOrder::Remove { server }, _) => {
            tracing::debug!(server = &**server, %error, "not done");
        }
    }
}

/// Tells operators.
fn tell(events: &Events, notice: &Notice) {
    let text = notice.to_string();
    let level = if notice.is_warning() {
        tracing::warn!(member = notice.member().map(|member| &**member), "{text}");
        Level::Warn
    } else {
        tracing::info!(member = notice.member().map(|member| &**member), "{text}");
        Level::Info
    };
    events.tell(level, Kind::Fleet, None, None, text);
}

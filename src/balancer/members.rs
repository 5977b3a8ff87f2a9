//! The driver of the registry of members: has the hub do what the registry wants, and tells operators
//! what it has to tell.

use tokio::sync::{mpsc, oneshot};

use super::events::{Events, Kind, Level};
use super::messages::ToHub;
use super::orders::{Command, MemberOrder, OrderError};
use crate::config::ServerSpec;
use crate::fleet::Fleet;
use crate::fleet_core::registry::{Action, Notice};

/// Carries out what the registry wants, for as long as the balancer runs.
pub(super) async fn drive(fleet: Fleet, hub: mpsc::UnboundedSender<ToHub>, events: Events) {
    loop {
        let order = match wanted(fleet.next_action().await) {
            Ok(order) => order,
            Err(notice) => {
                tell(&events, &notice);
                continue;
            }
        };
        let (to, done) = oneshot::channel();
        // What is left in the queue of a hub that has ended is never answered.
        if hub
            .send(ToHub::Control(Command::Member(order.clone(), to)))
            .is_err()
        {
            return;
        }
        let Ok(done) = done.await else {
            return;
        };
        if let Err(error) = done {
            failed(&fleet, &events, &order, &error);
        }
    }
}

/// What the registry wants of the hub, or what it has to tell.
pub(super) fn wanted(action: Action) -> Result<MemberOrder, Notice> {
    Ok(match action {
        Action::Notice(notice) => return Err(notice),
        Action::Add {
            address,
            weight,
            directory,
        } => MemberOrder::Add {
            spec: ServerSpec {
                address: address.to_string(),
                weight,
            },
            directory,
        },
        Action::Moved {
            from,
            to,
            directory,
        } => MemberOrder::Moved {
            from,
            to,
            directory,
        },
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
    })
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
            // So that the server hears of it, and is added when there is room.
            fleet.not_added(&spec.address, error.to_string().into());
        }
        (
            MemberOrder::HoldBack { server, .. }
            | MemberOrder::Remove { server }
            | MemberOrder::Moved { to: server, .. },
            _,
        ) => {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::fleet_core::Facts;
    use crate::fleet_core::registry::Registration;

    /// The hub has ended, before or after it was asked: nobody answers.
    #[tokio::test]
    async fn the_driver_ends_with_the_hub() {
        for ends_first in [true, false] {
            let fleet = Fleet::default();
            let registration = Registration {
                directory: "d".into(),
                instance: None,
                address: "a:1".into(),
                weight: 1,
                name: None,
                ticket: None,
                is_proved: true,
                peer: None,
                lease: Duration::from_secs(15),
                facts: Facts::default(),
            };
            let _member = fleet.register(registration).unwrap();
            let (hub, mut inbox) = mpsc::unbounded_channel();
            let driving = drive(fleet, hub, Events::default());
            let ending = async move {
                if ends_first {
                    return;
                }
                while inbox.is_empty() {
                    tokio::task::yield_now().await;
                }
                inbox.close();
            };
            let both = async { tokio::join!(ending, driving) };
            timeout(Duration::from_secs(10), both).await.unwrap();
        }
    }
}

//! Live events: what happens, told to everybody who listens (Server-Sent Events).
//!
//! Each event is written once and shared by all listeners. A listener that does not read is dropped
//! when [`LISTENER_EVENTS`] events wait for it: nobody waits for one, and none is told half a
//! story.

use std::convert::Infallible;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::listen::max_connections;
use super::types::State;
use crate::balancer::control::Control;
use crate::balancer::events::Event;

/// The most listeners at once, and at most half of all connections.
pub const MAX_LISTENERS: usize = 256;

/// The most events that wait for a listener.
pub const LISTENER_EVENTS: usize = 16;

/// The time between two signs of life to listeners that hear of nothing else.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Somebody who listens.
#[derive(Debug)]
struct Listener {
    events: mpsc::Sender<Bytes>,
    /// Whether it hears of states, not of notices only.
    wants_states: bool,
    /// The last notice that it was told.
    told: u64,
    /// Ends its connection.
    hangup: CancellationToken,
}

impl Listener {
    /// Tells it something; false if it is gone or has to go.
    fn tell(&self, event: &Bytes) -> bool {
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(
                    events = LISTENER_EVENTS,
                    "a listener to events does not read: dropped"
                );
                self.hangup.cancel();
                false
            }
        }
    }
}

/// Everybody who listens.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Mutex<Vec<Listener>>,
    places: Arc<Semaphore>,
}

/// What a new listener wants.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The last notice that it knows; `None` if it wants none of the past.
    pub(super) after: Option<u64>,
    /// Whether it hears of states, not of notices only.
    pub(super) states: bool,
    /// Ends its connection.
    pub(super) hangup: CancellationToken,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            all: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_LISTENERS.min(max_connections() / 2))),
        }
    }

    /// Adds a listener, and gives what it is to read; `None` if there are too many. `state` is what
    /// it hears first.
    pub(super) fn join(
        &self,
        control: &Control,
        wanted: Wanted,
        state: Option<&State>,
    ) -> Option<Body> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let (events, queue) = mpsc::channel(LISTENER_EVENTS);
        let mut all = self.lock();
        let past = control.events().after(0);
        let newest = past.last().map_or(0, |notice| notice.id);
        // One that was told more than there is has spoken to an earlier balancer: all is new to it.
        let known = wanted
            .after
            .map_or(newest, |after| if after > newest { 0 } else { after });
        let mut first = state.map_or_else(|| ": listening\n\n".to_owned(), state_event);
        for notice in past.iter().filter(|notice| notice.id > known) {
            first.push_str(&notice_event(notice));
        }
        let _ = events.try_send(Bytes::from(first));
        all.push(Listener {
            events,
            wants_states: wanted.states,
            told: newest,
            hangup: wanted.hangup,
        });
        Some(Body::new(Events {
            queue,
            _place: place,
        }))
    }

    /// Whether anybody hears of states. Those who are gone are forgotten.
    pub(super) fn want_states(&self) -> bool {
        let mut all = self.lock();
        all.retain(|listener| !listener.events.is_closed());
        all.iter().any(|listener| listener.wants_states)
    }

    /// Tells a state to all who want to hear it.
    pub(super) fn tell_state(&self, state: &State) {
        let event = Bytes::from(state_event(state));
        self.lock()
            .retain(|listener| !listener.wants_states || listener.tell(&event));
    }

    /// Tells notices to all who have not heard of them, until the sender is gone.
    pub(super) async fn forward(&self, control: &Control) {
        let mut news = control.events().subscribe();
        // What was told before that.
        self.tell_notices(&control.events().after(0));
        let mut alive_until = Instant::now() + KEEP_ALIVE;
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Ok(notice) => self.tell_notices(std::slice::from_ref(&notice)),
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                        self.tell_notices(&control.events().after(0));
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
                () = tokio::time::sleep_until(alive_until) => {
                    alive_until += KEEP_ALIVE;
                    let sign = Bytes::from_static(b": alive\n\n");
                    self.lock().retain(|listener| listener.tell(&sign));
                }
            }
        }
    }

    fn tell_notices(&self, notices: &[Event]) {
        let mut all = self.lock();
        for notice in notices {
            let event = Bytes::from(notice_event(notice));
            all.retain_mut(|listener| {
                if notice.id <= listener.told {
                    return true;
                }
                listener.told = notice.id;
                listener.tell(&event)
            });
        }
    }

    /// Lets all of them go.
    pub(super) fn dismiss(&self) {
        self.lock().clear();
        self.places.close();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state_event(state: &State) -> String {
    event(
        "state",
        None,
        &serde_json::to_string(state).unwrap_or_default(),
    )
}

fn notice_event(notice: &Event) -> String {
    event(
        "notice",
        Some(notice.id),
        &serde_json::to_string(notice).unwrap_or_default(),
    )
}

/// An event; JSON has no line breaks.
fn event(kind: &str, id: Option<u64>, data: &str) -> String {
    let mut text = format!("event: {kind}\n");
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    text.push_str("data: ");
    text.push_str(data);
    text.push_str("\n\n");
    text
}

/// What a listener reads.
struct Events {
    queue: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.get_mut()
            .queue
            .poll_recv(cx)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

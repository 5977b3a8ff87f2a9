//! The event stream (Server-Sent Events): states and events of the balancer, for all listeners.
//!
//! On the wire the balancer's events have the kind `notice`, and its states the kind `state`. Each
//! is encoded once and shared by all listeners. A listener that does not read is dropped when
//! [`LISTENER_EVENTS`] wait for it: nobody waits for it, and it never misses one in the middle.

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

use super::limits::max_connections;
use super::types::State;
use crate::balancer::control::Control;
use crate::balancer::events::Event;

/// The most listeners at once, and at most half of all connections.
pub const MAX_LISTENERS: usize = 256;

/// The most events that wait for a listener.
pub const LISTENER_EVENTS: usize = 16;

/// A connection that listens.
#[derive(Debug)]
struct Listener {
    events: mpsc::Sender<Bytes>,
    /// Whether it gets states beside the balancer's events.
    wants_states: bool,
    /// The id of the last event that it was sent.
    told: u64,
    /// Cancelled to cut its connection off.
    hangup: CancellationToken,
}

impl Listener {
    /// Sends it something; false if it has gone or is dropped.
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

/// All connections that listen.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Mutex<Vec<Listener>>,
    places: Arc<Semaphore>,
    /// The time between two signs of life.
    keep_alive: Duration,
}

/// What a new listener wants.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The id of the last event that it knows; `None` if it wants no past events.
    pub(super) after: Option<u64>,
    /// Whether it gets states beside the balancer's events.
    pub(super) states: bool,
    /// Cancelled to cut its connection off.
    pub(super) hangup: CancellationToken,
}

impl Listeners {
    pub(super) fn new(keep_alive: Duration) -> Self {
        Self {
            all: Mutex::default(),
            keep_alive,
            places: Arc::new(Semaphore::new(MAX_LISTENERS.min(max_connections() / 2))),
        }
    }

    /// A place for one more listener, or `None` if there are too many.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Adds a listener and gives the body of its answer, which begins with `state`.
    pub(super) fn join(
        &self,
        place: OwnedSemaphorePermit,
        control: &Control,
        wanted: Wanted,
        state: Option<&State>,
    ) -> Body {
        let (events, queue) = mpsc::channel(LISTENER_EVENTS);
        // Before the lock, at which all listeners would wait for it.
        let mut first = state.map_or_else(|| ": listening\n\n".to_owned(), encode_state);
        let mut all = self.lock();
        let past = control.events().after(0);
        let newest = past.last().map_or(0, |event| event.id);
        // A listener that knows a higher id has listened to an earlier process: all is new to it.
        let known = wanted
            .after
            .map_or(newest, |after| if after > newest { 0 } else { after });
        for event in past.iter().filter(|event| event.id > known) {
            first.push_str(&encode_event(event));
        }
        let _ = events.try_send(Bytes::from(first));
        all.push(Listener {
            events,
            wants_states: wanted.states,
            told: newest,
            hangup: wanted.hangup,
        });
        Body::new(EventBody {
            queue,
            _place: place,
        })
    }

    /// Whether any listener wants states. Forgets listeners that have gone.
    pub(super) fn want_states(&self) -> bool {
        let mut all = self.lock();
        all.retain(|listener| !listener.events.is_closed());
        all.iter().any(|listener| listener.wants_states)
    }

    /// Sends a state to all listeners that want states.
    pub(super) fn tell_state(&self, state: &State) {
        let event = Bytes::from(encode_state(state));
        self.lock()
            .retain(|listener| !listener.wants_states || listener.tell(&event));
    }

    /// Sends each of the balancer's events to all listeners, until the balancer is gone.
    pub(super) async fn forward(&self, control: &Control) {
        let mut news = control.events().subscribe();
        // Those that came before the subscription.
        self.tell_events(&control.events().after(0));
        let mut alive_until = Instant::now() + self.keep_alive;
        loop {
            tokio::select! {
                heard = news.recv() => match heard {
                    Ok(event) => self.tell_events(std::slice::from_ref(&event)),
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                        self.tell_events(&control.events().after(0));
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
                () = tokio::time::sleep_until(alive_until) => {
                    alive_until += self.keep_alive;
                    let sign = Bytes::from_static(b": alive\n\n");
                    self.lock().retain(|listener| listener.tell(&sign));
                }
            }
        }
    }

    fn tell_events(&self, events: &[Event]) {
        let mut all = self.lock();
        for event in events {
            let encoded = Bytes::from(encode_event(event));
            all.retain_mut(|listener| {
                if event.id <= listener.told {
                    return true;
                }
                listener.told = event.id;
                listener.tell(&encoded)
            });
        }
    }

    /// Ends the answers of all listeners, and takes no new ones.
    pub(super) fn dismiss(&self) {
        self.lock().clear();
        self.places.close();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode_state(state: &State) -> String {
    encode(
        "state",
        None,
        &serde_json::to_string(state).unwrap_or_default(),
    )
}

fn encode_event(event: &Event) -> String {
    encode(
        "notice",
        Some(event.id),
        &serde_json::to_string(event).unwrap_or_default(),
    )
}

/// One server-sent event. Its data is JSON, which has no line breaks.
fn encode(kind: &str, id: Option<u64>, data: &str) -> String {
    let mut text = format!("event: {kind}\n");
    if let Some(id) = id {
        let _ = writeln!(text, "id: {id}");
    }
    text.push_str("data: ");
    text.push_str(data);
    text.push_str("\n\n");
    text
}

/// The body of a listener's answer.
struct EventBody {
    queue: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl http_body::Body for EventBody {
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

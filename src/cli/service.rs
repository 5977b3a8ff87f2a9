//! What a role tells systemd, if that has started it as a service of `Type=notify`: when it listens,
//! what it is doing, and, if there is a watchdog, that it is alive.
//!
//! Without `NOTIFY_SOCKET` nothing happens. Invariant: nobody waits for systemd but a thread of its
//! own, and a message that it does not take is dropped.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::text::{excerpt, printable};

/// How often the line about the role is looked at when the watchdog does not want it sooner.
const LOOK: Duration = Duration::from_secs(10);

/// The watchdog hears of the role this often within the time after which it would end it.
const PINGS: u32 = 3;

/// Messages that may wait for systemd.
const WAITING: usize = 32;

/// What is told.
enum Told {
    Status(String),
    Ready,
    Reloading,
    Alive,
    Stopping,
}

/// The service manager that has started this process, if there is one. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service(Option<Arc<Manager>>);

struct Manager {
    to: SyncSender<Told>,
    is_ready: AtomicBool,
    watchdog: Option<Duration>,
}

impl Service {
    /// Nobody wants to know.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The one that the environment names.
    pub(super) fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Self::none();
        }
        let (to, told) = sync_channel(WAITING);
        let teller = thread::Builder::new().name("systemd".to_owned());
        if let Err(error) = teller.spawn(move || tell(&told)) {
            tracing::warn!(error = %error, "cannot tell systemd anything");
            return Self::none();
        }
        Self(Some(Arc::new(Manager {
            to,
            is_ready: AtomicBool::new(false),
            watchdog: sd_notify::watchdog_enabled().filter(|time| !time.is_zero()),
        })))
    }

    /// Says in a line what the role is doing.
    pub(super) fn status(&self, text: impl Display) {
        if self.0.is_some() {
            self.send(Told::Status(text.to_string()));
        }
    }

    /// The role listens. From now on `look` is asked what the role is doing: its answer is the proof
    /// that the role is alive. Without an answer the watchdog hears nothing, and ends the process.
    pub(super) fn ready<F>(&self, stop: CancellationToken, look: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Option<String>> + Send,
    {
        let Some(manager) = self.0.clone() else {
            return;
        };
        manager.is_ready.store(true, Ordering::Relaxed);
        self.send(Told::Ready);
        let service = self.clone();
        tokio::spawn(async move {
            let every = manager.watchdog.map_or(LOOK, |time| LOOK.min(time / PINGS));
            let looking = service.watch(manager.watchdog.is_some(), every, look);
            stop.run_until_cancelled(looking).await;
            service.send(Told::Stopping);
            service.status("stopping");
        });
    }

    async fn watch<F>(&self, has_watchdog: bool, every: Duration, look: impl Fn() -> F)
    where
        F: Future<Output = Option<String>> + Send,
    {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = String::new();
        loop {
            ticks.tick().await;
            let Ok(Some(line)) = timeout(every, look()).await else {
                continue;
            };
            if has_watchdog {
                self.send(Told::Alive);
            }
            if line != last {
                self.status(&line);
                last = line;
            }
        }
    }

    /// The role reads its configuration again.
    pub(super) fn reloading(&self) {
        self.send_when_ready(Told::Reloading);
    }

    /// It has read it, or has refused it for this reason.
    pub(super) fn reloaded(&self, refused: Option<&str>) {
        self.send_when_ready(Told::Ready);
        if let Some(problem) = refused {
            self.status(format_args!("configuration not reloaded: {problem}"));
        }
    }

    /// A reload of a role that does not listen yet does not make it ready.
    fn send_when_ready(&self, told: Told) {
        let manager = self.0.as_ref();
        if manager.is_some_and(|manager| manager.is_ready.load(Ordering::Relaxed)) {
            self.send(told);
        }
    }

    fn send(&self, told: Told) {
        if let Some(manager) = &self.0 {
            // If systemd takes nothing for so long, it gets the next message.
            let _ = manager.to.try_send(told);
        }
    }
}

/// Tells systemd everything that comes.
fn tell(told: &Receiver<Told>) {
    let mut has_failed = false;
    for told in told {
        let sent = match told {
            Told::Ready => sd_notify::notify(&[NotifyState::Ready]),
            Told::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
            Told::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            // A line end would begin another message.
            Told::Status(text) => {
                sd_notify::notify(&[NotifyState::Status(&printable(&excerpt(&text)))])
            }
            Told::Reloading => NotifyState::monotonic_usec_now()
                .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
        };
        if let Err(error) = sent
            && !std::mem::replace(&mut has_failed, true)
        {
            tracing::warn!(error = %error, "cannot tell systemd anything: see NOTIFY_SOCKET");
        }
    }
}

//! Views on the whole screen, the status first of all: drawn every second and scrolled with the keys.
//! The terminal is restored however a view ends.

mod drawing;
mod frame;
mod keys;
mod list;
mod view;

use std::io;
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::api::{self, Api, Heard};
use super::output::{Exit, Failure};
use drawing::{Drawn, Screen, draw};
pub(super) use drawing::{height, is_possible, width};
use keys::{Key, read_keys};
pub(super) use list::List;
use list::Lists;
use view::View;

/// The view is drawn at least this often.
const TICK: Duration = Duration::from_secs(1);

/// Draws the balancer's status until q or a signal.
pub(super) async fn run(api: Api, colour: bool) -> Result<Exit, Failure> {
    // Before the screen is taken, so that an error stays readable.
    api.overview()?;
    present(View::new(colour), |to| listen(api, to)).await
}

/// Asks every so often, and draws the answer as a list, until q or a signal.
pub(super) async fn repeat<T: Send + 'static>(
    every: Duration,
    colour: bool,
    ask: impl Fn() -> Result<T, Failure> + Send + 'static,
    show: impl Fn(&T, usize) -> List,
) -> Result<Exit, Failure> {
    // Before the screen is taken, so that an error stays readable.
    let lists = Lists::new(ask()?, show, colour);
    present(lists, |to| keep_asking(every, ask, to)).await
}

/// Draws until q or a signal. `begin` starts whoever tells what is heard of the balancer.
async fn present<D: Drawn>(
    mut drawn: D,
    begin: impl FnOnce(mpsc::Sender<Result<D::Heard, Failure>>) -> io::Result<()>,
) -> Result<Exit, Failure> {
    let cannot = |error| Failure::new(Exit::Failed, format!("cannot use this terminal: {error}"));
    let mut signals = Signals::catch().map_err(cannot)?;
    let (to_us, mut happenings) = mpsc::channel(16);
    let (keys_to_us, mut keys) = mpsc::channel(16);
    begin(to_us).map_err(cannot)?;
    let _screen = Screen::enter().map_err(cannot)?;
    read_keys(keys_to_us).map_err(cannot)?;
    loop {
        draw(|height, width| drawn.lines(height, width)).map_err(cannot)?;
        let key = tokio::select! {
            heard = happenings.recv() => match heard {
                Some(heard) => { drawn.hear(heard)?; continue }
                None => return Ok(Exit::Done),
            },
            Some(key) = keys.recv() => key,
            ended = signals.next() => match ended {
                Some(exit) => return Ok(exit),
                None => continue,
            },
            () = tokio::time::sleep(TICK) => continue,
        };
        if key == Key::Quit {
            return Ok(Exit::Done);
        }
        drawn.press(key);
    }
}

/// Asks the balancer on a thread of its own.
fn keep_asking<T: Send + 'static>(
    every: Duration,
    ask: impl Fn() -> Result<T, Failure> + Send + 'static,
    to: mpsc::Sender<Result<T, Failure>>,
) -> io::Result<()> {
    let asking = move || {
        loop {
            thread::sleep(every);
            if to.blocking_send(ask()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("asking".to_owned())
        .spawn(asking)
        .map(drop)
}

/// Listens to the balancer on a thread of its own.
fn listen(api: Api, to: mpsc::Sender<Result<Heard, Failure>>) -> io::Result<()> {
    let listen = move || {
        let tell = |heard| match to.blocking_send(Ok(heard)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        if let Err(failure) = api::listen(&api, true, 0, tell) {
            let _ = to.blocking_send(Err(failure));
        }
    };
    thread::Builder::new()
        .name("events".to_owned())
        .spawn(listen)
        .map(drop)
}

/// Signals that end the view or change the size of its screen.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    resize: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    /// The exit code for a signal that ends the view; `None` if it only has to be drawn again.
    async fn next(&mut self) -> Option<Exit> {
        tokio::select! {
            _ = self.interrupt.recv() => Some(Exit::Interrupted),
            _ = self.terminate.recv() => Some(Exit::Interrupted),
            _ = self.hangup.recv() => Some(Exit::Interrupted),
            _ = self.resize.recv() => None,
        }
    }
}

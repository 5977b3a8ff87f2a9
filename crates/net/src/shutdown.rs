//! What tells a role to stop (SIGTERM, SIGINT, or the end of a pipe that the parent process holds),
//! and the two phases in which it does; and the signals that must not end it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two phases in which a role stops. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Nothing new is taken; work that is under way goes on.
    pub draining: CancellationToken,
    /// Nothing happens any more: what still runs can end now.
    pub ended: CancellationToken,
}

impl Shutdown {
    /// Ends both phases at once.
    pub fn end(&self) {
        self.draining.cancel();
        self.ended.cancel();
    }
}

/// Makes a write past the process's limit on file sizes fail, as on a full disk, instead of ending
/// the process.
pub fn survive_size_limits() -> std::io::Result<()> {
    // The handler stays after this `Signal` is dropped, in place of the default, which is deadly.
    signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

/// A token that is cancelled by SIGTERM or SIGINT. A second signal ends the process at once.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if first {
                stop.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(token)
}

/// SIGHUPs. From here on they no longer end the process. Those that come while nobody waits count
/// as one.
pub fn on_hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Cancels `stop` when standard input ends. The parent holds its other end, so that no child
/// outlives its parent.
pub fn with_parent(stop: CancellationToken) {
    // On a thread of our own: the runtime would wait for a pending read of standard input.
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    let watcher = std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = ended.send(());
        });
    if let Err(error) = watcher {
        tracing::warn!(target: crate::LOG, error = %error, "cannot watch for the parent's end");
        return;
    }
    tokio::spawn(async move {
        let _ = wait.await;
        stop.cancel();
    });
}

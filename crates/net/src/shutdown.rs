//! When to stop: SIGTERM, SIGINT, or the end of a pipe that a parent process holds; and when not
//! to, or only to read the configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Makes a write past the process's limit on file sizes fail like one on a full disk, instead of
/// ending the process.
pub fn survive_size_limits() -> std::io::Result<()> {
    // A handler that is installed once stays, and takes the place of the deadly default.
    signal(SignalKind::from_raw(libc::SIGXFSZ)).map(drop)
}

/// A token that is cancelled by SIGTERM or SIGINT. A second signal ends the process at once.
pub fn on_signals() -> std::io::Result<CancellationToken> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
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

/// SIGHUP, as often as it comes; from here on it no longer ends the process. What comes while
/// nobody waits counts once.
pub fn on_hangup() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Cancels `stop` when standard input ends: the parent holds its other end, so no child outlives
/// its parent.
pub fn with_parent(stop: CancellationToken) {
    // A thread of its own: a pending read of standard input would hold up the runtime's end.
    let (ended, wait) = tokio::sync::oneshot::channel::<()>();
    let watcher = std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            let _ = ended.send(());
        });
    if let Err(error) = watcher {
        tracing::warn!(error = %error, "cannot watch for the parent's end");
        return;
    }
    tokio::spawn(async move {
        let _ = wait.await;
        stop.cancel();
    });
}

//! Jobs for the runtime's threads that may block.

use std::cell::Cell;

use tokio::task::{JoinHandle, spawn_blocking};

/// How much nicer a thread is that moves large content: then one that handles small files gets three
/// times its share of a busy processor.
const NICER: i32 = 5;

thread_local! {
    static GIVES_WAY: Cell<bool> = const { Cell::new(false) };
}

/// Runs a job on a thread that gives way to those that handle small files.
pub(super) fn spawn<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(move || {
        give_way();
        job()
    })
}

/// From now on this thread gives way, whatever it does: taking that back needs a privilege. So what
/// else needs a thread that may block, such as reading small files back, may give way, too.
fn give_way() {
    if !GIVES_WAY.replace(true) {
        // Elsewhere the whole process would become nicer.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(NICER);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[tokio::test]
    async fn only_the_thread_of_the_job_gives_way_and_only_once() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let job = move || {
            give_way();
            nice()
        };
        assert_eq!(spawn(job).await.unwrap(), (before + NICER).min(19));
        assert_eq!(nice(), before);
    }
}

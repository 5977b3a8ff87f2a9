//! What the tests of the doorways share.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fleet::{Count, DoorName, Fleet};

/// As the first datagram system's agent sent it on a machine with two cores.
pub(super) const DATAGRAM: &[u8] = br#"{"cpu": {"por_nucleo": [4.0, 100.0], "media": 70.9}, "memoria": {"total_MB": 24105.56, "usada_MB": 1313.59, "livre_MB": 22791.97}, "disco": {"uso_total_GB": 251.97, "usado_GB": 27.59, "livre_GB": 63.28, "taxa_leitura_MBps": 0.14, "taxa_escrita_MBps": 0.0}, "rede": {"taxa_upload_MBps": 0.0, "taxa_download_MBps": 0.0, "pacotes_perdidos": 0}}"#;

/// A doorway that is open.
pub(super) struct Doorway {
    pub(super) fleet: Fleet,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Doorway {
    pub(super) fn open<F>(run: impl FnOnce(Fleet, CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (fleet, stop) = (Fleet::default(), CancellationToken::new());
        let running = tokio::spawn(run(fleet.clone(), stop.clone()));
        Self {
            fleet,
            stop,
            running,
        }
    }

    /// Closes it: nothing of it is left then.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// Waits for something that is bound to happen.
#[track_caller]
pub(super) fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for _ in 0..6000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{caller}: it did not happen within 30 s");
    }
}

/// What came in at a doorway.
pub(super) fn counts(fleet: &Fleet, door: DoorName) -> Count {
    fleet.doors().counts().remove(&door).unwrap_or_default()
}

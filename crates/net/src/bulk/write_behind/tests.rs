use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::*;

/// What became of a sink.
#[derive(Default)]
struct Log {
    bytes: Vec<u8>,
    /// Lengths of what was written, each when a sync of it ran.
    synced: Vec<usize>,
    failures: Vec<String>,
    is_dropped: bool,
}

struct Memory {
    log: Arc<Mutex<Log>>,
    /// A write waits for one of these, if there are any to come.
    pace: Option<Receiver<()>>,
    fails_at: usize,
    sync_fails: bool,
}

impl Memory {
    fn new() -> (Self, Arc<Mutex<Log>>) {
        let log = Arc::new(Mutex::new(Log::default()));
        let this = Self {
            log: log.clone(),
            pace: None,
            fails_at: usize::MAX,
            sync_fails: false,
        };
        (this, log)
    }

    fn paced(mut self) -> (Self, Sender<()>) {
        let (go, pace) = channel();
        self.pace = Some(pace);
        (self, go)
    }
}

impl Sink for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(pace) = &self.pace {
            let _ = pace.recv();
        }
        let mut log = self.log.lock().unwrap();
        if log.bytes.len() + bytes.len() > self.fails_at {
            return Err(io::Error::other("the disk is gone"));
        }
        log.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<Option<SyncJob>> {
        let (log, fails) = (self.log.clone(), self.sync_fails);
        Ok(Some(Box::new(move || {
            let mut log = log.lock().unwrap();
            let len = log.bytes.len();
            log.synced.push(len);
            if fails {
                Err(io::Error::other("cannot sync"))
            } else {
                Ok(())
            }
        })))
    }

    fn failed(&mut self, error: &io::Error) {
        self.log.lock().unwrap().failures.push(error.to_string());
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.log.lock().unwrap().is_dropped = true;
    }
}

/// A runtime with one thread that may block.
fn narrow() -> Runtime {
    Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn piece(of: u8, len: usize) -> Bytes {
    vec![of; len].into()
}

#[test]
fn pieces_are_written_in_their_order_and_much_is_synced_on_the_way() {
    let (sink, log) = Memory::new();
    narrow().block_on(async {
        let mut writer = WriteBehind::new(sink);
        let mut expected = Vec::new();
        for of in 0..200u8 {
            let piece = piece(of, 400_000 + usize::from(of));
            expected.extend_from_slice(&piece);
            assert!(writer.write(piece).await);
        }
        let is_whole = writer.end(move |sink| Ok(sink.log.lock().unwrap().bytes == expected));
        assert!(is_whole.await.unwrap());
    });
    let log = log.lock().unwrap();
    assert!(!log.synced.is_empty() && log.synced.is_sorted());
    assert!(log.failures.is_empty() && log.is_dropped);
}

/// With one thread for all of them, no writer waits for what another one's peer sends.
#[test]
fn a_writer_without_pieces_holds_no_thread() {
    narrow().block_on(async {
        let mut idle: Vec<WriteBehind<Memory>> = Vec::new();
        for _ in 0..10 {
            let mut writer = WriteBehind::new(Memory::new().0);
            writer.write(piece(1, 10)).await;
            idle.push(writer);
        }
        let mut writer = WriteBehind::new(Memory::new().0);
        writer.write(piece(2, 30 << 20)).await;
        writer.write(piece(2, 30 << 20)).await;
        let len = writer.end(|sink| Ok(sink.log.lock().unwrap().bytes.len()));
        assert_eq!(
            timeout(Duration::from_secs(10), len)
                .await
                .unwrap()
                .unwrap(),
            60 << 20
        );
    });
}

#[test]
fn a_peer_waits_when_the_disk_is_slow() {
    let (sink, _) = Memory::new();
    let (sink, go) = sink.paced();
    narrow().block_on(async {
        let mut writer = WriteBehind::new(sink);
        let mut taken = 0;
        let many = async {
            loop {
                writer.write(piece(1, 100_000)).await;
                taken += 100_000;
            }
        };
        assert!(timeout(Duration::from_millis(50), many).await.is_err());
        assert!(
            (MOST_WAITING..MOST_WAITING + 300_000).contains(&taken),
            "{taken}"
        );
        // What was taken when the caller gave up waiting is written all the same.
        drop(go);
        let len = writer.end(|sink| Ok(sink.log.lock().unwrap().bytes.len()));
        assert_eq!(len.await.unwrap(), taken + 100_000);
    });
}

#[test]
fn what_waits_is_written_while_the_peer_is_silent() {
    let (sink, log) = Memory::new();
    narrow().block_on(async {
        let mut writer = WriteBehind::new(sink);
        for of in 0..3 {
            writer.write(piece(of, 10)).await;
        }
        let silence = tokio::time::sleep(Duration::from_millis(200));
        writer.beside(silence).await;
        assert_eq!(log.lock().unwrap().bytes.len(), 30);
    });
}

#[test]
fn a_failed_write_is_told_and_later_pieces_are_not_wanted() {
    let (mut sink, log) = Memory::new();
    sink.fails_at = 150;
    narrow().block_on(async {
        let mut writer = WriteBehind::new(sink);
        while writer.write(piece(1, 100)).await {
            tokio::task::yield_now().await;
        }
        assert!(!writer.write(piece(1, 10)).await);
        let error = writer.end(|_| -> io::Result<()> { panic!("it has failed") });
        assert_eq!(error.await.unwrap_err().to_string(), "the disk is gone");
    });
    let log = log.lock().unwrap();
    assert_eq!(
        (log.bytes.len(), log.failures.len(), log.is_dropped),
        (100, 1, true)
    );
}

#[test]
fn a_failed_sync_is_told_at_the_end() {
    let (mut sink, log) = Memory::new();
    sink.sync_fails = true;
    narrow().block_on(async {
        let mut writer = WriteBehind::new(sink);
        writer.write(piece(1, 17 << 20)).await;
        writer.write(piece(1, 2 << 20)).await;
        let error = writer.end(|_| -> io::Result<()> { panic!("it has failed") });
        assert_eq!(error.await.unwrap_err().to_string(), "cannot sync");
    });
    assert_eq!(log.lock().unwrap().failures, ["cannot sync"]);
}

#[test]
fn a_dropped_writer_drops_its_sink_where_that_may_block() {
    for pieces in [0, 1, 2] {
        let (sink, log) = Memory::new();
        let runtime = narrow();
        runtime.block_on(async {
            let mut writer = WriteBehind::new(sink);
            for _ in 0..pieces {
                writer.write(piece(1, 10)).await;
            }
            drop(writer);
        });
        // It waits for the threads that block.
        drop(runtime);
        assert!(log.lock().unwrap().is_dropped, "{pieces} pieces");
    }
}

//! The thread that closes removed files.
//!
//! The last close of a removed file gives its room back: some hundred milliseconds for a gigabyte,
//! more on a disk that is told of freed blocks (mount option `discard`). The thread that writes the
//! journal must not wait for that.

use std::fmt;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use super::disk::DiskFile;

/// How many files may wait: each has a descriptor.
const MOST: usize = 16;

type Files = mpsc::SyncSender<Arc<dyn DiskFile>>;

/// Closes files in a thread of its own, which ends once this is dropped and all are closed.
#[derive(Default)]
pub(super) struct Closer(OnceLock<Option<Files>>);

impl Closer {
    /// Closes `file` in the thread, or here if there is no thread, or too many files wait for it.
    pub(super) fn close(&self, file: Arc<dyn DiskFile>) {
        if let Some(files) = self.0.get_or_init(start) {
            let _ = files.try_send(file);
        }
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").finish_non_exhaustive()
    }
}

fn start() -> Option<Files> {
    let (files, waiting) = mpsc::sync_channel(MOST);
    let thread = thread::Builder::new().name("closer".to_owned());
    let started = thread.spawn(move || waiting.into_iter().for_each(drop));
    started.is_ok().then_some(files)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender};
    use std::time::Duration;

    use super::*;
    use crate::disk::FileId;

    /// Tells where it is closed: at once, and in the closer's thread once more when that goes on.
    struct Closing {
        goes_on: Arc<Mutex<Receiver<()>>>,
        told: Sender<&'static str>,
    }

    impl Drop for Closing {
        fn drop(&mut self) {
            if thread::current().name() == Some("closer") {
                self.told.send("begins").unwrap();
                let _ = self.goes_on.lock().unwrap().recv();
                self.told.send("in the thread").unwrap();
            } else {
                self.told.send("here").unwrap();
            }
        }
    }

    impl DiskFile for Closing {
        fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
            unreachable!()
        }
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
            unreachable!()
        }
        fn sync(&self) -> io::Result<()> {
            unreachable!()
        }
        fn set_len(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }
        fn len(&self) -> io::Result<u64> {
            unreachable!()
        }
        fn id(&self) -> io::Result<FileId> {
            unreachable!()
        }
    }

    #[test]
    fn nobody_waits_for_a_close_unless_too_many_wait() {
        let (go_on, goes_on) = mpsc::channel();
        let goes_on = Arc::new(Mutex::new(goes_on));
        let (told, heard) = mpsc::channel();
        let closer = Closer::default();
        let close = || {
            closer.close(Arc::new(Closing {
                goes_on: goes_on.clone(),
                told: told.clone(),
            }));
        };
        let next = || heard.recv_timeout(Duration::from_secs(20)).unwrap();
        close();
        assert_eq!(next(), "begins");
        (0..MOST).for_each(|_| close());
        assert!(heard.try_recv().is_err(), "they wait");
        close();
        assert_eq!(next(), "here");
        drop((go_on, closer));
        assert_eq!(next(), "in the thread");
        for _ in 0..MOST {
            assert_eq!((next(), next()), ("begins", "in the thread"));
        }
    }
}

//! The journal with files of 1 KiB: accepting them in batches, on the disk that holds temporary
//! files and in memory, and recovery. Nothing is synced (`--durability os`): a sync measures the
//! disk, and `bilico bench` does that.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bilico::queue::RealDisk;
use bilico::queue::disk::Disk;
use bilico::queue::journal::{Journal, JournalConfig, Op};
use bilico::queue::record::{Accepted, Content, End, Ended, History, Meta};
use bilico::queue::{Durability, recovery};
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;

const CONFIG: JournalConfig = JournalConfig {
    durability: Durability::Os,
    segment_size: None,
};

/// Files in one batch.
const BATCH: u64 = 1000;

/// Files in the journal that is recovered.
const FILES: u64 = 100_000;

/// A file system in memory, where there is one.
const MEMORY: &str = "/dev/shm";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn open(dir: &Path) -> Outcome<(Journal, recovery::Recovered)> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir)?);
    Ok(recovery::open(disk, CONFIG)?)
}

fn meta(number: u64, content: &Bytes) -> Arc<Meta> {
    Arc::new(Meta {
        title: format!("invoice-{number}.json").into(),
        key: Some(format!("42e25c8639a358e3121ca897585f3ccb-{number}").into()),
        from: "127.0.0.1:49984".into(),
        size: content.len() as u64,
        crc32c: crc32c::crc32c(content),
        accepted_ms: 1_795_254_127_160 + number,
    })
}

fn accept(number: u64, content: &Bytes) -> Op {
    let (meta, content) = (meta(number, content), Content::Inline(content.clone()));
    Op::Accept(Box::new(Accepted {
        number,
        meta,
        history: History::default(),
        death: None,
        content,
    }))
}

fn delivered(number: u64, meta: Arc<Meta>) -> Op {
    let end = End::Delivered {
        server: "127.0.0.1:5001".into(),
        identity: None,
        confirmed: true,
    };
    Op::End(Box::new(Ended {
        number,
        at_ms: 1_795_254_127_180,
        end,
        meta,
        history: History::default(),
    }))
}

/// Gives a journal one batch, as its writer thread does.
fn commit(journal: &mut Journal, ops: Vec<Op>) -> Outcome<()> {
    journal.prepare()?;
    for op in ops {
        journal.apply(op);
    }
    journal.commit()?;
    Ok(())
}

/// The batch of files from `first` on.
fn batch(first: u64, content: &Bytes) -> Vec<Op> {
    (first..first + BATCH)
        .map(|number| accept(number, content))
        .collect()
}

/// A journal in a directory that goes with it, and the number of its next file.
struct Growing {
    journal: Journal,
    next: u64,
    _dir: TempDir,
}

impl Growing {
    fn new(place: &Path) -> Outcome<Self> {
        let dir = TempDir::new_in(place)?;
        let (journal, recovered) = open(dir.path())?;
        Ok(Self {
            journal,
            next: recovered.next_number,
            _dir: dir,
        })
    }

    /// The time that `batches` batches take, without that for making them up.
    fn grow(&mut self, batches: u64, content: &Bytes) -> Outcome<Duration> {
        let mut taken = Duration::ZERO;
        for _ in 0..batches {
            let ops = batch(self.next, content);
            self.next += BATCH;
            let begun = Instant::now();
            commit(&mut self.journal, ops)?;
            taken += begun.elapsed();
        }
        Ok(taken)
    }
}

/// One iteration is one batch of 1,000 files of 1 KiB, applied and committed. After 100 of them a
/// journal begins afresh, outside the measured time, so that neither disk nor memory fills up.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append 1000 files of 1 KiB");
    group
        .throughput(Throughput::Elements(BATCH))
        .sample_size(20);
    let content = Bytes::from(vec![b'x'; 1024]);
    let places = [("disk", std::env::temp_dir()), ("memory", MEMORY.into())];
    for (name, place) in places.into_iter().filter(|(_, place)| place.is_dir()) {
        let measure = |batches: u64| -> Outcome<Duration> {
            let mut taken = Duration::ZERO;
            for done in (0..batches).step_by(100) {
                taken += Growing::new(&place)?.grow((batches - done).min(100), &content)?;
            }
            Ok(taken)
        };
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|batches| measure(batches).expect("a journal"));
        });
    }
}

/// A journal of [`FILES`] files of 1 KiB, of which every second was delivered.
fn written() -> Outcome<TempDir> {
    let dir = TempDir::new()?;
    let (mut journal, recovered) = open(dir.path())?;
    let content = Bytes::from(vec![b'x'; 1024]);
    let first = recovered.next_number;
    for start in (first..first + FILES).step_by(1000) {
        commit(&mut journal, batch(start, &content))?;
        let ended = (start..start + BATCH)
            .step_by(2)
            .map(|number| delivered(number, meta(number, &content)));
        commit(&mut journal, ended.collect())?;
    }
    Ok(dir)
}

/// One iteration reads the journal and checks every record of it, without changing it: all but the
/// opening of a new segment. Its bytes are in the system's cache.
fn recover(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recover");
    group
        .throughput(Throughput::Elements(FILES))
        .sample_size(10);
    let dir = written().expect("a journal");
    let disk = RealDisk::read_only(dir.path()).expect("a directory");
    let found = recovery::check(&disk).expect("a sound journal");
    assert_eq!(
        (found.files.len() as u64, found.ended.len() as u64),
        (FILES / 2, FILES / 2),
        "all that was written"
    );
    group.bench_function(format!("{FILES} files of 1 KiB"), |bencher| {
        bencher.iter(|| recovery::check(&disk));
    });
}

criterion_group!(benches, append, recover);
criterion_main!(benches);

//! A work queue on NATS JetStream as a team would build it: a publisher that hands files over,
//! workers that store them.
//!
//! ```text
//! jetstream worker  --server URL --dir DIR --latencies FILE            until SIGTERM
//! jetstream publish --server URL --files N --size BYTES --latencies FILE
//! ```
//!
//! The first 16 bytes of a message are the time at which it was sent and its number; a worker names
//! the file by the number. Both print one JSON object and write a latency for each file: the
//! publisher until the acknowledgement of the stream, a worker until the file has its name. Nobody
//! tells a JetStream publisher that its file is stored, so the worker's figure leaves out the way
//! back that the other systems' figures have in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, pull};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{Context, ContextBuilder, Message};
use bilico_peers::{Failure, argument, micros_since, now_ns, number, write_latencies};
use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const STREAM: &str = "FILES";
const SUBJECT: &str = "files";
/// The most publishes that have no acknowledgement yet.
const UNACKNOWLEDGED: usize = 4_000;
/// The most messages that a worker has drawn and not stored.
const DRAWN: usize = 500;
/// Bytes of a message before the filler: the time and the number.
const HEAD: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    match std::env::args().nth(1).as_deref() {
        Some("worker") => work().await,
        Some("publish") => publish().await,
        _ => Err("say `worker` or `publish` first".into()),
    }
}

async fn connect() -> Result<Context, Failure> {
    let client = async_nats::connect(argument("server")?).await?;
    let limits = ContextBuilder::new().timeout(Duration::from_secs(60)).max_ack_inflight(UNACKNOWLEDGED);
    Ok(limits.backpressure_on_inflight(true).build(client))
}

fn stream() -> Config {
    Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        ..Config::default()
    }
}

async fn consumer(context: &Context) -> Result<Consumer<pull::Config>, Failure> {
    let config = pull::Config {
        durable_name: Some("workers".into()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 20_000,
        ..pull::Config::default()
    };
    Ok(context.get_or_create_stream(stream()).await?.get_or_create_consumer("workers", config).await?)
}

/// A worker: stores what it draws, until it is told to stop.
async fn work() -> Result<(), Failure> {
    let mut store = Store { dir: argument("dir")?.into(), latencies: Vec::new(), last_ns: 0 };
    let mut stop = signal(SignalKind::terminate())?;
    let mut drawn = consumer(&connect().await?).await?.stream().max_messages_per_batch(DRAWN).messages().await?;
    println!("ready");
    loop {
        tokio::select! {
            biased;
            _ = stop.recv() => break,
            message = drawn.next() => store.take(message.ok_or("the stream ended")??).await?,
        }
    }
    write_latencies(&argument("latencies")?, &store.latencies)?;
    println!(r#"{{"files": {}, "last_ns": {}}}"#, store.latencies.len(), store.last_ns);
    Ok(())
}

/// Where a worker stores, and what it has seen.
struct Store {
    dir: PathBuf,
    latencies: Vec<u32>,
    last_ns: u64,
}

impl Store {
    async fn take(&mut self, message: Message) -> Result<(), Failure> {
        let (sent, name) = head(&message.payload).ok_or("a message without its first 16 bytes")?;
        keep(&self.dir, name, &message.payload)?;
        self.latencies.push(micros_since(sent));
        self.last_ns = now_ns();
        message.ack().await
    }
}

/// The time and the number at the beginning of a message.
fn head(payload: &[u8]) -> Option<(u64, u64)> {
    let (sent, rest) = payload.split_first_chunk()?;
    Some((u64::from_le_bytes(*sent), u64::from_le_bytes(*rest.first_chunk()?)))
}

/// Writes a file under a temporary name and gives it its own.
fn keep(dir: &Path, name: u64, content: &[u8]) -> std::io::Result<()> {
    let temporary = dir.join(format!(".{name}.tmp"));
    fs::write(&temporary, content)?;
    fs::rename(temporary, dir.join(name.to_string()))
}

/// The publisher: hands all files over, then waits until the workers have emptied the stream.
async fn publish() -> Result<(), Failure> {
    let (files, size) = (number("files")?, number("size")?);
    let context = connect().await?;
    let (sent, acknowledged) = mpsc::unbounded_channel();
    let latencies = tokio::spawn(collect(acknowledged, files));
    let start_ns = now_ns();
    for file in 0..files {
        let at = now_ns();
        sent.send((at, context.publish(SUBJECT, message(at, file as u64, size).into()).await?))?;
    }
    drop(sent);
    let latencies = latencies.await??;
    let accepted_ns = now_ns();
    wait_until_empty(&context).await?;
    write_latencies(&argument("latencies")?, &latencies)?;
    println!(r#"{{"files": {files}, "start_ns": {start_ns}, "accepted_ns": {accepted_ns}}}"#);
    Ok(())
}

fn message(at: u64, number: u64, size: usize) -> Vec<u8> {
    let mut message = Vec::with_capacity(size.max(HEAD));
    message.extend_from_slice(&at.to_le_bytes());
    message.extend_from_slice(&number.to_le_bytes());
    message.resize(size.max(HEAD), b'x');
    message
}

/// Waits for the acknowledgements, which come in the order of the publishes.
async fn collect(
    mut acknowledged: mpsc::UnboundedReceiver<(u64, PublishAckFuture)>,
    files: usize,
) -> Result<Vec<u32>, Failure> {
    let mut latencies = Vec::with_capacity(files);
    while let Some((sent, acknowledgement)) = acknowledged.recv().await {
        acknowledgement.await?;
        latencies.push(micros_since(sent));
    }
    Ok(latencies)
}

async fn wait_until_empty(context: &Context) -> Result<(), Failure> {
    let mut stream = context.get_stream(STREAM).await?;
    while stream.info().await?.state.messages > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

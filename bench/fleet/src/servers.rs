//! Many file servers, so that what a balancer spends on them is measured by itself.
//!
//! They speak the native protocol with the balancer's own codec, answer probes, and check what they
//! get, but keep nothing. The first line of output names the addresses. Without `--rates` each file is
//! acknowledged at once; with them nothing is before SIGUSR1, and so many a second over all servers
//! from then on, the oldest first. Each further SIGUSR1 begins the next rate. With the certificate of
//! a server, which is that of all of them, they take nothing but TLS from a balancer of that cluster;
//! at SIGUSR2 a line of output says how many handshakes there have been.

use std::sync::Arc;
use std::time::Duration;

use bilico_core::protocol::{Hello, Message, Role, frame};
use bilico_net::tls::{self, Arrived, Credentials, Door, Files, Gauge, Mode};
use bilico_net::{BoxStream, Deadlines, ObjectReader, ReadError, Reader, Socket};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Failure, flag, number};

/// How many acknowledgements are written together at most.
const BATCH: usize = 1024;

/// The time between two looks at what is due.
const TICK: Duration = Duration::from_millis(1);

/// How long a balancer may take for the first byte of a connection.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The most bytes of a probe.
const MAX_PROBE: u64 = 4096;

/// The writer of a link's acknowledgements, by request number.
type Acks = UnboundedSender<u64>;

/// Where the files go that are acknowledged later; `None` if all are at once.
type Later = Option<UnboundedSender<(u64, Acks)>>;

/// Plays as many servers as `--servers` says, for ever.
pub(super) async fn run(servers: u32) -> Result<(), Failure> {
    let rates = flag("--rates")
        .map(|rates| rates.split(',').map(number).collect())
        .transpose()?;
    play(servers, rates).await
}

async fn play(servers: u32, rates: Option<Vec<u32>>) -> Result<(), Failure> {
    let mut addresses = Vec::new();
    let door = secure()?.map(Arc::new);
    let later = match rates {
        Some(rates) => {
            let (later, stored) = mpsc::unbounded_channel();
            // Caught before the addresses are out: whoever knows them may send it.
            let begin = signal(SignalKind::user_defined1())?;
            tokio::spawn(pace(rates, begin, stored));
            Some(later)
        }
        None => None,
    };
    for server in 1..=servers {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?.to_string());
        let with = (greeting(server).into(), door.clone());
        tokio::spawn(serve(listener, with, later.clone()));
    }
    println!("servers {}", addresses.join(","));
    std::future::pending().await
}

/// Where balancers come in by TLS, if there is a certificate.
fn secure() -> Result<Option<Door>, Failure> {
    let files = ["--cluster-ca", "--cluster-cert", "--cluster-key"].map(flag);
    let [Some(ca), Some(cert), Some(key)] = files else {
        return Ok(None);
    };
    let credentials = Credentials::read(&Files {
        cert: cert.into(),
        key: key.into(),
    })?;
    let config = tls::cluster_server(&credentials, tls::read_authorities(ca.as_ref())?)?;
    let gauge = Gauge::new("servers");
    let told = gauge.clone();
    let mut ask = signal(SignalKind::user_defined2())?;
    tokio::spawn(async move {
        while ask.recv().await.is_some() {
            let [done, ..] = told.counts();
            println!("handshakes {done}");
        }
    });
    Ok(Some(Door::new(Mode::Required, config, gauge)))
}

/// What a server says first, on links and to probes.
fn greeting(server: u32) -> Vec<u8> {
    let identity: Arc<str> = format!("{server:032x}").into();
    let hello = Message::from(Hello {
        overloaded: Some(false),
        identity: Some(identity.clone()),
        instance: Some(identity),
        ..Hello::of(Role::Server)
    });
    let mut greeting = Vec::new();
    frame::encode_preface(&mut greeting);
    frame::encode(&hello, 0, &mut greeting);
    greeting
}

/// One server: takes connections for ever.
async fn serve(listener: TcpListener, with: (Arc<[u8]>, Option<Arc<Door>>), later: Later) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, with.clone(), later.clone()));
            }
            Err(error) => eprintln!("a connection is lost: {error}"),
        }
    }
}

async fn answer(stream: TcpStream, (greeting, door): (Arc<[u8]>, Option<Arc<Door>>), later: Later) {
    if let Err(error) = come_in(stream, &greeting, door, later).await {
        eprintln!("a connection ends: {error}");
    }
}

/// Serves a connection in plain text, or inside TLS if there is a door.
async fn come_in(
    stream: TcpStream,
    greeting: &[u8],
    door: Option<Arc<Door>>,
    later: Later,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream: BoxStream = Box::new(Socket::from(stream));
    let Some(door) = door else {
        return Ok(converse(stream, greeting, later).await?);
    };
    match door.admit(stream, FIRST_BYTE).await? {
        Arrived::Secure(stream, _) => Ok(converse(stream, greeting, later).await?),
        Arrived::Plain(_) => Err("it speaks no TLS".into()),
        Arrived::Gone => Ok(()),
    }
}

/// Answers probes, or serves a link, until the balancer closes it.
async fn converse(stream: BoxStream, greeting: &[u8], later: Later) -> Result<(), ReadError> {
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, Deadlines::default());
    match reader.peek().await? {
        None => return Ok(()),
        Some(first) if first != frame::MAGIC[0] => {
            let mut probes = ObjectReader::new(&mut reader);
            while probes.object(MAX_PROBE, MAX_PROBE).await?.is_some() {
                write.write_all(greeting).await?;
                write.flush().await?;
            }
            return Ok(());
        }
        Some(_) => {}
    }
    reader.preface().await?;
    // The balancer's hello, whatever it says: this server has no file of any journal.
    reader.frame().await?;
    let mut first = greeting.to_vec();
    let holding = Message::Holding {
        last: true,
        seen: None,
    };
    frame::encode(&holding, 0, &mut first);
    write.write_all(&first).await?;
    write.flush().await?;
    let (acks, stored) = mpsc::unbounded_channel();
    tokio::spawn(acknowledge(write, stored));
    while let Some(frame) = reader.frame().await? {
        reader.content(frame.content_len).await?;
        if let Message::Store { number, .. } = frame.message {
            // A send fails when nobody writes to the link any more: then its reader ends next.
            let _ = match &later {
                Some(later) => later.send((number, acks.clone())).is_ok(),
                None => acks.send(number).is_ok(),
            };
        }
    }
    Ok(())
}

/// Writes the acknowledgements of a link, those that are there together at once.
async fn acknowledge(mut write: WriteHalf<BoxStream>, mut stored: UnboundedReceiver<u64>) {
    let (mut numbers, mut out) = (Vec::new(), Vec::new());
    while stored.recv_many(&mut numbers, BATCH).await > 0 {
        out.clear();
        for number in numbers.drain(..) {
            frame::encode(&Message::Stored { number }, 0, &mut out);
        }
        if write.write_all(&out).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
}

/// Acknowledges at each of these rates in turn, from one signal to the next.
async fn pace(rates: Vec<u32>, mut begin: Signal, mut stored: UnboundedReceiver<(u64, Acks)>) {
    begin.recv().await;
    for rate in rates {
        tokio::select! {
            () = acknowledge_at(rate, &mut stored) => {}
            _ = begin.recv() => {}
        }
    }
}

/// Acknowledges so many files a second, for ever.
async fn acknowledge_at(rate: u32, stored: &mut UnboundedReceiver<(u64, Acks)>) {
    let (began, mut given) = (Instant::now(), 0);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let due = due(rate, began.elapsed());
        for _ in given..due {
            let Ok((number, acks)) = stored.try_recv() else {
                break;
            };
            let _ = acks.send(number);
        }
        given = due;
    }
}

/// How many files are acknowledged by this time, if there always were some.
fn due(rate: u32, elapsed: Duration) -> u128 {
    u128::from(rate) * elapsed.as_micros() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_over_any_time() {
        assert_eq!(due(1_000, Duration::from_micros(999)), 0);
        assert_eq!(due(1_000, Duration::from_millis(1)), 1);
        assert_eq!(due(3, Duration::from_hours(1)), 10_800);
    }
}

//! The doorways over real sockets, with the bytes of the first system's programs.

mod announcing;
mod checking;
mod picking;

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{OldDoors, OldLimits};
use crate::doors::tests::{Doorway, counts, until};
use crate::fleet::{DoorName, Fleet};
use crate::fleet_core::{Facts, Identity, MemberReport, Source, Told, Trust};

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(20);

/// A line as an original server writes it.
const LINE: &str = "Uso de CPU: 58.9% | Uso de Memória: 3.5% | Uso de Disco: 29.8% | Status da \
                    Rede: Ativo | Tempo de Atividade: 0.84 horas";

/// All three doorways, open until this is closed.
struct Doorways {
    doorway: Doorway,
    fleet: Fleet,
    announce: SocketAddr,
    pick: SocketAddr,
    checker: SocketAddr,
    limits: OldLimits,
}

impl Doorways {
    async fn open() -> Self {
        Self::with(limits(), &[]).await
    }

    async fn with(limits: OldLimits, hosts: &[&str]) -> Self {
        let mut bound = Vec::new();
        for _ in 0..3 {
            bound.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let at: Vec<_> = bound.iter().map(|l| l.local_addr().unwrap()).collect();
        let doors = OldDoors {
            checker: bound.pop(),
            pick: bound.pop(),
            announce: bound.pop(),
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            limits,
        };
        let doorway = Doorway::open(|fleet, stop| doors.run(fleet, stop));
        Self {
            fleet: doorway.fleet.clone(),
            doorway,
            announce: at[0],
            pick: at[1],
            checker: at[2],
            limits,
        }
    }

    /// Announces this and closes.
    async fn announce(&self, bytes: impl AsRef<[u8]>) {
        let mut stream = connect(self.announce).await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(rest(&mut stream).await, b"", "nothing comes back");
    }

    fn member(&self, address: impl Display + Copy) -> Option<MemberReport> {
        self.fleet.find(&address.to_string()).ok()
    }

    /// How often something was refused at a doorway for this reason.
    fn refused(&self, door: DoorName, reason: &str) -> u64 {
        let refused = counts(&self.fleet, door).refused;
        refused.get(reason).copied().unwrap_or_default()
    }

    /// Waits for one to be refused for this reason.
    async fn until_refused(&self, door: DoorName, reason: &str) {
        until(|| self.refused(door, reason) > 0).await;
    }

    /// A member of ours is there and tells this.
    fn tell(&self, address: &str, facts: Facts) {
        let told = Told {
            who: Identity::Address(address.into()),
            name: Some(address.into()),
            source: Source::Configuration,
            trust: Trust::Measured,
            peer: None,
            every: Duration::from_secs(1),
            facts,
        };
        self.fleet.told(told).unwrap();
    }
}

/// Shorter waits than those of users.
fn limits() -> OldLimits {
    OldLimits {
        announcement: Duration::from_millis(500),
        look: Duration::from_millis(200),
        patience: Duration::from_secs(2),
        pace: Duration::from_millis(300),
        ..OldLimits::default()
    }
}

async fn connect(at: SocketAddr) -> TcpStream {
    let stream = timeout(DEADLINE, TcpStream::connect(at)).await;
    let stream = stream.expect("a connection in time").unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// What one read returns, as the first system's programs read.
async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let length = timeout(DEADLINE, stream.read(&mut bytes)).await;
    // A connection that breaks has ended.
    bytes.truncate(length.expect("bytes in time").unwrap_or_default());
    bytes
}

async fn read_text(stream: &mut TcpStream) -> String {
    String::from_utf8(read(stream).await).unwrap()
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("an end in time");
    bytes
}

/// A server as the original: it pushes a line in each interval, and reads nothing.
struct OldServer {
    address: SocketAddr,
    pushing: JoinHandle<()>,
}

impl OldServer {
    async fn pushing(line: &str, every: Duration) -> Self {
        Self::pushing_at("127.0.0.1", line, every).await
    }

    async fn pushing_at(host: &str, line: &str, every: Duration) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = line.to_owned();
        let pushing = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let line = line.clone();
                sessions.spawn(async move {
                    while stream.write_all(line.as_bytes()).await.is_ok() {
                        tokio::time::sleep(every).await;
                    }
                });
            }
        });
        Self { address, pushing }
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        self.pushing.abort();
    }
}

/// The doorways end when they are told to, whoever is connected.
#[tokio::test]
async fn open_connections_hold_nobody_up() {
    let doorways = Doorways::open().await;
    let mut streams = Vec::new();
    for at in [doorways.announce, doorways.pick, doorways.checker] {
        streams.push(connect(at).await);
    }
    read(&mut streams[1]).await;
    read(&mut streams[2]).await;
    timeout(DEADLINE, doorways.doorway.close()).await.unwrap();
    for mut stream in streams {
        rest(&mut stream).await;
    }
}

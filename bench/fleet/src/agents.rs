//! Many agents, each with a name of its own, each of which tells the figures of a host at once and
//! then every `--every` seconds: 5 unless that is said.
//!
//! `--native` has a connection for each, which registers with the secret of `--secret-file`, as
//! `bilico agent --join-secret-file` does. `--datagrams` signs with the tokens of `--tokens`, one for each.
//! They speak evenly over the time, whenever they began. Once all of them have spoken, a line of
//! output says so: `speaking N`. An agent that comes to an end ends all.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bilico::access::DatagramKey;
use bilico::access::users::TokenId;
use bilico::fleet::datagram::Datagram;
use bilico_core::fleet::Facts;
use bilico_core::protocol::{Hello, Message, Proof, Register, Role, frame};
use bilico_core::secret::Secret;
use bilico_net::{BoxStream, Deadlines, Reader, Socket, descriptors, send_content};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep_until};

use super::{Failure, flag, needed, number};

/// The time between two words of an agent, unless another is said.
const EVERY: u32 = 5;

/// How many agents register at the same time.
const AT_ONCE: usize = 64;

/// How long a balancer may take to take a word.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two moments of one agent and the next: the part of a turn that, added up, comes nowhere near
/// where it was, so that any number of agents speak evenly over the time.
const GOLDEN: f64 = 0.618_033_988_75;

type End = Box<dyn std::error::Error + Send + Sync>;

/// Plays so many agents, until one of them comes to an end.
pub(super) async fn run(agents: u32) -> Result<(), Failure> {
    descriptors::raise();
    let every = flag("--every").as_deref().map(number).transpose()?;
    let every = Duration::from_secs(u64::from(every.unwrap_or(EVERY).max(1)));
    if let Some(to) = flag("--native") {
        let secret = fs::read_to_string(needed("--secret-file")?)?;
        let secret = Secret::from(secret.lines().next().unwrap_or_default());
        connections(agents, &to, &secret, every).await
    } else {
        let tokens = fs::read_to_string(needed("--tokens")?)?;
        datagrams(agents, &needed("--datagrams")?, &tokens, every).await
    }
}

/// A connection for each agent.
async fn connections(
    agents: u32,
    to: &str,
    secret: &Secret,
    every: Duration,
) -> Result<(), Failure> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let spoken = Arc::new(Semaphore::new(0));
    let mut all = JoinSet::new();
    for number in 0..agents {
        let (to, secret) = (to.to_owned(), secret.clone());
        let (places, spoken) = (places.clone(), spoken.clone());
        all.spawn(async move {
            let place = places.acquire_owned().await?;
            let mut agent = Agent::register(number, &to, &secret, every).await?;
            agent.tell(0).await?;
            drop(place);
            spoken.add_permits(1);
            agent.go_on(every).await
        });
    }
    let ended = async {
        let ended = all.join_next().await;
        Err::<(), Failure>(match ended {
            Some(Ok(Err(error))) => format!("an agent has ended: {error}").into(),
            other => format!("an agent has ended: {other:?}").into(),
        })
    };
    let telling = async {
        let _all = spoken.acquire_many(agents).await?;
        println!("speaking {agents}");
        std::future::pending().await
    };
    tokio::select! {
        ended = ended => ended,
        told = telling => told,
    }
}

/// An agent that has registered over a connection of its own.
struct Agent {
    number: u32,
    reader: Reader<ReadHalf<BoxStream>>,
    write: WriteHalf<BoxStream>,
    out: Vec<u8>,
}

impl Agent {
    async fn register(
        number: u32,
        to: &str,
        secret: &Secret,
        every: Duration,
    ) -> Result<Self, End> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let stream: BoxStream = Box::new(Socket::from(stream));
        let (read, mut write) = tokio::io::split(stream);
        let mut reader = Reader::new(read, Deadlines::default());
        let mut out = Vec::new();
        frame::encode_preface(&mut out);
        frame::encode(&Message::from(Hello::of(Role::Agent)), 0, &mut out);
        write.write_all(&out).await?;
        reader.preface().await?;
        let challenge = match next(&mut reader).await? {
            Message::Hello(hello) => hello.challenge.unwrap_or_default(),
            other => return Err(format!("not let in: {other:?}").into()),
        };
        out.clear();
        let register = Message::Register(Box::new(Register {
            name: Some(format!("agent-{number:05}").into()),
            every_ms: u64::try_from(every.as_millis()).ok(),
            proof: Some(Proof::new(secret, &challenge, "", "")),
            ..Register::default()
        }));
        frame::encode(&register, 0, &mut out);
        write.write_all(&out).await?;
        match next(&mut reader).await? {
            Message::Registered { .. } => Ok(Self {
                number,
                reader,
                write,
                out,
            }),
            other => Err(format!("not registered: {other:?}").into()),
        }
    }

    async fn tell(&mut self, round: u32) -> Result<(), End> {
        let content = serde_json::to_vec(&facts(self.number, round))?;
        self.out.clear();
        frame::encode(&Message::Beat, content.len() as u64, &mut self.out);
        send_content(&mut self.write, &mut self.out, &content, PATIENCE).await?;
        Ok(self.write.write_all(&self.out).await?)
    }

    /// Tells figures, from its own moment of the time on, until the balancer ends it.
    async fn go_on(mut self, every: Duration) -> Result<(), End> {
        let own = every.mul_f64((f64::from(self.number) * GOLDEN).fract());
        let mut ticks = interval_at(Instant::now() + own, every);
        let mut round = 0;
        loop {
            let reading = self.reader.frame();
            tokio::select! {
                said = reading => match said {
                    Err(bilico_net::ReadError::Idle(_)) => {}
                    said => return Err(format!("the balancer says {said:?}").into()),
                },
                _ = ticks.tick() => {
                    round += 1;
                    self.tell(round).await?;
                }
            }
        }
    }
}

async fn next(reader: &mut Reader<ReadHalf<BoxStream>>) -> Result<Message, End> {
    let frame = reader.frame().await?;
    frame
        .map(|frame| frame.message)
        .ok_or_else(|| "the balancer has closed it".into())
}

/// One socket for all: a balancer tells those who sign apart by their tokens.
async fn datagrams(agents: u32, to: &str, tokens: &str, every: Duration) -> Result<(), Failure> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(to).await?;
    let keys = tokens.lines().take(agents as usize);
    let keys = keys.map(|token| DatagramKey::of_token(&Secret::from(token)));
    let keys: Vec<(TokenId, DatagramKey)> = keys.collect::<Result<_, _>>()?;
    if keys.len() < agents as usize {
        return Err(format!("there are {} tokens for {agents} agents", keys.len()).into());
    }
    let began = Instant::now();
    for round in 0.. {
        for (number, (token, key)) in (0..agents).zip(&keys) {
            let part = f64::from(round) + f64::from(number) / f64::from(agents);
            sleep_until(began + every.mul_f64(part)).await;
            let time = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let datagram = Datagram {
                v: 1,
                token: token.clone(),
                boot: "1".to_owned(),
                seq: u64::from(round) + 1,
                time: time.as_secs_f64(),
                every_s: every.as_secs_f32(),
                facts: facts(number, round),
            };
            socket.send(&datagram.seal(key)?).await?;
        }
        if round == 0 {
            println!("speaking {agents}");
        }
    }
    Ok(())
}

/// What an agent tells of a host: all that one of Linux has, and not twice the same.
fn facts(number: u32, round: u32) -> Facts {
    const GIB: u64 = 1 << 30;
    let busy = f64::from(number.wrapping_add(round.wrapping_mul(7)) % 97) / 97.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "figures are as coarse as that"
    )]
    let part = busy as f32;
    let some = u64::from(number % 1024 + round);
    Facts {
        cpu: Some(part),
        cores: [part, 1.0 - part, part / 2.0, 0.5].into(),
        memory_used: Some(4 * GIB + some * 4096),
        memory_total: Some(16 * GIB),
        swap_used: Some(some * 4096),
        swap_total: Some(2 * GIB),
        disk_used: Some(40 * GIB + some * 4096),
        disk_total: Some(100 * GIB),
        disk_free: Some(55 * GIB - some * 4096),
        disk_read: Some(part * 1e6),
        disk_write: Some(part * 4e6),
        net_rx: Some(part * 1e7),
        net_tx: Some(part * 2e6),
        net_dropped: Some(0.0),
        network_up: Some(true),
        uptime_s: Some(86_400 + u64::from(round) * 5),
        load: Some(part),
        process_memory: Some(8 << 20),
        ..Facts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_tell_what_a_balancer_takes_and_in_few_bytes() {
        for (number, round) in [(0, 0), (9_999, 1), (u32::MAX, 30)] {
            let facts = facts(number, round);
            facts.check().unwrap();
            assert!(serde_json::to_vec(&facts).unwrap().len() < 1024);
        }
        assert_ne!(facts(1, 1), facts(1, 2));
    }
}

//! The balancer's own port: the agent registers, and beats.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::told::{ANSWER, Config, Ended, Tell, Told};
use crate::fleet_core::Facts;
use crate::protocol::{Hello, Message, Proof, RefusalCode, Register, Role, frame};
use crate::transport::{BoxStream, Deadlines, ReadError, Reader, plain, send_content, write_all};

/// How often the balancer is told that the agent is there, at least and at most.
const BEAT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How long a balancer may take to answer a farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection on which the agent is registered.
struct Session {
    reader: Reader<ReadHalf<BoxStream>>,
    write: WriteHalf<BoxStream>,
    beat: Duration,
}

/// Connects, registers, and tells figures until something ends.
pub(super) async fn follow(
    config: &Config,
    place: &str,
    figures: &mut Figures,
    stop: &CancellationToken,
    tell: Tell<'_>,
) -> Ended {
    let opening = async {
        let opened = timeout(ANSWER, open(config, place, tell)).await;
        opened.unwrap_or_else(|_| Err(Ended::broken(format_args!("no answer in {ANSWER:?}"))))
    };
    match stop.run_until_cancelled(opening).await {
        None => Ended::Stopped,
        Some(Err(ended)) => ended,
        Some(Ok(session)) => beat(session, figures, stop).await,
    }
}

async fn open(config: &Config, place: &str, tell: Tell<'_>) -> Result<Session, Ended> {
    let stream = config.connector.connect(place).await;
    let stream = stream.map_err(|error| Ended::broken(plain(&error)))?;
    if config.token.is_some() && !stream.is_private() {
        return Err(Ended::Refused(
            "the token is not sent in plain text to another machine: use TLS (--ca FILE), or \
             udp:// with the token, which signs and never sends it"
                .to_owned(),
        ));
    }
    let (read, mut write) = tokio::io::split(stream);
    let mut reader = Reader::new(read, Deadlines::default());
    let mut out = Vec::new();
    frame::encode_preface(&mut out);
    let hello = Message::from(Hello {
        token: config.token.clone(),
        ..Hello::of(Role::Agent)
    });
    frame::encode(&hello, 0, &mut out);
    write_all(&mut write, &out, ANSWER)
        .await
        .map_err(Ended::broken)?;
    reader.preface().await.map_err(Ended::broken)?;
    let challenge = match next(&mut reader).await? {
        Message::Hello(hello) if hello.role == Role::Balancer => {
            hello.challenge.unwrap_or_default()
        }
        Message::Hello(_) => return Err(Ended::broken("whoever answers there is no balancer")),
        other => return Err(refused(other)),
    };
    let secret = config.join_secret.as_ref();
    let every_ms = u64::try_from(config.every.as_millis()).ok();
    let register = Message::Register(Box::new(Register {
        name: config.name.clone(),
        every_ms,
        proof: secret.map(|secret| Proof::new(secret, &challenge, "", "")),
        ..Register::default()
    }));
    say(&mut write, &register).await?;
    match next(&mut reader).await? {
        Message::Registered { name, beat_ms, .. } => {
            tell(Told::Telling(Some(name)));
            let beat = Duration::from_millis(beat_ms).clamp(BEAT.0, BEAT.1);
            Ok(Session {
                reader,
                write,
                beat,
            })
        }
        other => Err(refused(other)),
    }
}

/// Tells the figures when they are due, and says in between that the agent is there.
async fn beat(mut session: Session, figures: &mut Figures, stop: &CancellationToken) -> Ended {
    let mut beats = interval(session.beat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats.reset();
    loop {
        let said = tokio::select! {
            heard = next(&mut session.reader) => match heard {
                // It is about servers.
                Ok(Message::Seen { .. }) => Ok(()),
                Ok(other) => Err(refused(other)),
                Err(ended) => Err(ended),
            },
            () = stop.cancelled() => {
                leave(session).await;
                return Ended::Stopped;
            }
            (facts, _) = figures.next() => {
                beats.reset();
                tell_facts(&mut session.write, &facts).await
            }
            _ = beats.tick() => say(&mut session.write, &Message::Beat).await,
        };
        if let Err(ended) = said {
            return ended;
        }
    }
}

async fn leave(mut session: Session) {
    let leave = Message::Leave {
        reason: "the agent stops".to_owned(),
    };
    let farewell = async {
        say(&mut session.write, &leave).await?;
        while !matches!(next(&mut session.reader).await?, Message::Bye(_)) {}
        Ok::<_, Ended>(())
    };
    let _ = timeout(FAREWELL, farewell).await;
}

async fn tell_facts(write: &mut (impl AsyncWrite + Unpin), facts: &Facts) -> Result<(), Ended> {
    let content = serde_json::to_vec(facts).map_err(Ended::broken)?;
    let mut out = Vec::new();
    frame::encode(&Message::Beat, content.len() as u64, &mut out);
    send_content(write, &mut out, &content, ANSWER)
        .await
        .map_err(Ended::broken)?;
    write_all(write, &out, ANSWER).await.map_err(Ended::broken)
}

async fn say(write: &mut (impl AsyncWrite + Unpin), message: &Message) -> Result<(), Ended> {
    let mut out = Vec::new();
    frame::encode(message, 0, &mut out);
    write_all(write, &out, ANSWER).await.map_err(Ended::broken)
}

/// The next message. A balancer may be silent for as long as it likes: beats notice that it has gone.
async fn next(reader: &mut Reader<impl AsyncRead + Unpin>) -> Result<Message, Ended> {
    loop {
        match reader.frame().await {
            Ok(Some(frame)) if frame.content_len == 0 => return Ok(frame.message),
            Ok(Some(_)) => {
                return Err(Ended::broken(
                    "it sent content that an agent does not expect",
                ));
            }
            Ok(None) => return Err(Ended::broken("it closed the connection")),
            Err(ReadError::Idle(_)) => {}
            Err(error) => return Err(Ended::broken(error)),
        }
    }
}

/// What a message means that is not the expected one.
fn refused(message: Message) -> Ended {
    match message {
        Message::Bye(refusal) if refusal.code == RefusalCode::Stopping => {
            Ended::Broken(refusal.reason)
        }
        Message::Bye(refusal) if refusal.code == RefusalCode::Malformed => Ended::Refused(format!(
            "{}: the balancer may be of a release that takes no agents; upgrade it",
            refusal.reason
        )),
        Message::Bye(refusal) => Ended::Refused(refusal.reason),
        _ => Ended::broken("it sent a message that an agent does not expect"),
    }
}

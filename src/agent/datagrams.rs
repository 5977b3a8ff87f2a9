//! Datagrams: signed with a token, or plain ones as the first datagram system's agent sends them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::old;
use super::to::Dialect;
use super::told::{ANSWER, Config, Ended, Tell, Told};
use crate::access::DatagramKey;
use crate::access::users::TokenId;
use crate::fleet::datagram::{Datagram, MAX_DATAGRAM};
use crate::fleet_core::Facts;
use crate::transport::plain;

/// Sends datagrams; their numbers go on when another socket has to be used.
pub(super) struct Sender {
    key: Option<(TokenId, DatagramKey)>,
    /// The token is none of a balancer.
    is_bad_token: bool,
    boot: String,
    seq: u64,
}

impl Sender {
    pub(super) fn new(config: &Config) -> Self {
        let token = config.token.as_ref();
        let token = token.filter(|_| config.dialect == Dialect::Native);
        let key = token.and_then(|token| DatagramKey::of_token(token).ok());
        Self {
            is_bad_token: token.is_some() && key.is_none(),
            key,
            boot: format!("{:016x}", rand::random::<u64>()),
            seq: 0,
        }
    }

    /// Sends until the socket fails.
    pub(super) async fn follow(
        &mut self,
        place: &str,
        figures: &mut Figures,
        stop: &CancellationToken,
        tell: Tell<'_>,
    ) -> Ended {
        if self.is_bad_token {
            return Ended::Refused(
                "the token is none that `bilico token create` has made: it cannot sign".to_owned(),
            );
        }
        let opening = timeout(ANSWER, open(place));
        let socket = match stop.run_until_cancelled(opening).await {
            None => return Ended::Stopped,
            Some(Ok(Ok(socket))) => socket,
            Some(Ok(Err(error))) => return Ended::broken(plain(&error)),
            Some(Err(_)) => return Ended::broken("the name is not resolved in time"),
        };
        let mut was_refused = false;
        loop {
            let next = stop.run_until_cancelled(figures.next()).await;
            let Some((facts, since)) = next else {
                return Ended::Stopped;
            };
            let bytes = match self.datagram(facts, since, figures.every()) {
                Ok(bytes) => bytes,
                Err(error) => return Ended::broken(error),
            };
            match socket.send(&bytes).await {
                // The word that nobody listens comes in the place of the next datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = socket.send(&bytes).await;
                    was_refused = true;
                    tell(Told::Away("nobody listens there".to_owned()));
                }
                Err(error) => return Ended::broken(plain(&error)),
                Ok(_) if was_refused => was_refused = false,
                Ok(_) => tell(Told::Sending),
            }
        }
    }

    /// The next datagram. Single cores are left out if it would be too long.
    fn datagram(
        &mut self,
        mut facts: Facts,
        since: Duration,
        every: Duration,
    ) -> Result<Vec<u8>, serde_json::Error> {
        self.seq += 1;
        let bytes = self.spelled(&facts, since, every)?;
        if bytes.len() <= MAX_DATAGRAM {
            return Ok(bytes);
        }
        facts.cores = Box::default();
        self.spelled(&facts, since, every)
    }

    fn spelled(
        &self,
        facts: &Facts,
        since: Duration,
        every: Duration,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let Some((token, key)) = &self.key else {
            return Ok(old::datagram(facts, since).into_bytes());
        };
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Datagram {
            v: 1,
            token: token.clone(),
            boot: self.boot.clone(),
            seq: self.seq,
            time: time.unwrap_or_default().as_secs_f64(),
            every_s: every.as_secs_f32(),
            facts: facts.clone(),
        }
        .seal(key)
    }
}

/// A socket that sends to the first address of the name.
async fn open(place: &str) -> io::Result<UdpSocket> {
    let mut found = lookup_host(place).await?;
    let to = found
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    Ok(socket)
}

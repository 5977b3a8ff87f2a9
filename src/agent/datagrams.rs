//! Datagrams: signed with a token, or plain ones as the first datagram system's agent sends them.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::old;
use super::to::Dialect;
use super::told::{ANSWER, Config, Ended, Tell, Told};
use crate::access::DatagramKey;
use crate::access::users::TokenId;
use crate::fleet::datagram::{Datagram, MAX_DATAGRAM};
use crate::fleet_core::Facts;
use crate::secret::Secret;
use crate::transport::plain;

/// How long an address is believed before its name is looked up again: a balancer may move.
const BELIEVED: Duration = Duration::from_mins(3);

/// Whether datagrams can be signed with this token: a balancer has made it, and it is whole.
pub fn can_sign(token: &Secret) -> bool {
    DatagramKey::of_token(token).is_ok()
}

/// Sends datagrams; their numbers go on when another socket has to be used.
pub(super) struct Sender {
    key: Option<(TokenId, DatagramKey)>,
    boot: String,
    seq: u64,
    /// The address in use.
    to: Option<SocketAddr>,
    /// Nobody listens there, or it cannot be reached: another address of the name has its turn.
    is_deaf: bool,
}

impl Sender {
    pub(super) fn new(config: &Config) -> Self {
        let token = config.token.as_ref();
        let token = token.filter(|_| config.dialect == Dialect::Native);
        Self {
            key: token.and_then(|token| DatagramKey::of_token(token).ok()),
            boot: format!("{:016x}", rand::random::<u64>()),
            seq: 0,
            to: None,
            is_deaf: false,
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
        let mut socket: Option<UdpSocket> = None;
        let mut looked = Instant::now();
        loop {
            if socket.is_none() || self.is_deaf || looked.elapsed() >= BELIEVED {
                let Some(found) = stop.run_until_cancelled(resolved(place)).await else {
                    return Ended::Stopped;
                };
                looked = Instant::now();
                match found.map(|found| choose(&found, self.to, self.is_deaf)) {
                    // The address that is known may still be right.
                    Err(_) if socket.is_some() => {}
                    Err(error) => return Ended::broken(plain(&error)),
                    Ok(to) if socket.is_some() && to == self.to => {}
                    Ok(to) => {
                        self.to = to;
                        match open(to).await {
                            Ok(opened) => socket = Some(opened),
                            Err(error) => return self.broken(&error),
                        }
                    }
                }
            }
            let Some(open) = &socket else { continue };
            let next = stop.run_until_cancelled(figures.next()).await;
            let Some((facts, since)) = next else {
                return Ended::Stopped;
            };
            let bytes = match self.datagram(facts, since, figures.every()) {
                Ok(bytes) => bytes,
                Err(error) => return Ended::broken(error),
            };
            match open.send(&bytes).await {
                // The word that nobody listens comes in the place of the next datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = open.send(&bytes).await;
                    self.is_deaf = true;
                    tell(Told::Away("nobody listens there".to_owned()));
                }
                Err(error) => return self.broken(&error),
                // It may be on its way to be refused.
                Ok(_) if self.is_deaf => self.is_deaf = false,
                Ok(_) => tell(Told::Sending),
            }
        }
    }

    fn broken(&mut self, error: &io::Error) -> Ended {
        self.is_deaf = true;
        Ended::broken(plain(error))
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

/// The addresses of a name.
async fn resolved(place: &str) -> io::Result<Vec<SocketAddr>> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the name is not resolved in time");
    let found = timeout(ANSWER, lookup_host(place)).await;
    Ok(found.map_err(|_| late())??.collect())
}

/// The address to use: the one in use for as long as the name has it and it works, else the next one.
fn choose(found: &[SocketAddr], last: Option<SocketAddr>, is_deaf: bool) -> Option<SocketAddr> {
    let last = last.and_then(|last| found.iter().position(|to| *to == last));
    let place = match last {
        Some(last) if is_deaf => (last + 1) % found.len(),
        Some(last) => last,
        None => 0,
    };
    found.get(place).copied()
}

/// A socket that sends to this address.
async fn open(to: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let to = to.ok_or_else(none)?;
    let from: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(to).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent once kept the first address for ever, whoever had moved or did not listen there.
    #[test]
    fn an_address_is_kept_while_it_is_the_names_and_works() {
        let [a, b, c] = [1, 2, 3].map(|last| SocketAddr::from(([10, 0, 0, last], 5005)));
        for (found, last, is_deaf, expected) in [
            (&[a, b][..], None, false, Some(a)),
            (&[b, a], Some(a), false, Some(a)),
            (&[a, b], Some(a), true, Some(b)),
            (&[a, b], Some(b), true, Some(a)),
            (&[a], Some(a), true, Some(a)),
            (&[c], Some(a), false, Some(c)),
            (&[c, b], Some(a), true, Some(c)),
            (&[], Some(a), false, None),
        ] {
            assert_eq!(choose(found, last, is_deaf), expected, "{found:?} {last:?}");
        }
    }
}

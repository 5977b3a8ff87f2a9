//! Where servers announce themselves: `HOST:PORT` without an end, and nothing comes back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::{Peer, Shared};
use crate::config::address_of;
use crate::doors::refused::Refused;
use crate::fleet::DoorName;
use crate::fleet_core::{Facts, Identity, Source, Told, Trust};
use crate::transport::BoxStream;

/// The longest announcement, in bytes.
const MAX_ANNOUNCEMENT: usize = 256;

/// Takes one announcement.
pub(super) async fn serve(mut stream: BoxStream, peer: Peer, shared: Arc<Shared>) {
    let taken = match read(&mut stream, &shared).await {
        // Somebody has looked whether the port is open.
        Ok(bytes) if bytes.is_empty() => return,
        Ok(bytes) => shared.announced_by(&bytes, peer.address.ip()),
        Err(refused) => Err(refused),
    };
    let doors = shared.fleet.doors();
    match taken {
        Ok(()) => doors.took(DoorName::Announce),
        Err(Refused(reason)) => doors.refused(DoorName::Announce, reason, &peer.address),
    }
    let _ = stream.shutdown().await;
}

/// The bytes up to the end of the connection or of a line. Who goes on neither is taken at their
/// word once their time is over.
async fn read(stream: &mut BoxStream, shared: &Shared) -> Result<Vec<u8>, Refused> {
    let ends = Instant::now() + shared.limits.announcement;
    let mut bytes = Vec::new();
    let mut came = [0; MAX_ANNOUNCEMENT + 1];
    while bytes.len() <= MAX_ANNOUNCEMENT && !bytes.ends_with(b"\n") {
        match timeout_at(ends, stream.read(&mut came)).await {
            Ok(Ok(0)) => return Ok(bytes),
            Ok(Ok(length)) => bytes.extend(came.iter().take(length)),
            Ok(Err(_)) => return Err(Refused("the connection broke")),
            Err(_) if bytes.is_empty() => return Err(Refused("silent")),
            Err(_) => return Ok(bytes),
        }
    }
    if bytes.len() > MAX_ANNOUNCEMENT {
        return Err(Refused("longer than 256 bytes"));
    }
    Ok(bytes)
}

impl Shared {
    /// A peer says that a server is there.
    fn announced_by(&self, bytes: &[u8], peer: IpAddr) -> Result<(), Refused> {
        let at = address(bytes).ok_or(Refused("no HOST:PORT with an IP address"))?;
        if !self.may_announce(peer, at.ip()) {
            return Err(Refused(
                "neither the peer's own address nor among old-announce-hosts",
            ));
        }
        self.announced.announce(at, Instant::now())?;
        self.tell(at, Some(peer), Facts::default())
            .inspect_err(|_| self.announced.forget(at, Instant::now()))
    }

    fn may_announce(&self, peer: IpAddr, host: IpAddr) -> bool {
        let (peer, host) = (peer.to_canonical(), host.to_canonical());
        let is_own = peer == host || peer.is_loopback() && host.is_loopback();
        is_own || self.hosts.iter().any(|network| network.contains(&host))
    }

    /// Tells the fleet what an announced server says. Without a peer, whoever announced it stays
    /// known.
    pub(super) fn tell(
        &self,
        at: SocketAddr,
        peer: Option<IpAddr>,
        facts: Facts,
    ) -> Result<(), Refused> {
        let address: Arc<str> = at.to_string().into();
        let told = Told {
            who: Identity::Address(address.clone()),
            name: Some(address),
            source: Source::Announced,
            trust: Trust::Claimed,
            peer,
            every: self.limits.look,
            facts,
        };
        Ok(self.fleet.told(told)?)
    }

    /// Looks again at the servers that an earlier run knew: they announce themselves once in their
    /// lives.
    pub(super) fn remember(&self) {
        for member in self.fleet.members() {
            let address = member.address.as_deref().map(address_of);
            let at = address.and_then(|address| address.parse::<SocketAddr>().ok());
            let peer = member.host.and_then(|host| host.parse().ok());
            if let (Source::Announced, Some(at)) = (member.source, at)
                && self.may_announce(peer.unwrap_or(at.ip()), at.ip())
            {
                // One that has no place is not looked at.
                let _ = self.announced.announce(at, Instant::now());
            }
        }
    }
}

/// The address in an announcement.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(bytes).ok()?;
    let address: SocketAddr = text.trim().parse().ok()?;
    let is_one = address.port() != 0 && !address.ip().is_unspecified();
    is_one.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_an_address() {
        let original = b"\x31\x32\x37\x2E\x30\x2E\x30\x2E\x31\x3A\x35\x30\x35\x30";
        assert_eq!(address(original).unwrap().to_string(), "127.0.0.1:5050");
        assert_eq!(address(b" [::1]:5050\r\n").unwrap().port(), 5050);
        for wrong in [
            &b""[..],
            b"127.0.0.1",
            b"127.0.0.1:",
            b"127.0.0.1:0",
            b"127.0.0.1:65536",
            b"127.0.0.1:5050x",
            b"127.0.0.1:5050127.0.0.1:5051",
            b"localhost:5050",
            b"0.0.0.0:5050",
            b"[::]:5050",
            b"\xff\xfe",
            b"{}",
        ] {
            assert_eq!(address(wrong), None, "{wrong:?}");
        }
    }
}

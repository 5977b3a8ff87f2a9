//! Where an agent tells its figures, and in whose words.

use std::fmt;
use std::str::FromStr;

use crate::config::parse_address;
use crate::text::excerpt;

/// Where an agent tells its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// The balancer's own port, `HOST:PORT`.
    Native(String),
    /// The doorway for datagrams.
    Udp(String),
    /// The doorway for tokens and WebSocket, in plain text.
    Web(String),
    /// The same over TLS.
    SecureWeb(String),
}

/// Whose words an agent uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Those of this program.
    #[default]
    Native,
    /// Those of the first systems' agents, for their servers.
    Old,
}

/// A text that says no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTo {
    /// It begins with something else.
    #[error(
        "`{0}` is no place for figures: expected HOST:PORT, udp://HOST:PORT, wss://HOST:PORT or \
         ws://HOST:PORT"
    )]
    Kind(String),
    /// There is no host, or no port.
    #[error("`{0}` has no port: expected HOST:PORT")]
    Port(String),
}

impl FromStr for To {
    type Err = BadTo;

    fn from_str(text: &str) -> Result<Self, BadTo> {
        let short = |text: &str| excerpt(text).into_owned();
        let (kind, rest) = text.split_once("://").unwrap_or(("", text));
        let place = rest.strip_suffix('/').unwrap_or(rest);
        let make = match kind {
            "" => Self::Native,
            "udp" => Self::Udp,
            "ws" | "http" => Self::Web,
            "wss" | "https" => Self::SecureWeb,
            _ => return Err(BadTo::Kind(short(text))),
        };
        // The place goes into heads of HTTP as it stands.
        let is_more = |c: char| "/@?#".contains(c) || c.is_whitespace() || c.is_control();
        if place.contains(is_more) {
            return Err(BadTo::Kind(short(text)));
        }
        let is_port_0 = |place: &str| {
            let port = place.rsplit(':').next();
            port.and_then(|port| port.parse().ok()) == Some(0_u16)
        };
        match parse_address(place) {
            Ok(place) if !is_port_0(&place) => Ok(make(place)),
            _ => Err(BadTo::Port(short(text))),
        }
    }
}

impl fmt::Display for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(place) => f.write_str(place),
            Self::Udp(place) => write!(f, "udp://{place}"),
            Self::Web(place) => write!(f, "ws://{place}"),
            Self::SecureWeb(place) => write!(f, "wss://{place}"),
        }
    }
}

//! What somebody hears who speaks another protocol than the port they came to.
//!
//! Owns how such a peer is recognised and in which words it is told, in its own protocol, so that its
//! user sees a sentence instead of a closed connection. Nothing that it says is kept, and it is
//! waited for only as long as what it said may still be the beginning of something known.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, Instant, timeout_at};

use super::deadline::ProgressDeadline;
use super::error::ReadError;
use super::reader::Reader;
use super::send::write_all;
use super::tls;
use bilico_core::protocol::frame::MAGIC;
use bilico_core::protocol::limits::LINGER;
use bilico_core::protocol::{Message, Refusal, RefusalCode, frame};

/// What a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// HTTP.
    Http,
    /// SSH, and SFTP over it.
    Ssh,
    /// FTP, SMTP and others whose commands are lines and whose answers begin with a number.
    Lines,
    /// TLS, where there is none.
    Tls,
    /// Bilico's own protocol.
    Native,
    /// The JSON objects of old-style peers.
    Json,
}

impl Foreign {
    /// Its name, for the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "an HTTP request",
            Self::Ssh => "SSH",
            Self::Lines => "a command of FTP or SMTP",
            Self::Tls => "TLS",
            Self::Native => "Bilico's own protocol",
            Self::Json => "a JSON object",
        }
    }
}

/// How much is known of what a peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It speaks this.
    Is(Foreign),
    /// More of it will tell.
    Perhaps,
    /// Nothing that is known.
    Nothing,
}

/// The most bytes that are looked at.
const MOST: usize = 512;

/// How long more of them are waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Commands with which clients of FTP and SMTP begin.
const COMMANDS: [&str; 12] = [
    "USER", "PASS", "AUTH", "FEAT", "SYST", "QUIT", "HELP", "NOOP", "OPTS", "EHLO", "HELO", "LIST",
];

/// The longest method of HTTP that is looked for.
const LONGEST_METHOD: usize = 20;

/// Recognises what a peer speaks by the first bytes that it sent.
pub fn hear(bytes: &[u8]) -> Heard {
    let Some(first) = bytes.first() else {
        return Heard::Perhaps;
    };
    match *first {
        tls::FIRST_BYTE => return Heard::Is(Foreign::Tls),
        byte if byte == MAGIC[0] => return Heard::Is(Foreign::Native),
        b'{' => return Heard::Is(Foreign::Json),
        b'A'..=b'Z' => {}
        _ => return Heard::Nothing,
    }
    if b"SSH-".starts_with(bytes) {
        return Heard::Perhaps;
    }
    if bytes.starts_with(b"SSH-") {
        return Heard::Is(Foreign::Ssh);
    }
    let len = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    let (word, rest) = bytes.split_at(len.count());
    if word.len() > LONGEST_METHOD {
        return Heard::Nothing;
    }
    match rest {
        [] => Heard::Perhaps,
        [b' ' | b'\r' | b'\n', ..] if COMMANDS.iter().any(|known| known.as_bytes() == word) => {
            Heard::Is(Foreign::Lines)
        }
        // `GET / HTTP/1.1`, and the beginning of HTTP/2.
        [b' ', b'/' | b'*', ..] => Heard::Is(Foreign::Http),
        [b' ', target @ ..] if target.len() < 4 => Heard::Perhaps,
        [b' ', target @ ..] if target.starts_with(b"http") || word == b"CONNECT" => {
            Heard::Is(Foreign::Http)
        }
        _ => Heard::Nothing,
    }
}

/// What a port says to whom it does not understand.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// What it is for.
    pub here: &'a str,
    /// Where to go instead.
    pub hint: &'a str,
}

impl Words<'_> {
    /// The same in the peer's protocol.
    pub fn to(&self, foreign: Foreign) -> Vec<u8> {
        let Self { here, hint } = self;
        match foreign {
            Foreign::Http => {
                let body = serde_json::json!({"error": here, "hint": hint});
                let body = format!("{body}\n");
                let len = body.len();
                format!(
                    "HTTP/1.1 421 Misdirected Request\r\nContent-Type: application/json\r\n\
                     Content-Length: {len}\r\nConnection: close\r\n\r\n{body}"
                )
                .into_bytes()
            }
            // What comes before a server's version is for people.
            Foreign::Ssh => format!("{here}; {hint}\r\n").into_bytes(),
            Foreign::Lines => format!("421 {here}; {hint}\r\n").into_bytes(),
            // A fatal alert: handshake_failure.
            Foreign::Tls => vec![0x15, 3, 1, 0, 2, 2, 40],
            Foreign::Native => {
                let reason = format!("{here}; {hint}");
                let refusal = Refusal::new(RefusalCode::Malformed, reason);
                let mut out = Vec::new();
                frame::encode_preface(&mut out);
                frame::encode(&Message::Bye(refusal), 0, &mut out);
                out
            }
            Foreign::Json => {
                let line = serde_json::json!({"error": here, "hint": hint});
                format!("{line}\n").into_bytes()
            }
        }
    }
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// If the peer, which has said something already, speaks a protocol of others: tells it so.
    pub async fn refuse_foreign(
        &mut self,
        write: impl AsyncWrite + Unpin,
        words: &Words<'_>,
    ) -> Option<ReadError> {
        let foreign = self.hear().await?;
        let error = match foreign {
            Foreign::Native | Foreign::Json => return None,
            Foreign::Tls => ReadError::TlsIsOff,
            other => ReadError::Foreign(other.name()),
        };
        self.turn_away(write, foreign, words).await;
        Some(error)
    }

    /// What a peer speaks that has said something already.
    async fn hear(&mut self) -> Option<Foreign> {
        let ends = Instant::now() + PATIENCE;
        let mut deadline = ProgressDeadline::default();
        loop {
            match hear(&self.buffer) {
                Heard::Is(foreign) => return Some(foreign),
                Heard::Perhaps if self.buffer.len() < MOST => {
                    let more = timeout_at(ends, self.fill(&mut deadline, 1)).await;
                    if !matches!(more, Ok(Ok(()))) {
                        return None;
                    }
                }
                Heard::Perhaps | Heard::Nothing => return None,
            }
        }
    }

    /// Tells a peer in its own protocol that it is wrong here, and reads on for a moment so that it
    /// gets to hear that.
    async fn turn_away(
        &mut self,
        mut write: impl AsyncWrite + Unpin,
        foreign: Foreign,
        words: &Words<'_>,
    ) {
        use tokio::io::AsyncWriteExt as _;
        // It may have gone; it is turned away all the same.
        if write_all(&mut write, &words.to(foreign), PATIENCE)
            .await
            .is_ok()
        {
            let _ = write.shutdown().await;
            self.linger(LINGER).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_known_by_how_they_begin() {
        use Foreign::{Http, Json, Lines, Native, Ssh, Tls};
        for (bytes, foreign) in [
            (&b"GET / HTTP/1.1\r\n"[..], Http),
            (b"PUT /files/x HTTP/1.1\r\nHost", Http),
            (b"PROPFIND /", Http),
            (b"OPTIONS *", Http),
            (b"GET http://x/ HTTP/1.1", Http),
            (b"CONNECT example.com:443 HTTP/1.1", Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Http),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Ssh),
            (b"USER anonymous\r\n", Lines),
            (b"QUIT\r\n", Lines),
            (b"EHLO x\r\n", Lines),
            (b"\x16\x03\x01", Tls),
            (b"\xb1", Native),
            (b"{", Json),
        ] {
            assert_eq!(hear(bytes), Heard::Is(foreign), "{bytes:?}");
            // No beginning of it is taken for something else.
            for len in 0..bytes.len() {
                let heard = hear(&bytes[..len]);
                let is_fine = matches!(heard, Heard::Perhaps) || heard == Heard::Is(foreign);
                assert!(is_fine, "{:?}: {heard:?}", &bytes[..len]);
            }
        }
        for bytes in [
            &b"nonsense"[..],
            b"Get / HTTP/1.1",
            b"GET;",
            b"X x=1 y",
            b"AAAAAAAAAAAAAAAAAAAAAAAA",
            b"\0",
            b" {",
            b"[1]",
        ] {
            assert_eq!(hear(bytes), Heard::Nothing, "{bytes:?}");
        }
    }

    #[test]
    fn each_hears_it_in_its_own_protocol() {
        let words = Words {
            here: "not \"here\"",
            hint: "there",
        };
        let to = |foreign| String::from_utf8_lossy(&words.to(foreign)).into_owned();
        let http = to(Foreign::Http);
        let (head, body) = http.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert_eq!(
            body,
            "{\"error\":\"not \\\"here\\\"\",\"hint\":\"there\"}\n"
        );
        assert_eq!(to(Foreign::Lines), "421 not \"here\"; there\r\n");
        assert!(to(Foreign::Native).contains("bye"));
    }
}

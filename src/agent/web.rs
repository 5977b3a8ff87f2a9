//! An OAuth 2.0 token, and figures over WebSocket.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::figures::Figures;
use super::old;
use super::to::Dialect;
use super::told::{ANSWER, Config, Ended, Tell, Told};
use crate::fleet_core::Facts;
use crate::secret::Secret;
use crate::text::excerpt;
use crate::transport::tls::HandshakeError;
use crate::transport::{BoxStream, plain};
use crate::websocket::accept;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// The longest body of an answer that is read, in bytes.
const MAX_BODY: u64 = 64 * 1024;

/// The largest message that is taken: nobody has to say much to an agent.
const MAX_MESSAGE: usize = 64 * 1024;

/// Where figures go.
const METRICS: &str = "/metrics";

/// Where they go in the words of the first WebSocket system.
const CRD: &str = "/crd/";

/// Gets a token, opens a WebSocket, and tells figures until something ends.
pub(super) async fn follow(
    config: &Config,
    place: &str,
    figures: &mut Figures,
    stop: &CancellationToken,
    tell: Tell<'_>,
) -> Ended {
    let opening = timeout(ANSWER, open(config, place));
    let mut socket = match stop.run_until_cancelled(opening).await {
        None => return Ended::Stopped,
        Some(Err(_)) => return Ended::broken(format_args!("no answer in {ANSWER:?}")),
        Some(Ok(Err(ended))) => return ended,
        Some(Ok(Ok(socket))) => socket,
    };
    tell(Told::Telling(None));
    loop {
        let sent = tokio::select! {
            heard = socket.next() => match heard {
                // It answers pings by itself.
                Some(Ok(message)) if !message.is_close() => continue,
                Some(Ok(message)) => return closed(&message),
                Some(Err(error)) => return Ended::broken(error),
                None => return Ended::broken("it closed the connection"),
            },
            () = stop.cancelled() => {
                let close = Message::close(None, "");
                let _ = timeout(Duration::from_secs(1), socket.send(close)).await;
                return Ended::Stopped;
            }
            (facts, _) = figures.next() => {
                let words = words(config.dialect, &facts, figures.every());
                timeout(ANSWER, socket.send(Message::text(words))).await
            }
        };
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Ended::broken(error),
            Err(_) => return Ended::broken("it reads nothing"),
        }
    }
}

/// Why the other side has closed.
fn closed(message: &Message) -> Ended {
    let reason = message.as_close().map_or("", |(_, reason)| reason);
    if reason.is_empty() {
        Ended::broken("it closed the connection")
    } else {
        Ended::Refused(excerpt(reason).into_owned())
    }
}

/// What is told in this program's words.
#[derive(Serialize)]
struct Words<'a> {
    /// Seconds until the next message.
    every_s: f64,
    #[serde(flatten)]
    facts: &'a Facts,
}

/// The figures as a message.
fn words(dialect: Dialect, facts: &Facts, every: Duration) -> String {
    let words = Words {
        every_s: every.as_secs_f64(),
        facts,
    };
    match dialect {
        Dialect::Old => old::crd(facts),
        Dialect::Native => serde_json::to_string(&words).unwrap_or_default(),
    }
}

async fn open(config: &Config, place: &str) -> Result<WebSocketStream<BoxStream>, Ended> {
    let token = match (&config.user, &config.token) {
        (Some(user), Some(secret)) => Some(get_token(config, place, user, secret).await?),
        (_, token) => token.clone(),
    };
    let mut stream = connect(config, place).await?;
    let key = Base64::encode_string(&rand::random::<[u8; 16]>());
    let path = match config.dialect {
        Dialect::Native => METRICS,
        Dialect::Old => CRD,
    };
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
    );
    if let Some(token) = &token {
        let _ = write!(request, "Authorization: Bearer {}\r\n", token.reveal());
    }
    request.push_str("\r\n");
    let head = exchange(&mut stream, &request).await?;
    if head.status != 101 {
        let body = body(&mut stream, &head).await;
        return Err(refused("WebSocket", head.status, &body));
    }
    if head.get("sec-websocket-accept") != Some(&*accept(key.as_bytes())) {
        return Err(Ended::broken("its WebSocket handshake is wrong"));
    }
    let limits = Limits::default().max_payload_len(Some(MAX_MESSAGE));
    Ok(ClientBuilder::new().limits(limits).take_over(stream))
}

async fn connect(config: &Config, place: &str) -> Result<BoxStream, Ended> {
    let stream = config.connector.connect(place).await;
    let stream = stream.map_err(|error| unconnected(&error))?;
    if config.token.is_some() && !stream.is_private() {
        return Err(Ended::Refused(
            "a token is not sent in plain text to another machine: use wss:// with --ca FILE, udp:// \
             with the token, which signs and never sends it, or a tunnel"
                .to_owned(),
        ));
    }
    Ok(stream)
}

/// Why there is no connection, and what may help.
fn unconnected(error: &io::Error) -> Ended {
    let inside = error.get_ref().and_then(|inside| inside.downcast_ref());
    let remedy = match inside {
        Some(HandshakeError::NotTls) => {
            " Then start the balancer with --tls, or use ws:// on its own machine or through a tunnel"
        }
        _ => "",
    };
    Ended::broken(format_args!("{}{remedy}", plain(error)))
}

/// What is asked for when a token is wanted.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

/// Gets a token for a user and a secret.
async fn get_token(
    config: &Config,
    place: &str,
    user: &str,
    secret: &Secret,
) -> Result<Secret, Ended> {
    let (user, secret) = (encoded(user), encoded(secret.reveal()));
    let form = match config.dialect {
        Dialect::Native => {
            format!("grant_type=client_credentials&client_id={user}&client_secret={secret}")
        }
        Dialect::Old => format!("username={user}&password={secret}"),
    };
    let mut stream = connect(config, place).await?;
    // Version 1.0: the answer comes in one piece.
    let request = format!(
        "POST /token HTTP/1.0\r\nHost: {place}\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    let head = exchange(&mut stream, &request).await?;
    let body = body(&mut stream, &head).await;
    if head.status != 200 {
        return Err(refused("the request for a token", head.status, &body));
    }
    let granted: Granted = serde_json::from_slice(&body)
        .map_err(|_| Ended::broken("its answer to the request for a token has no access_token"))?;
    let token = granted.access_token;
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Ended::broken("its access_token is none"));
    }
    Ok(Secret::from(token))
}

/// A text as it stands in a form.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let is_http = first.next()?.starts_with("HTTP/1.");
        let status = first.next()?.parse().ok().filter(|_| is_http)?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Self {
            status,
            fields: lines.filter_map(field).collect(),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|field| field.0 == name);
        field.map(|field| &*field.1)
    }
}

/// Sends a request, and reads the head of the answer. What follows stays in the stream.
async fn exchange(stream: &mut BoxStream, request: &str) -> Result<Head, Ended> {
    let write = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    write.await.map_err(|error| Ended::broken(plain(&error)))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) if head.len() < MAX_HEAD => head.push(byte),
            Ok(_) => return Err(Ended::broken("the head of its answer is too long")),
            Err(_) => return Err(Ended::broken("it closed the connection without an answer")),
        }
    }
    let text = String::from_utf8_lossy(&head);
    Head::read(&text).ok_or_else(|| Ended::broken("whoever answers there speaks no HTTP"))
}

/// The body of an answer, as much of it as came.
async fn body(stream: &mut BoxStream, head: &Head) -> Vec<u8> {
    let length = head
        .get("content-length")
        .and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    let most = length.unwrap_or(MAX_BODY).min(MAX_BODY);
    let until = Instant::now() + Duration::from_secs(2);
    let _ = tokio::time::timeout_at(until, stream.take(most).read_to_end(&mut body)).await;
    body
}

/// Why the other side does not let the agent in, in its own words if it has said some.
fn refused(what: &str, status: u16, body: &[u8]) -> Ended {
    let said: Option<Value> = serde_json::from_slice(body).ok();
    let field = |name: &str| said.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let text = String::from_utf8_lossy(body);
    let is_plain = said.is_none() && !text.trim_start().starts_with('<');
    let reason = ["error_description", "reason", "detail", "error"]
        .into_iter()
        .find_map(field)
        .or_else(|| Some(text.trim().to_owned()).filter(|text| is_plain && !text.is_empty()));
    let mut text = format!("{what} is answered with status {status}");
    for said in [reason, field("hint")].into_iter().flatten() {
        let _ = write!(text, ": {}", excerpt(&said));
    }
    if (400..500).contains(&status) {
        Ended::Refused(text)
    } else {
        Ended::Broken(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_refusals_told_in_their_own_words() {
        let head = Head::read("HTTP/1.1 401 Unauthorized\r\nContent-Length: 7\r\nX:y\r\n\r\n");
        let head = head.unwrap();
        assert_eq!((head.status, head.get("content-length")), (401, Some("7")));
        for none in [
            "",
            "SSH-2.0-x",
            "HTTP/1.1",
            "HTTP/1.1 x y",
            "220 hello\r\n\r\n",
        ] {
            assert_eq!(Head::read(none), None, "{none}");
        }
        let told = |status, body: &str| refused("it", status, body.as_bytes());
        for (status, body, expected) in [
            (
                401,
                "bad token\n",
                "it is answered with status 401: bad token",
            ),
            (403, "<html>", "it is answered with status 403"),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"wrong"}"#,
                "it is answered with status 400: wrong",
            ),
            (
                422,
                r#"{"detail":"Login ou mot de passe incorrect"}"#,
                "it is answered with status 422: Login ou mot de passe incorrect",
            ),
            (404, "[]", "it is answered with status 404"),
            (
                400,
                r#"{"error":"plain text","hint":"use TLS"}"#,
                "it is answered with status 400: plain text: use TLS",
            ),
        ] {
            assert_eq!(told(status, body), Ended::Refused(expected.to_owned()));
        }
        let broken = Ended::Broken("it is answered with status 503".to_owned());
        assert_eq!(told(503, ""), broken);
        assert_eq!(encoded("s3cret pass&word"), "s3cret%20pass%26word");
    }
}

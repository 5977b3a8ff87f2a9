//! The way from a command to a running balancer: its admin API over HTTP, and its live events.
//!
//! Everything blocks: commands have nothing else to do meanwhile, and the prompt has threads for
//! it. What answers may be anything that happens to listen there, so all that is read is bounded.

use std::fmt::{Display, Write};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Request, Response, StatusCode};
use ureq::{Agent, Body};

use super::output::{Exit, Failure, say, say_json};
use super::settings::values::{ADMIN, address};
use crate::admin::types::{ErrorBody, Overview, Server, ServerList, State};
use crate::balancer::events::Event;
use crate::protocol::object;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take; the balancer itself gives up on one before.
const ANSWER: Duration = Duration::from_secs(20);

/// How long events may be silent. A balancer gives a sign of life every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);

/// The largest answer, or event, that is read: ten thousand servers take a quarter of it.
const MAX_ANSWER: u64 = 64 << 20;

/// The first and the longest time between two attempts to reach a balancer that was there before.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How old an answer may be when it is given: the balancer keeps it for others who ask, too.
const KEPT: Duration = Duration::from_secs(1);

/// What a server's name may show of itself in a path; everything else is percent-encoded.
const PLAIN: &[u8] = b"-._~";

/// Where the balancer answers operators.
#[derive(Debug, Clone, Args)]
pub(super) struct AdminArg {
    /// Where the balancer answers operators
    #[arg(long, value_name = "ADDR", default_value = ADMIN, value_parser = address, env = "BILICO_ADMIN")]
    pub(super) admin: String,
}

/// What every command has that gives an order.
#[derive(Debug, Clone, Args)]
pub(super) struct OrderArgs {
    #[command(flatten)]
    pub(super) admin: AdminArg,
    /// Print the answer as a JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Print nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(super) quiet: bool,
}

impl OrderArgs {
    /// Says what holds now: in words, or as the balancer's answer.
    pub(super) fn tell(&self, answer: &impl Serialize, words: impl Display) -> Result<(), Failure> {
        if self.json {
            say_json(
                serde_json::to_string(answer).map_err(|error| Failure::new(Exit::Failed, error))?,
            );
        } else if !self.quiet {
            say(words);
        }
        Ok(())
    }
}

/// A balancer's admin API.
#[derive(Debug, Clone)]
pub(super) struct Api {
    agent: Agent,
    at: String,
}

impl Api {
    /// The API at this address; nothing is asked yet.
    pub(super) fn new(at: &AdminArg) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // It is on this machine: a proxy would not find it.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("bilico/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE))
            .build();
        Self {
            agent: config.new_agent(),
            at: at.admin.clone(),
        }
    }

    pub(super) fn overview(&self) -> Result<Overview, Failure> {
        self.get("overview")
    }

    pub(super) fn servers(&self) -> Result<Vec<Server>, Failure> {
        Ok(self.get::<ServerList>("servers")?.servers)
    }

    /// One server; `None` if there is none of this name.
    pub(super) fn server(&self, name: &str) -> Result<Option<Server>, Failure> {
        let response = self.request("GET", &server_path(name), None, &[])?;
        if response.status() == StatusCode::NOT_FOUND {
            Ok(None)
        } else {
            self.answer(response).map(Some)
        }
    }

    /// Asks for something under `/api/v1/`.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.answer(self.request("GET", path, None, &[])?)
    }

    /// Gives an order.
    pub(super) fn order<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let body = body
            .map(serde_json::to_vec)
            .transpose()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        self.answer(self.request(method, path, body, &[])?)
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, String)],
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}/api/v1/{path}", self.at));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // An order without a body has one of no bytes.
        let body = body.or_else(|| (method == "POST").then(Vec::new));
        let response = match body {
            Some(body) => request
                .body(body)
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
            None => request
                .body(())
                .map_err(ureq::Error::from)
                .and_then(|request| self.agent.run(request)),
        };
        response.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            ureq::Error::Timeout(_) => "it does not answer in time".to_owned(),
            other => other.to_string(),
        };
        let error = format!(
            "cannot reach the balancer's admin listener at {}: {why}",
            self.at
        );
        Failure::new(Exit::Unreachable, error)
            .hint("is a balancer running there? its second line says \"admin on …\"")
    }

    /// Reads an answer, or why there is none.
    fn answer<T: DeserializeOwned>(&self, response: Response<Body>) -> Result<T, Failure> {
        let status = response.status();
        let mut bytes = Vec::new();
        let read = response
            .into_body()
            .into_reader()
            .take(MAX_ANSWER)
            .read_to_end(&mut bytes);
        read.map_err(|error| self.unreachable(&ureq::Error::Io(error)))?;
        if status.is_success() {
            return object::from_slice(&bytes).map_err(|error| self.strange(&error));
        }
        match object::from_slice::<ErrorBody>(&bytes) {
            Ok(ErrorBody { error, hint }) => {
                let failure = Failure::new(Exit::Failed, error);
                Err(match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                })
            }
            Err(_) => Err(self.strange(&status)),
        }
    }

    fn strange(&self, what: &dyn Display) -> Failure {
        let error = format!(
            "what answers at {} is not a balancer's admin listener: {what}",
            self.at
        );
        Failure::new(Exit::Failed, error)
            .hint("a balancer's second line says \"admin on …\"; pass that as --admin")
    }

    /// Finds the server that is meant: by its full name, by the end of it behind a colon, or by any
    /// part of it that no other one has.
    pub(super) fn resolve(&self, meant: &str) -> Result<String, Failure> {
        let servers = self.servers()?;
        let names: Vec<&str> = servers
            .iter()
            .map(|server| server.report.name.as_str())
            .collect();
        resolve(meant, &names).map(str::to_owned)
    }
}

/// The path of a server, its name encoded.
pub(super) fn server_path(name: &str) -> String {
    let mut path = "servers/".to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to text cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

fn resolve<'a>(meant: &str, names: &[&'a str]) -> Result<&'a str, Failure> {
    let port = meant.strip_prefix(':').unwrap_or(meant);
    let is_exact = |name: &&str| *name == meant;
    let is_port = |name: &&str| {
        name.rsplit_once(':')
            .is_some_and(|(_, found)| found == port)
    };
    let contains_it = |name: &&str| !meant.is_empty() && name.contains(meant);
    let ways: [&dyn Fn(&&str) -> bool; 3] = [&is_exact, &is_port, &contains_it];
    let found = ways
        .iter()
        .map(|is| names.iter().copied().filter(is).collect::<Vec<_>>())
        .find(|found| !found.is_empty());
    match found.as_deref() {
        Some([one]) => Ok(one),
        Some(several) => Err(Failure::new(
            Exit::Failed,
            format!("{meant:?} may be any of {} servers", several.len()),
        )
        .hint(format!("write more of its name: {}", list(several)))),
        None => {
            let failure = Failure::new(Exit::Failed, format!("there is no server {meant:?}"));
            let nearest = names
                .iter()
                .map(|name| (strsim::damerau_levenshtein(name, meant), *name))
                .min();
            Err(match nearest {
                None => failure.hint("the balancer has no servers"),
                Some((changes, name)) if changes <= 2 => {
                    failure.hint(format!("did you mean {name}?"))
                }
                Some(_) => failure.hint(format!("there are {}", list(names))),
            })
        }
    }
}

/// Some names; not all, if they are many.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let shown = names
        .iter()
        .take(SHOWN)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

/// What comes while events are listened to.
#[derive(Debug)]
pub(super) enum Heard {
    /// The state of everything.
    State(Box<State>, String),
    /// Something happened.
    Event(Event, String),
    /// The balancer is away, and why.
    Lost(String),
    /// It is there again; whether it is another process.
    Back { restarted: bool },
}

/// Listens to a balancer's events until told to stop, and comes back to it when it was away.
/// `notices_after` is the last notice that is known. An error if it is not there to begin with.
pub(super) fn listen(
    api: &Api,
    with_states: bool,
    mut notices_after: u64,
    mut tell: impl FnMut(Heard) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let mut process = Process::find(api)?;
    let mut events = Some(Events::open(api, with_states, notices_after)?);
    let mut pause = AGAIN.0;
    loop {
        let lost = match &mut events {
            Some(events) => match events.next() {
                Ok(Some(event)) => {
                    pause = AGAIN.0;
                    let Some(heard) = event.read() else { continue };
                    if let Heard::Event(notice, _) = &heard {
                        notices_after = notice.id;
                    }
                    if tell(heard).is_break() {
                        return Ok(());
                    }
                    continue;
                }
                Ok(None) => "the connection was closed".to_owned(),
                Err(error) => error.to_string(),
            },
            None => String::new(),
        };
        if events.take().is_some() && tell(Heard::Lost(lost)).is_break() {
            return Ok(());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(AGAIN.1);
        let Ok(found) = Process::find(api) else {
            continue;
        };
        // Another process counts its notices from the beginning.
        let restarted = !found.is(&process);
        if restarted {
            notices_after = 0;
        }
        let Ok(opened) = Events::open(api, with_states, notices_after) else {
            continue;
        };
        (process, events) = (found, Some(opened));
        if tell(Heard::Back { restarted }).is_break() {
            return Ok(());
        }
    }
}

/// Which process a balancer is.
#[derive(Debug, Clone, Copy)]
struct Process {
    pid: u32,
    uptime: Duration,
    asked: Instant,
    answered: Instant,
}

impl Process {
    fn find(api: &Api) -> Result<Self, Failure> {
        let asked = Instant::now();
        let overview = api.overview()?;
        let uptime = Duration::try_from_secs_f64(overview.uptime_s).unwrap_or_default();
        Ok(Self {
            pid: overview.pid,
            uptime,
            asked,
            answered: Instant::now(),
        })
    }

    /// Whether it is the one that was found earlier. In a container every one may have the same id,
    /// but one that has gone on has been up for longer by the time between the two, however long
    /// the answers took.
    fn is(&self, earlier: &Self) -> bool {
        let between = self.asked.saturating_duration_since(earlier.answered);
        self.pid == earlier.pid && self.uptime + KEPT >= earlier.uptime + between
    }
}

/// A stream of events (Server-Sent Events).
struct Events {
    reader: BufReader<Box<dyn Read + Send>>,
}

/// An event as it came.
#[derive(Debug, Default, PartialEq, Eq)]
struct StreamEvent {
    kind: String,
    data: String,
}

impl StreamEvent {
    /// What it says; events of kinds that are not known here say nothing.
    fn read(self) -> Option<Heard> {
        match self.kind.as_str() {
            "state" => Some(Heard::State(object::from_str(&self.data).ok()?, self.data)),
            "notice" => Some(Heard::Event(object::from_str(&self.data).ok()?, self.data)),
            _ => None,
        }
    }
}

impl Events {
    fn open(api: &Api, with_states: bool, notices_after: u64) -> Result<Self, Failure> {
        let path = if with_states {
            "events"
        } else {
            "events?only=notice"
        };
        let headers = [
            ("accept", "text/event-stream".to_owned()),
            ("last-event-id", notices_after.to_string()),
        ];
        let response = api.request("GET", path, None, &headers)?;
        if !response.status().is_success() {
            return Err(match api.answer::<Value>(response) {
                Err(failure) => failure,
                Ok(_) => api.strange(&"no events"),
            });
        }
        Ok(Self {
            reader: BufReader::new(Box::new(response.into_body().into_reader())),
        })
    }

    /// Waits for the next event; `None` at the end.
    fn next(&mut self) -> io::Result<Option<StreamEvent>> {
        let (mut event, mut read) = (StreamEvent::default(), 0);
        loop {
            let mut line = Vec::new();
            let len = (&mut self.reader)
                .take(MAX_ANSWER - read)
                .read_until(b'\n', &mut line)?;
            read += len as u64;
            let Some(text) = line.strip_suffix(b"\n") else {
                let is_end = read < MAX_ANSWER;
                return if is_end {
                    Ok(None)
                } else {
                    Err(io::Error::other("an event is too large"))
                };
            };
            let text = String::from_utf8_lossy(text);
            let text = text.trim_end_matches('\r');
            if text.is_empty() {
                if !event.data.is_empty() {
                    return Ok(Some(event));
                }
                (event, read) = (StreamEvent::default(), 0);
                continue;
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.kind),
                "data" if event.data.is_empty() => value.clone_into(&mut event.data),
                "data" => event.data = format!("{}\n{value}", event.data),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn servers_by_their_name_or_a_part_of_it() {
        let names = [
            "127.0.0.1:5001",
            "127.0.0.1:15001",
            "[::1]:5003",
            "store.example:7000",
        ];
        for (meant, name) in [
            ("127.0.0.1:5001", names[0]),
            (":5001", names[0]),
            ("5001", names[0]),
            ("15001", names[1]),
            ("1500", names[1]),
            ("::1", names[2]),
            ("store", names[3]),
        ] {
            assert_eq!(resolve(meant, &names).unwrap(), name, "{meant}");
        }
        let failed = |meant| {
            let failure = resolve(meant, &names).unwrap_err();
            format!("{} / {}", failure.error, failure.hint.unwrap_or_default())
        };
        assert!(
            failed("127.0.0.1").contains("127.0.0.1:5001, 127.0.0.1:15001"),
            "{}",
            failed("127.0.0.1")
        );
        assert!(
            failed("127.0.0.1:5002").contains("did you mean 127.0.0.1:5001?"),
            "{}",
            failed("127.0.0.1:5002")
        );
        assert!(failed("elsewhere").contains("store.example:7000"));
        assert!(failed("").contains("there is no server"));
        assert!(
            resolve("x", &[])
                .unwrap_err()
                .hint
                .unwrap()
                .contains("no servers")
        );
        assert_eq!(server_path("[::1]:5003"), "servers/%5B%3A%3A1%5D%3A5003");
    }

    /// Answers one request with these bytes, and gives the API there.
    fn answering(answer: &'static str) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        Api::new(&AdminArg { admin })
    }

    #[test]
    fn refusals_come_in_the_balancers_words() {
        let api = answering(
            "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"error\":\"a\",\"hint\":\"b\"}",
        );
        let failure = api.order::<Value>("POST", "servers", Some(&1)).unwrap_err();
        assert_eq!(
            (
                failure.error.as_str(),
                failure.hint.as_deref(),
                failure.exit
            ),
            ("a", Some("b"), Exit::Failed)
        );
    }

    #[test]
    fn what_is_no_balancer_is_told_apart_from_nothing() {
        for answer in [
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>",
            "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
        ] {
            let failure = answering(answer).overview().unwrap_err();
            assert!(
                failure.error.contains("is not a balancer's admin listener"),
                "{failure:?}"
            );
        }
        for answer in ["SSH-2.0-OpenSSH\r\n", ""] {
            assert_eq!(
                answering(answer).overview().unwrap_err().exit,
                Exit::Unreachable
            );
        }
    }

    #[test]
    fn events_over_any_number_of_lines() {
        let stream = ": hello\n\nevent: a\ndata: 1\n\nid: 7\r\nevent:b\r\ndata: 2\r\ndata: 3\r\n\r\nevent: c\n\ndata: half";
        let mut events = Events {
            reader: BufReader::new(Box::new(stream.as_bytes())),
        };
        let event = |kind: &str, data: &str| StreamEvent {
            kind: kind.to_owned(),
            data: data.to_owned(),
        };
        assert_eq!(events.next().unwrap(), Some(event("a", "1")));
        assert_eq!(events.next().unwrap(), Some(event("b", "2\n3")));
        assert_eq!(events.next().unwrap(), None, "half an event is none");
    }
}

//! Requests to a balancer's admin API, and its answers.

use std::fmt::{Display, Write};
use std::io::Read;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use ureq::http::{HeaderValue, Request, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::resolve::resolve;
use crate::admin::is_loopback;
use crate::admin::types::{ErrorBody, Overview, Server, ServerList};
use crate::cli::contexts;
use crate::cli::output::{Exit, Failure};
use crate::cli::secrets::TokenArg;
use crate::cli::settings::values::{ADMIN, address};
use crate::cli::tls::CaArg;
use crate::client::ClientError;
use crate::protocol::object;
use crate::transport::tls::for_clients;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take. The balancer itself gives up earlier.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a stream of events may be silent: a balancer sends at least a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(40);

/// The largest answer, or event, that is read, in bytes: ten thousand servers take a quarter of it.
pub(super) const MAX_ANSWER: u64 = 64 << 20;

/// The punctuation that stays as it is in a path; everything else but letters and digits is
/// percent-encoded.
const PLAIN: &[u8] = b"-._~";

/// May stand in front of an address, where TLS is spoken.
const HTTPS: &str = "https://";

/// The balancer that a command asks.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct AdminArg {
    /// Where the balancer answers operators
    #[arg(
        long,
        value_name = "ADDR",
        default_value = ADMIN,
        value_parser = admin_address,
        env = "BILICO_ADMIN"
    )]
    pub(in crate::cli) admin: String,
    #[command(flatten)]
    pub(in crate::cli) token: TokenArg,
    #[command(flatten)]
    pub(in crate::cli) ca: CaArg,
}

/// A balancer takes `none` for an address, and may share its environment with this command.
fn admin_address(text: &str) -> Result<String, String> {
    if text == "none" {
        let error = "a balancer without an admin listener cannot be asked or told anything; \
                     start it with --admin ADDR, and name the same address here";
        return Err(error.to_owned());
    }
    address(text.strip_prefix(HTTPS).unwrap_or(text)).map(|_| text.to_owned())
}

/// A balancer's admin API.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Api {
    agent: Agent,
    scheme: &'static str,
    at: String,
    token: TokenArg,
    /// Why it is asked, for messages: "drop file 7".
    purpose: Option<String>,
}

impl Api {
    /// The API at this address. Connects to nothing yet.
    pub(in crate::cli) fn new(at: &AdminArg) -> Result<Self, Failure> {
        let authorities = at.ca.authorities()?;
        let place = at.admin.strip_prefix(HTTPS);
        if place.is_some() && authorities.is_none() {
            let error = format!(
                "{} needs the authority of the balancer's certificate",
                at.admin
            );
            return Err(Failure::new(Exit::Usage, error).hint("pass --ca FILE, or set BILICO_CA"));
        }
        let scheme = if authorities.is_some() {
            "https"
        } else {
            "http"
        };
        let mut tls = TlsConfig::builder();
        if let Some(authorities) = authorities {
            let trusted = authorities
                .iter()
                .map(|one| Certificate::from_der(one).to_owned());
            tls = tls
                .provider(TlsProvider::Rustls)
                .root_certs(RootCerts::from(trusted))
                .unversioned_rustls_crypto_provider(for_clients());
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // The listener is on this machine, where a proxy would not find it.
            .proxy(None)
            .max_redirects(0)
            .user_agent(concat!("bilico/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self {
            agent: config.new_agent(),
            scheme,
            at: place.unwrap_or(&at.admin).to_owned(),
            token: at.token.clone(),
            purpose: None,
        })
    }

    /// Names what is asked for, in words that follow "to", for messages when nobody answers.
    pub(in crate::cli) fn to(mut self, purpose: impl Display) -> Self {
        self.purpose = Some(purpose.to_string());
        self
    }

    pub(in crate::cli) fn overview(&self) -> Result<Overview, Failure> {
        self.get("overview")
    }

    pub(in crate::cli) fn servers(&self) -> Result<Vec<Server>, Failure> {
        Ok(self.get::<ServerList>("servers")?.servers)
    }

    /// One server; `None` if no server has this name.
    pub(in crate::cli) fn server(&self, name: &str) -> Result<Option<Server>, Failure> {
        let response = self.request("GET", &server_path(name), None, &[])?;
        if response.status() == StatusCode::NOT_FOUND {
            Ok(None)
        } else {
            self.answer(response).map(Some)
        }
    }

    /// Asks for what is at this path under `/api/v1/`.
    pub(in crate::cli) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.answer(self.request("GET", path, None, &[])?)
    }

    /// The content of a dead letter or a waiting file, to be read.
    pub(in crate::cli) fn content(
        &self,
        number: u64,
        accepts_damage: bool,
    ) -> Result<impl Read + use<>, Failure> {
        let path = format!("dead/{number}/content?damaged={accepts_damage}");
        let response = self.request("GET", &path, None, &[])?;
        if response.status().is_success() {
            return Ok(response.into_body().into_reader());
        }
        match self.answer::<IgnoredAny>(response) {
            Err(failure) => Err(failure),
            Ok(_) => Err(self.strange(&"an answer without a reason")),
        }
    }

    /// Gives an order: a method on a path under `/api/v1/`, and its body.
    pub(in crate::cli) fn order<T: DeserializeOwned>(
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

    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Vec<u8>>,
        headers: &[(&str, String)],
    ) -> Result<Response<Body>, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}://{}/api/v1/{path}", self.scheme, self.at));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        if let Some(token) = self.token.find(&self.at)? {
            // Over plain text only this machine may hear it. No name is looked up to find that out:
            // it could lead elsewhere a moment later.
            if self.scheme == "http" && !is_loopback(&self.at) {
                return Err(ClientError::PlainText(self.at.clone()).into());
            }
            let bearer = format!("Bearer {}", token.reveal());
            let mut value = HeaderValue::try_from(bearer)
                .map_err(|_| Failure::new(Exit::Failed, "the token is no text of one line"))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // HTTP wants a body behind every POST, if only an empty one.
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
            "cannot reach the balancer's admin listener at {}{}{}: {why}",
            self.at,
            contexts::behind(&self.at),
            self.to_what_end()
        );
        Failure::new(Exit::Unreachable, error).hint(
            "is a balancer running there? its second line says \"admin on …\", unless it was \
             started with --admin none: name that address with --admin or BILICO_ADMIN, or choose a \
             context (`bilico context ls`)",
        )
    }

    fn to_what_end(&self) -> String {
        match &self.purpose {
            Some(purpose) => format!(" to {purpose}"),
            None => String::new(),
        }
    }

    /// Reads an answer. A refusal is a failure in the balancer's words.
    pub(super) fn answer<T: DeserializeOwned>(
        &self,
        response: Response<Body>,
    ) -> Result<T, Failure> {
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

    pub(in crate::cli) fn strange(&self, what: &dyn Display) -> Failure {
        let error = format!(
            "the process at {} is not a balancer's admin listener: {what}",
            self.at
        );
        Failure::new(Exit::Failed, error)
            .hint("a balancer's second line says \"admin on …\"; pass that as --admin")
    }

    /// The full name of a server, from that name, its port, or any part that no other name has.
    pub(in crate::cli) fn resolve(&self, meant: &str) -> Result<String, Failure> {
        let servers = self.servers()?;
        let names: Vec<&str> = servers
            .iter()
            .map(|server| server.report.name.as_str())
            .collect();
        resolve(meant, &names).map(str::to_owned)
    }
}

/// The path of a server under `/api/v1/`, with its name percent-encoded.
pub(in crate::cli) fn server_path(name: &str) -> String {
    path("servers/", name)
}

/// The path of a member of the fleet.
pub(in crate::cli) fn member_path(name: &str) -> String {
    path("fleet/", name)
}

fn path(below: &str, name: &str) -> String {
    let mut path = below.to_owned();
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::os::unix::fs::OpenOptionsExt;

    use serde_json::Value;

    use super::*;

    /// Answers one request with these bytes, and gives the API there.
    fn answering(answer: &'static str) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        Api::new(&AdminArg {
            admin,
            token: TokenArg::default(),
            ca: CaArg::default(),
        })
        .unwrap()
    }

    #[test]
    fn refusals_come_in_the_balancers_words() {
        let api = answering(
            "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
             {\"error\":\"a\",\"hint\":\"b\"}",
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
    fn the_purpose_and_the_address_are_named_when_nobody_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        drop(listener);
        let api = Api::new(&AdminArg {
            admin: admin.clone(),
            token: TokenArg::default(),
            ca: CaArg::default(),
        })
        .unwrap();
        let failure = api.to("drop file 7").overview().unwrap_err();
        let expected = format!("admin listener at {admin} to drop file 7: ");
        assert!(failure.error.contains(&expected), "{failure:?}");
        assert!(failure.hint.unwrap().contains("BILICO_ADMIN"));
        assert_eq!(failure.exit, Exit::Unreachable);
    }

    #[test]
    fn a_balancer_without_an_admin_listener_is_no_address() {
        let error = admin_address("none").unwrap_err();
        assert!(error.contains("start it with --admin ADDR"), "{error}");
        assert!(admin_address("127.0.0.1:1").is_ok());
        let secure = admin_address("https://127.0.0.1:1").unwrap();
        let api = Api::new(&AdminArg {
            admin: secure,
            token: TokenArg::default(),
            ca: CaArg::default(),
        });
        assert_eq!(api.err().unwrap().exit, Exit::Usage, "nobody to trust");
    }

    #[test]
    fn a_token_goes_over_plain_text_within_this_machine_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut options = std::fs::File::options();
        let created = options.write(true).create_new(true).mode(0o600).open(&file);
        created.unwrap().write_all(b"secret").unwrap();
        let asks = |admin: &str| {
            let api = Api::new(&AdminArg {
                admin: admin.to_owned(),
                token: TokenArg {
                    token_file: Some(file.clone()),
                },
                ca: CaArg::default(),
            });
            api.unwrap().overview().unwrap_err().error
        };
        for elsewhere in ["192.0.2.1:60080", "balancer.invalid:60080", "[::2]:60080"] {
            let error = asks(elsewhere);
            assert!(error.contains("nothing secret was sent"), "{error}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = asks(&here);
        assert!(error.contains("cannot reach"), "{error}");
    }

    #[test]
    fn names_are_encoded_in_paths() {
        assert_eq!(server_path("[::1]:5003"), "servers/%5B%3A%3A1%5D%3A5003");
        assert_eq!(member_path("host a/b?"), "fleet/host%20a%2Fb%3F");
    }
}

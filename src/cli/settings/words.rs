//! Flags that take one of a few words. Their types do not depend on clap: this file has the words
//! and their help texts.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::access::{Auth, MetricsFor};
use crate::agent::Dialect;
use crate::balancer::{InDoubt, ServersSpeak};
use crate::client::{Changed, Wait};
use crate::durability::Durability;
use crate::logging::LogFormat;
use crate::server::ReadableBy;
use crate::watch::After;

/// A word, the value that it stands for, and its help text.
type Word<T> = (&'static str, T, &'static str);

pub(in crate::cli) const DIALECT: &[Word<Dialect>] = &[
    ("native", Dialect::Native, "Those of this program"),
    (
        "old",
        Dialect::Old,
        "Those of the first systems' agents: their plain datagram, or their /crd/ message",
    ),
];

pub(in crate::cli) const DURABILITY: &[Word<Durability>] = &[
    (
        "disk",
        Durability::Disk,
        "When it is synced to disk: it survives kills, crashes and power cuts",
    ),
    (
        "os",
        Durability::Os,
        "When the operating system has it: it survives a killed process, not a crashed machine",
    ),
];

pub(in crate::cli) const IN_DOUBT: &[Word<InDoubt>] = &[
    (
        "redirect",
        InDoubt::Redirect,
        "Send it to another server at once. If the first server has stored it, too, it removes \
         its copy when it returns",
    ),
    (
        "wait",
        InDoubt::Wait,
        "Wait until the server returns and reports whether it has the file",
    ),
];

pub(in crate::cli) const METRICS_FOR: &[Word<MetricsFor>] = &[
    (
        "everybody",
        MetricsFor::Everybody,
        "Whoever reaches the listener",
    ),
    (
        "users",
        MetricsFor::Users,
        "Whoever shows a token with the right `metrics`",
    ),
];

pub(in crate::cli) const AUTH: &[Word<Auth>] = &[
    (
        "off",
        Auth::Off,
        "There are no users: where somebody is decides what they may do",
    ),
    (
        "required",
        Auth::Required,
        "There are users: whoever shows no token may do nothing",
    ),
];

pub(in crate::cli) const SERVERS_SPEAK: &[Word<ServersSpeak>] = &[
    (
        "any",
        ServersSpeak::Any,
        "The native protocol or the old-style one, as each server answers",
    ),
    (
        "native",
        ServersSpeak::Native,
        "The native protocol; what answers otherwise at a server's address is down",
    ),
];

/// Which servers may register themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Joins {
    /// None.
    None,
    /// Those on this machine.
    Loopback,
    /// Those that know the secret.
    Secret,
    /// Those with a certificate of the cluster.
    Certificate,
}

pub(in crate::cli) const JOIN: &[Word<Joins>] = &[
    ("none", Joins::None, "None: servers are named here"),
    (
        "loopback",
        Joins::Loopback,
        "Those on this machine, with an address that only this machine reaches",
    ),
    (
        "secret",
        Joins::Secret,
        "Those that prove to know the secret in --join-secret-file",
    ),
    (
        "certificate",
        Joins::Certificate,
        "Those that answer, where they register from, with the certificate of a server of the \
         cluster (--cluster-ca)",
    ),
];

/// Who speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Tls {
    /// Nobody.
    Off,
    /// Whoever begins with it.
    Optional,
    /// Everybody.
    Required,
}

pub(in crate::cli) const TLS: &[Word<Tls>] = &[
    ("off", Tls::Off, "Nobody: all goes in plain text"),
    (
        "optional",
        Tls::Optional,
        "Whoever begins with it: for as long as some clients do not yet",
    ),
    (
        "required",
        Tls::Required,
        "Everybody: plain text is refused",
    ),
];

pub(in crate::cli) const READABLE_BY: &[Word<ReadableBy>] = &[
    (
        "owner",
        ReadableBy::Owner,
        "Only the user that the server runs as: mode 0600",
    ),
    (
        "group",
        ReadableBy::Group,
        "The group of the server's process, too: mode 0640",
    ),
    (
        "all",
        ReadableBy::All,
        "Everybody on this machine: mode 0644",
    ),
];

pub(in crate::cli) const WAIT: &[Word<Wait>] = &[
    ("accepted", Wait::Accepted, "The balancer has every file"),
    ("delivered", Wait::Delivered, "A server has every file"),
];

pub(in crate::cli) const AFTER: &[Word<After>] = &[
    ("move", After::Move, "Move it to the folder of --to"),
    ("delete", After::Delete, "Delete it"),
    (
        "leave",
        After::Leave,
        "Leave it, and remember that it was handed over",
    ),
];

pub(in crate::cli) const CHANGED: &[Word<Changed>] = &[
    (
        "fail",
        Changed::Fail,
        "Give up at once; the file is not sent",
    ),
    (
        "retry",
        Changed::Retry,
        "Read it again, up to 5 times within some 3 s, then give up",
    ),
    (
        "send",
        Changed::Send,
        "Send the content that was read, with a warning; a file that became shorter is read again",
    ),
];

pub(in crate::cli) const LOG_FORMAT: &[Word<LogFormat>] = &[
    (
        "human",
        LogFormat::Human,
        "`2026-11-21T06:27:00.123Z INFO  message key=value key=\"a value\"`",
    ),
    (
        "json",
        LogFormat::Json,
        "One JSON object a line: `time`, `level`, `message`, then the fields. Numbers stay numbers",
    ),
];

/// A parser that takes exactly these words.
pub(in crate::cli) fn one_of<T>(words: &'static [Word<T>]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let possible = words
        .iter()
        .map(|(word, _, help)| PossibleValue::new(*word).help(*help));
    PossibleValuesParser::new(possible).try_map(|given| {
        let known = words.iter().find(|(word, ..)| *word == given);
        known
            .map(|(_, value, _)| *value)
            .ok_or_else(|| format!("unknown word {given:?}"))
    })
}

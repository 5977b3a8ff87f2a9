use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::to::BadTo;
use super::{Config, Dialect, To, Told, old, run};
use crate::fleet_core::Facts;
use crate::secret::Secret;
use crate::transport::{BoxStream, Connect, Connecting, Stream};

#[test]
fn places_are_read() {
    let native = |place: &str| Ok(To::Native(place.to_owned()));
    for (text, expected) in [
        ("127.0.0.1:60002", native("127.0.0.1:60002")),
        ("[::1]:60002", native("[::1]:60002")),
        ("balancer:1", native("balancer:1")),
        ("udp://b:5005", Ok(To::Udp("b:5005".to_owned()))),
        ("ws://b:8000/", Ok(To::Web("b:8000".to_owned()))),
        ("http://b:8000", Ok(To::Web("b:8000".to_owned()))),
        ("wss://b:8000", Ok(To::SecureWeb("b:8000".to_owned()))),
        ("https://b:8000/", Ok(To::SecureWeb("b:8000".to_owned()))),
        (
            "https://b:8000/token",
            Err(BadTo::Kind("https://b:8000/token".to_owned())),
        ),
        ("ftp://b:8000", Err(BadTo::Kind("ftp://b:8000".to_owned()))),
        (
            "ws://u@b:8000",
            Err(BadTo::Kind("ws://u@b:8000".to_owned())),
        ),
        (
            "ws://b:8000/crd/",
            Err(BadTo::Kind("ws://b:8000/crd/".to_owned())),
        ),
        // What would begin a line of its own in the head of a request.
        (
            "ws://b\r\nX: y:1",
            Err(BadTo::Kind("ws://b\r\nX: y:1".to_owned())),
        ),
        ("b\t:1", Err(BadTo::Kind("b\t:1".to_owned()))),
        ("b", Err(BadTo::Port("b".to_owned()))),
        (":1", Err(BadTo::Port(":1".to_owned()))),
        ("b:0", Err(BadTo::Port("b:0".to_owned()))),
        ("b:70000", Err(BadTo::Port("b:70000".to_owned()))),
        ("", Err(BadTo::Port(String::new()))),
    ] {
        assert_eq!(text.parse::<To>(), expected, "{text}");
    }
}

/// The bytes of the first systems' agents, but for the figures in them.
#[test]
fn old_words_are_those_of_the_first_systems() {
    let gib = |number: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive"
        )]
        Some((number * 1_073_741_824.0) as u64)
    };
    let facts = Facts {
        cpu: Some(0.709),
        cores: vec![0.04, 1.0].into(),
        memory_total: gib(23.54),
        memory_used: gib(1.45),
        disk_total: gib(251.97),
        disk_used: gib(27.59),
        disk_free: gib(63.28),
        disk_read: Some(146_800.0),
        disk_write: Some(0.0),
        net_dropped: Some(0.6),
        ..Facts::default()
    };
    assert_eq!(
        old::datagram(&facts, Duration::from_secs(5)),
        r#"{"cpu": {"por_nucleo": [4.0, 100.0], "media": 70.9}, "memoria": {"total_MB": 24104.96, "usada_MB": 1484.80, "livre_MB": 22620.16}, "disco": {"uso_total_GB": 251.97, "usado_GB": 27.59, "livre_GB": 63.28, "taxa_leitura_MBps": 0.14, "taxa_escrita_MBps": 0.00}, "rede": {"taxa_upload_MBps": 0.00, "taxa_download_MBps": 0.00, "pacotes_perdidos": 3}}"#
    );
    assert_eq!(
        old::crd(&facts),
        r#"{"cpu_usage": 70.9, "ram_available": 22.09, "ram_total": 23.54, "disk_available": 63.28, "disk_total": 251.97}"#
    );
    for nothing in [
        old::datagram(&Facts::default(), Duration::ZERO),
        old::crd(&Facts::default()),
    ] {
        serde_json::from_str::<serde_json::Value>(&nothing).unwrap();
    }
}

/// A connection that somebody on the way can read, and what was written to it.
struct Readable(Arc<AtomicUsize>);

impl AsyncRead for Readable {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Readable {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Stream for Readable {
    fn is_private(&self) -> bool {
        false
    }
}

/// Connects to another machine in plain text.
struct InTheOpen(Arc<AtomicUsize>);

impl Connect for InTheOpen {
    fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
        let stream: BoxStream = Box::new(Readable(self.0.clone()));
        Box::pin(std::future::ready(Ok(stream)))
    }
}

#[tokio::test]
async fn no_token_goes_over_a_connection_that_others_can_read() {
    for (to, user) in [
        ("balancer:60002", None),
        ("ws://balancer:8000", None),
        ("ws://balancer:8000", Some("host-a")),
    ] {
        let written = Arc::new(AtomicUsize::new(0));
        let config = Config {
            to: to.parse().unwrap(),
            dialect: Dialect::Native,
            every: Duration::from_secs(1),
            directory: "/".into(),
            name: None,
            token: Some(Secret::from("s3cret")),
            user: user.map(str::to_owned),
            join_secret: None,
            connector: Arc::new(InTheOpen(written.clone())),
        };
        let stop = CancellationToken::new();
        let mut said = Vec::new();
        let ended = stop.clone();
        run(config, stop, &mut |told| {
            said.push(told);
            ended.cancel();
        })
        .await
        .unwrap();
        assert_eq!(written.load(Ordering::Relaxed), 0, "{to}");
        let [Told::Refused(why)] = &*said else {
            panic!("{to}: {said:?}");
        };
        assert!(why.contains("plain text"), "{why}");
        assert!(why.contains("--ca FILE") && why.contains("udp://"), "{why}");
    }
}

//! Doorways for agents, at a balancer's process.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use bilico_testkit::{Ended, Port, Role, bilico, http_raw, run, start_balancer, wait_until};

use crate::users::Locked;

/// As the first datagram system's agent sent it on a machine with two cores.
const DATAGRAM: &[u8] = br#"{"cpu": {"por_nucleo": [4.0, 100.0], "media": 70.9}, "memoria": {"total_MB": 24105.56, "usada_MB": 1313.59, "livre_MB": 22791.97}, "disco": {"uso_total_GB": 251.97, "usado_GB": 27.59, "livre_GB": 63.28, "taxa_leitura_MBps": 0.14, "taxa_escrita_MBps": 0.0}, "rede": {"taxa_upload_MBps": 0.0, "taxa_download_MBps": 0.0, "pacotes_perdidos": 0}}"#;

/// A balancer without servers that are up, with both doorways.
struct Open {
    balancer: Role,
    udp: String,
    http: String,
    dir: tempfile::TempDir,
    _ports: [Port; 2],
}

impl Open {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = [Port::take(), Port::take()];
        let [udp, http] = ports.each_ref().map(Port::address);
        let flags = ["--agents-udp", &udp, "--agents-http", &http];
        let balancer = start_balancer(dir.path(), &["127.0.0.1:1=1".to_owned()], &flags);
        Self {
            balancer,
            udp,
            http,
            dir,
            _ports: ports,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("logs/balancer.log")).unwrap_or_default()
    }
}

/// A kernel that says that it has read everything has lost nothing.
fn wait_until_read(udp: &str) {
    let port: u16 = udp.rsplit_once(':').unwrap().1.parse().unwrap();
    let local = format!("0100007F:{port:04X}");
    wait_until("the datagrams to be read", || {
        let table = std::fs::read_to_string("/proc/net/udp").unwrap();
        // While many others come and go, a row may be missing.
        let row = table.lines().find(|row| row.contains(&local));
        row.is_some_and(|row| row.contains(" 00000000:00000000 "))
    });
}

#[test]
fn a_hundred_thousand_forged_sources_cost_no_memory() {
    let open = Open::start();
    let send = |number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        let forged = UdpSocket::bind((Ipv4Addr::new(127, 100 + a, b, c), 0)).unwrap();
        forged.send_to(DATAGRAM, &open.udp).unwrap();
    };
    for number in 0..2000 {
        send(number);
    }
    wait_until_read(&open.udp);
    let before = open.balancer.resident();
    for number in 2000..100_000 {
        send(number);
        if number % 100 == 0 {
            wait_until_read(&open.udp);
        }
    }
    wait_until_read(&open.udp);
    let grown = open.balancer.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    wait_until("the log to say so", || {
        open.log().contains("too many sources")
    });
    let refusals = open.log().matches("too many sources").count();
    assert!(refusals <= 3, "{refusals} lines");
}

/// Pings that are answered, and whose answers nobody reads.
#[test]
fn pings_of_a_peer_that_never_reads_make_nothing_pile_up() {
    let open = Open::start();
    let mut stream = TcpStream::connect(&open.http).unwrap();
    stream
        .write_all(
            b"GET /crd/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: kQEnXM9DcnAQa0bXb11lOw==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let before = open.balancer.resident();
    let ping = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[0; 125]].concat();
    let pings = ping.repeat(1000);
    stream
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let _ = stream.write(&pings);
    }
    let grown = open.balancer.resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
}

#[test]
fn without_a_flag_there_is_no_doorway() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = start_balancer(dir.path(), &["127.0.0.1:1=1".to_owned()], &[]);
    let sockets = |table: &str| {
        let links = std::fs::read_dir(format!("/proc/{}/fd", balancer.pid())).unwrap();
        let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
        let inodes: Vec<_> = links
            .filter_map(|link| {
                let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                Some(link.to_owned())
            })
            .collect();
        let table = std::fs::read_to_string(table).unwrap();
        let rows = table.lines().filter(|row| {
            let columns: Vec<_> = row.split_ascii_whitespace().collect();
            let is_listening = columns
                .get(3)
                .is_some_and(|state| ["0A", "07"].contains(state));
            is_listening
                && columns
                    .get(9)
                    .is_some_and(|inode| inodes.iter().any(|own| own == inode))
        });
        rows.count()
    };
    assert_eq!(sockets("/proc/net/udp"), 0);
    assert_eq!(sockets("/proc/net/tcp"), 2, "clients and operators");
}

#[test]
fn the_listener_ends_with_the_balancer_in_time() {
    let mut open = Open::start();
    let mut stream = TcpStream::connect(&open.http).unwrap();
    stream.write_all(b"POST /token HTTP/1.1\r\n").unwrap();
    let began = Instant::now();
    assert_eq!(open.balancer.stop(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

fn started(flags: &[&str]) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let server = [
        "--server",
        "127.0.0.1:1=1",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "none",
    ];
    run(
        bilico(&["balancer"])
            .args(server)
            .args(flags)
            .current_dir(dir.path()),
        "",
    )
}

#[test]
fn what_cannot_be_opened_is_told_with_the_remedy() {
    let ended = started(&["--agents-udp", "nonsense"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let ended = started(&["--agents-udp", &at]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("--agents-udp none"), "{ended:?}");
    let ended = started(&["--agents-udp-from", "10.0.0.0/33"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = started(&["--agents-commands", "100001"]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let ended = started(&[
        "--auth",
        "required",
        "--users",
        "users.json",
        "--agents-http",
        "0.0.0.0:0",
    ]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(
        ended.stderr.contains("tokens are taken over TLS only"),
        "{ended:?}"
    );
}

/// A user that was invited, and the form of the first system's agent.
#[test]
fn a_user_of_the_role_agent_gets_a_token_by_its_password() {
    let port = Port::take();
    let locked = Locked::with(&["--agents-http", &port.address()]);
    locked.user("host-a", "agent");
    let form = "username=host-a&password=correct+horse+battery";
    let request = format!(
        "POST /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = http_raw(&port.address(), request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    // It is good for reports, and for nothing else.
    assert_eq!(
        locked.http(Some(&token), "GET", "/api/v1/servers").status,
        403
    );
}

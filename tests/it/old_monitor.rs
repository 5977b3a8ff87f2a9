//! Programs of the first monitoring system, written here from the bytes that they put on the wire,
//! with real balancers and servers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bilico::fleet_core::old::parse_line;
use bilico_testkit::{Farm, Port, start_server, wait_until};

/// A line as an original server writes it.
const LINE: &str = "Uso de CPU: 58.9% | Uso de Memória: 3.5% | Uso de Disco: 29.8% | Status da \
                    Rede: Ativo | Tempo de Atividade: 0.84 horas";

/// One read, as all of them read.
fn read(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream
}

/// A server that pushes a line in each tenth of a second, and keeps what it was sent.
struct OldServer {
    address: String,
    came: Arc<Mutex<Vec<u8>>>,
}

impl OldServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let came = Arc::new(Mutex::new(Vec::new()));
        let kept = came.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, kept) = (stream.unwrap(), kept.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
                    while stream.write_all(LINE.as_bytes()).is_ok() {
                        let mut bytes = [0; 1024];
                        let length = stream.read(&mut bytes).unwrap_or(0);
                        kept.lock().unwrap().extend(&bytes[..length]);
                        std::thread::sleep(Duration::from_millis(50));
                    }
                });
            }
        });
        Self { address, came }
    }

    fn announce(&self, at: &str) {
        let mut stream = connect(at);
        stream.write_all(self.address.as_bytes()).unwrap();
        drop(stream);
    }
}

/// A balancer in the place of the middleware: an announced server can be picked, and gets no file.
#[test]
fn programs_of_the_first_monitoring_system_meet_a_balancer() {
    let [announce, pick, checker] = [(); 3].map(|()| Port::take());
    let farm = Farm::with(
        &[1],
        &[],
        &[
            "--old-announce",
            &announce.address(),
            "--old-pick",
            &pick.address(),
            "--old-checker",
            &checker.address(),
        ],
    );
    farm.wait_until_up();
    let mut checker = connect(&checker.address());
    let server = OldServer::start();
    server.announce(&announce.address());
    let list = || read(&mut connect(&pick.address()));
    wait_until("the announced server in the list", || {
        list().contains(&server.address)
    });

    let mut client = connect(&pick.address());
    read(&mut client);
    let (_, port) = server.address.rsplit_once(':').unwrap();
    client.write_all(port.as_bytes()).unwrap();
    assert_eq!(read(&mut client), "Porta OK");
    let began = Instant::now();
    client.write_all(b"statusstatus").unwrap();
    assert_eq!(read(&mut client), LINE);
    assert_eq!(read(&mut client), LINE);
    assert!(began.elapsed() >= Duration::from_secs(1), "two in a second");

    // Our own server is there, too, once it has told its figures.
    let ours = farm.status().servers[0].name.clone();
    wait_until("our server in the list", || list().contains(ours.as_str()));
    let mut client = connect(&pick.address());
    read(&mut client);
    client.write_all(ours.as_bytes()).unwrap();
    assert_eq!(read(&mut client), "Porta OK");
    client.write_all(b"status").unwrap();
    let facts = parse_line(&read(&mut client)).unwrap();
    assert!(facts.memory_ratio.is_some_and(|part| part > 0.0));
    assert!(facts.uptime_s.is_some());

    // The checker was there before both, and can reach nobody.
    let mut first = [0; 1024];
    let length = checker.read(&mut first).unwrap();
    assert!(first[..length].starts_with(b"\x80\x04\x8f"));
    checker.write_all(b"\x80\x04\x8f\x94.").unwrap();
    let mut second = [0; 1024];
    let length = checker.read(&mut second).unwrap();
    let asked = String::from_utf8_lossy(&second[..length]).into_owned();
    assert!(asked.contains(&server.address), "{asked}");
    checker.write_all(b"\x80\x04\x8f\x94.").unwrap();
    assert!(list().contains(&server.address), "it is still there");

    // Files go to the server that the balancer was given.
    for n in 0..20 {
        farm.write(format!("file-{n}.txt"), format!("content {n}"));
    }
    let names: Vec<_> = (0..20).map(|n| format!("file-{n}.txt")).collect();
    let names: Vec<_> = ["-q"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    farm.send(&names);
    wait_until("all files", || farm.stored(0).len() == 20);
    let came = String::from_utf8(server.came.lock().unwrap().clone()).unwrap();
    assert_eq!(
        came.replace("status", ""),
        "",
        "it was asked for its status only"
    );
}

/// Middleware of the first system watches a server of ours.
#[test]
fn a_server_announces_itself_and_tells_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let middleware = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = middleware.local_addr().unwrap().to_string();
    let server = start_server(dir.path(), 1, &["--announce", &at]);
    let (mut announcement, _) = middleware.accept().unwrap();
    assert_eq!(read(&mut announcement), server.address);
    let mut stream = connect(&server.address);
    // A checker connects and sends nothing.
    drop(connect(&server.address));
    let began = Instant::now();
    for _ in 0..3 {
        stream.write_all(b"status").unwrap();
        let line = read(&mut stream);
        let facts = parse_line(&line).unwrap();
        assert!(facts.memory_ratio.is_some_and(|part| part > 0.0), "{line}");
    }
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "three lines in 2 s"
    );
    stream.write_all(b"STATUS").unwrap();
    assert_eq!(read(&mut stream), "", "it is closed");
}

/// Without the flag a server's port speaks as before.
#[test]
fn a_server_that_was_not_asked_to_tells_no_status() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let mut stream = connect(&server.address);
    stream.write_all(b"status").unwrap();
    assert_eq!(read(&mut stream), "");
}

//! Peers of the first system of this kind, written here from the bytes that it puts on the wire:
//! its client before our balancer, its servers behind our balancer, and its balancer before our
//! server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bilico::protocol::status::{Dialect, ServerReport};
use serde_json::{Value, json};

use crate::harness::{
    DEADLINE, Farm, PREFACE, Role, Wire, frame, old_style_put, put, start_balancer, start_server,
    stored, wait_for, wait_for_line, wait_until,
};

// ---------------------------------------------------------------- its client, our balancer

/// Text that a JSON document can be cut in at many bad places.
const AWKWARD: &str = "però: \"{[}]\" \\ / \u{8}\u{1f}\r\n città 🚚 \u{10ffff} \u{e000} \\u00e9 }{";

/// The document as `json.dumps` writes it unless it is told otherwise: ASCII only.
fn as_ascii(document: &str) -> String {
    use std::fmt::Write;
    let mut ascii = String::new();
    for c in document.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").unwrap();
            }
        }
    }
    ascii
}

/// A client of the first system: it writes objects one after the other, never reads, and closes.
struct OldClient(TcpStream);

impl OldClient {
    fn connect(farm: &Farm) -> Self {
        let stream = TcpStream::connect(&farm.balancer.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Writes in pieces that end at these places, each only once the balancer has read the one
    /// before.
    fn write_cut_at(&mut self, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) {
        let mut from = 0;
        for cut in cuts.into_iter().chain([bytes.len()]) {
            self.write(&bytes[from..cut]);
            self.wait_until_read();
            from = cut;
        }
    }

    /// Waits until the other end has read all that was written.
    fn wait_until_read(&self) {
        let (ours, theirs) = (self.0.local_addr().unwrap(), self.0.peer_addr().unwrap());
        let started = Instant::now();
        while unread(ours, theirs) + unread(theirs, ours) > 0 {
            assert!(started.elapsed() < DEADLINE, "the balancer does not read");
            std::thread::yield_now();
        }
    }
}

/// How many bytes wait in the kernel for `local` to read or to be sent by it, on its connection
/// with `remote`.
fn unread(local: SocketAddr, remote: SocketAddr) -> u64 {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(address) => {
            format!(
                "{:08X}:{:04X}",
                u32::from_le_bytes(address.ip().octets()),
                address.port()
            )
        }
        SocketAddr::V6(_) => panic!("these tests speak IPv4"),
    };
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let row = |line: &str| -> Option<u64> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let queues = (fields.get(1..3)? == [hex(local), hex(remote)]).then_some(fields.get(4)?)?;
        Some(
            queues
                .split(':')
                .map(|bytes| u64::from_str_radix(bytes, 16).unwrap())
                .sum(),
        )
    };
    table.lines().find_map(row).unwrap_or(0)
}

/// Waits until the balancer has delivered this many files.
#[track_caller]
fn wait_for_delivered(farm: &Farm, files: u64) {
    wait_until(&format!("{files} files to be delivered"), || {
        farm.status().delivered == files
    });
}

/// What is stored, by title; a title that is there twice fails the test.
fn stored_by_title(farm: &Farm) -> BTreeMap<String, Vec<u8>> {
    let mut titles = BTreeMap::new();
    for (name, content) in farm.all_stored() {
        let (number, title) = name.split_once('_').unwrap();
        assert!(number.parse::<u64>().unwrap() > 0, "{name}");
        assert!(
            titles.insert(title.to_owned(), content).is_none(),
            "{title} is there twice"
        );
    }
    titles
}

#[test]
fn an_old_clients_objects_are_found_when_they_arrive_byte_by_byte() {
    let farm = Farm::start(&[1]);
    let mut client = OldClient::connect(&farm);
    let document = old_style_put("perché.json", AWKWARD);
    let both = format!(
        "{document}{}",
        as_ascii(&document.replace("perché", "ascii"))
    );
    for byte in both.bytes() {
        client.write([byte]);
        // The pause is the input: it lets the balancer read what there is.
        std::thread::sleep(Duration::from_micros(200));
    }
    drop(client);
    wait_for_delivered(&farm, 2);
    let stored = farm.all_stored();
    assert_eq!(
        stored.keys().collect::<Vec<_>>(),
        ["1_perché.json", "2_ascii.json"]
    );
    assert!(
        stored.values().all(|content| content == AWKWARD.as_bytes()),
        "{stored:?}"
    );
}

#[test]
fn an_old_clients_objects_are_found_wherever_they_are_cut() {
    let farm = Farm::start(&[1]);
    let documents: Vec<String> = (0..8)
        .map(|file| old_style_put(&format!("{file}.json"), &format!("{file} {AWKWARD}")))
        .map(|document| {
            if document.contains("5.json") {
                as_ascii(&document)
            } else {
                document
            }
        })
        .collect();
    let all = documents.concat();
    let middle_of = |what: &str| all.find(what).unwrap_or_else(|| panic!("no {what}")) + 1;
    // In a UTF-8 character, in `\uXXXX`, between the halves of a surrogate pair, behind a
    // backslash, at the border of two objects and one byte off on both sides, in the middle of a
    // key.
    let border = documents[0].len();
    let mut cuts = vec![
        middle_of("ò"),
        middle_of("🚚") + 1,
        middle_of(r"\u00f2") + 2,
        middle_of(r"\ud83d\ude9a") + 5,
        middle_of(r"\ud83d\ude9a") + 8,
        middle_of(r"\\ /"),
        middle_of(r#"\"{["#),
        border - 1,
        border,
        border + 1,
        border + documents[1].len() + middle_of("contenuto"),
    ];
    cuts.sort_unstable();
    let mut client = OldClient::connect(&farm);
    client.write_cut_at(all.as_bytes(), cuts);
    drop(client);
    wait_for_delivered(&farm, 8);
    for (name, content) in farm.all_stored() {
        let (number, title) = name.split_once('_').unwrap();
        let file = number.parse::<u64>().unwrap() - 1;
        assert_eq!(
            title,
            format!("{file}.json"),
            "numbers follow the order on the connection"
        );
        assert_eq!(
            String::from_utf8(content).unwrap(),
            format!("{file} {AWKWARD}")
        );
    }
}

#[test]
fn an_old_clients_objects_joined_in_one_write_are_all_stored_though_it_closes_at_once() {
    let farm = Farm::start(&[2, 1]);
    let title = |file: usize| format!("{file}.json");
    let content = |file: usize| format!("{file} {AWKWARD}").repeat(file % 50);
    let document = |file: usize| old_style_put(&title(file), &content(file));
    let all: String = (0..300)
        .map(|file| {
            if file % 2 == 0 {
                document(file)
            } else {
                as_ascii(&document(file))
            }
        })
        .collect();
    let mut client = OldClient::connect(&farm);
    client.write(all);
    drop(client);
    wait_for_delivered(&farm, 300);
    let expected: BTreeMap<_, _> = (0..300)
        .map(|file| (title(file), content(file).into_bytes()))
        .collect();
    assert_eq!(stored_by_title(&farm), expected);
}

#[test]
fn nothing_is_sent_back_to_an_old_client() {
    let farm = Farm::start(&[1]);
    let mut wire = Wire::connect(&farm.balancer.address);
    wire.write(old_style_put("x.json", "content").as_bytes());
    wait_for_delivered(&farm, 1);
    wire.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(wire.rest(), b"");
}

#[test]
fn an_old_client_may_send_an_object_of_several_mebibytes() {
    let farm = Farm::start(&[1]);
    let content = AWKWARD.repeat((5 << 20) / AWKWARD.len());
    let mut client = OldClient::connect(&farm);
    client.write(old_style_put("small before.json", "1"));
    client.write(old_style_put("large.json", &content));
    client.write(as_ascii(&old_style_put("large, escaped.json", &content)));
    client.write(old_style_put("small after.json", "2"));
    drop(client);
    wait_for_delivered(&farm, 4);
    let stored = stored_by_title(&farm);
    assert_eq!(stored["small before.json"], b"1");
    assert!(
        stored["large.json"] == content.as_bytes(),
        "the content differs"
    );
    assert!(
        stored["large, escaped.json"] == content.as_bytes(),
        "the content differs"
    );
    assert_eq!(stored["small after.json"], b"2");
}

#[test]
fn old_clients_and_native_ones_are_served_at_once_on_one_port() {
    let farm = Farm::start(&[3, 2, 1]);
    let folder = write_files(&farm, 100, |file| {
        format!("native {file} {AWKWARD}").into_bytes()
    });
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| farm.send(&["-r", &folder]));
        for client in 0..5 {
            let farm = &farm;
            scope.spawn(move || {
                let mut old = OldClient::connect(farm);
                for file in 0..40 {
                    let document = old_style_put(
                        &format!("old-{client}-{file}"),
                        &format!("{client} {file} {AWKWARD}"),
                    );
                    old.write(if client % 2 == 0 {
                        document
                    } else {
                        as_ascii(&document)
                    });
                }
            });
        }
        let output = sending.join().unwrap();
        assert!(output.status.success(), "{output:?}");
    });
    wait_for_delivered(&farm, 300);
    let stored = stored_by_title(&farm);
    assert_eq!(stored.len(), 300);
    for (title, content) in stored {
        let expected = match title
            .strip_prefix("old-")
            .and_then(|rest| rest.split_once('-'))
        {
            Some((client, file)) => format!("{client} {file} {AWKWARD}"),
            None => format!("native {} {AWKWARD}", title.strip_suffix(".bin").unwrap()),
        };
        assert_eq!(String::from_utf8(content).unwrap(), expected, "{title}");
    }
}

// ---------------------------------------------------------------- our balancer, its servers

/// A server of the first system: it accepts, calls `recv` once for at most 4096 bytes, and reads
/// them as JSON. A file it saves without an answer; anything else it answers with its overload
/// byte. Then it closes.
pub struct OldServer {
    pub address: String,
    seen: Arc<Seen>,
    listening: Option<Listening>,
}

/// What an old server has seen, and what it answers.
#[derive(Default)]
struct Seen {
    files: Mutex<Vec<Value>>,
    unreadable: Mutex<Vec<String>>,
    statuses: AtomicUsize,
    overloaded: AtomicBool,
}

struct Listening {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl OldServer {
    pub fn start() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// Starts one at an address that another server may just be leaving.
    fn at(address: &str) -> Self {
        let mut server = Self {
            address: address.to_owned(),
            seen: Arc::default(),
            listening: None,
        };
        server.listen();
        server
    }

    pub fn listen(&mut self) {
        let listener = wait_for("the address to be free", || {
            TcpListener::bind(&self.address).ok()
        });
        self.address = listener.local_addr().unwrap().to_string();
        let (seen, stop) = (self.seen.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, seen) = (stream.unwrap(), seen.clone());
                std::thread::spawn(move || seen.serve(stream));
            }
        });
        self.listening = Some(Listening { stop, thread });
    }

    /// Closes its listener, as its death would.
    pub fn kill(&mut self) {
        let Some(Listening { stop, thread }) = self.listening.take() else {
            return;
        };
        stop.store(true, Ordering::SeqCst);
        // Wakes it from its `accept`.
        let _ = TcpStream::connect(&self.address);
        let _ = thread.join();
    }

    pub fn files(&self) -> MutexGuard<'_, Vec<Value>> {
        self.seen.files.lock().unwrap()
    }

    /// The titles of its files, in order.
    pub fn titles(&self) -> Vec<String> {
        let mut titles: Vec<String> = self
            .files()
            .iter()
            .map(|f| f["titolo"].as_str().unwrap().to_owned())
            .collect();
        titles.sort();
        titles
    }

    fn set_overloaded(&self, overloaded: bool) {
        self.seen.overloaded.store(overloaded, Ordering::SeqCst);
    }

    /// Waits until it has answered this many more status requests.
    fn wait_for_statuses(&self, more: usize) {
        let before = self.seen.statuses.load(Ordering::SeqCst);
        wait_until("status requests", || {
            self.seen.statuses.load(Ordering::SeqCst) >= before + more
        });
    }

    /// Checks that all that came was readable in one piece.
    pub fn check(&self) {
        let unreadable = self.seen.unreadable.lock().unwrap();
        assert!(
            unreadable.is_empty(),
            "an old server could not read {unreadable:?}"
        );
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Seen {
    fn serve(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut buffer = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut buffer) else {
            return;
        };
        match serde_json::from_slice::<Value>(&buffer[..length]) {
            Ok(request) if request["request_type"] == "file_di_testo" => {
                self.files.lock().unwrap().push(request)
            }
            Ok(request) if request["request_type"].is_string() => {
                self.statuses.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&[u8::from(self.overloaded.load(Ordering::SeqCst))]);
            }
            _ => self
                .unreadable
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        }
    }
}

/// A balancer over old servers and, behind them in its list, new native ones.
fn farm_over(old: &[(&OldServer, u32)], native: &[u32]) -> Farm {
    farm_with(old, native, &[])
}

fn farm_with(old: &[(&OldServer, u32)], native: &[u32], flags: &[&str]) -> Farm {
    let dir = tempfile::tempdir().unwrap();
    let servers: Vec<Role> = (1..=native.len())
        .map(|n| start_server(dir.path(), n, &[]))
        .collect();
    let old = old
        .iter()
        .map(|(server, weight)| format!("{}={weight}", server.address));
    let native = servers
        .iter()
        .zip(native)
        .map(|(server, weight)| format!("{}={weight}", server.address));
    let specs: Vec<String> = old.chain(native).collect();
    let balancer = start_balancer(dir.path(), &specs, flags);
    let farm = Farm {
        servers,
        balancer,
        dir,
    };
    farm.wait_until_up();
    farm
}

/// Starts a native server at this address; its directory is the farm's `json_files_9`.
fn native_at(farm: &Farm, address: &str) -> Role {
    Role::start(
        farm.dir.path(),
        &["server", "--listen", address, "--dir", "json_files_9"],
    )
}

/// Writes files into the farm's directory and gives their folder.
fn write_files(farm: &Farm, count: usize, content: impl Fn(usize) -> Vec<u8>) -> String {
    let folder = farm.dir.path().join("to_send");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for file in 0..count {
        fs::write(folder.join(format!("{file}.bin")), content(file)).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

fn small(file: usize) -> Vec<u8> {
    format!("{file} {AWKWARD}").into_bytes()
}

#[track_caller]
fn wait_for_server(
    farm: &Farm,
    place: usize,
    what: &str,
    condition: impl Fn(&ServerReport) -> bool,
) {
    wait_until(&format!("server {place} to be {what}"), || {
        condition(&farm.server_status(place))
    });
}

#[test]
fn old_servers_are_recognised_and_get_each_file_over_a_connection_of_its_own_unconfirmed() {
    let servers = [OldServer::start(), OldServer::start()];
    let farm = farm_over(&[(&servers[0], 3), (&servers[1], 1)], &[]);
    assert!(
        farm.status()
            .servers
            .iter()
            .all(|server| server.dialect == Some(Dialect::OldStyle))
    );
    let folder = write_files(&farm, 40, small);
    let output = farm.send(&["-r", &folder, "--json"]);
    assert!(output.status.success(), "{output:?}");

    // A receipt says that the bytes were handed over; the server may still be reading them.
    wait_until("all files to be there", || {
        servers
            .iter()
            .map(|server| server.files().len())
            .sum::<usize>()
            == 40
    });
    let mut numbers = Vec::new();
    for server in &servers {
        server.check();
        for file in server.files().iter() {
            let keys: Vec<&String> = file.as_object().unwrap().keys().collect();
            assert_eq!(
                keys,
                ["contenuto", "numero_richiesta", "request_type", "titolo"],
                "no other keys"
            );
            let title = file["titolo"].as_str().unwrap();
            let place: usize = title.strip_suffix(".bin").unwrap().parse().unwrap();
            assert_eq!(file["contenuto"].as_str().unwrap().as_bytes(), small(place));
            numbers.push(file["numero_richiesta"].as_u64().unwrap());
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<u64>>());

    let receipts: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(receipts.len(), 40);
    for receipt in receipts {
        assert_eq!(
            (&receipt["state"], &receipt["confirmed"]),
            (&json!("delivered"), &json!(false)),
            "{receipt}"
        );
    }
    let unconfirmed = || {
        farm.log()
            .lines()
            .filter(|line| line.contains("delivered unconfirmed"))
            .count()
    };
    wait_until("each to be logged as unconfirmed", || unconfirmed() == 40);
}

#[test]
fn forty_files_at_once_go_three_to_one_to_old_servers() {
    let servers = [OldServer::start(), OldServer::start()];
    let farm = farm_over(&[(&servers[0], 3), (&servers[1], 1)], &[]);
    let folder = write_files(&farm, 40, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || {
        servers
            .iter()
            .map(|server| server.files().len())
            .sum::<usize>()
            == 40
    });
    assert_eq!(
        servers.each_ref().map(|server| server.files().len()),
        [30, 10]
    );
}

#[test]
fn files_one_after_the_other_go_three_to_one_to_old_servers() {
    let servers = [OldServer::start(), OldServer::start()];
    let farm = farm_over(&[(&servers[0], 3), (&servers[1], 1)], &[]);
    let mut wire = Wire::native(&farm.balancer.address);
    for id in 1..=40 {
        wire.write(&frame(&put(id, "x"), b"content"));
        assert!(wire.frame_of("delivered").contains(r#""confirmed":false"#));
    }
    wait_until("all files to be there", || {
        servers
            .iter()
            .map(|server| server.files().len())
            .sum::<usize>()
            == 40
    });
    assert_eq!(
        servers.each_ref().map(|server| server.files().len()),
        [30, 10]
    );
}

#[test]
fn what_an_old_server_cannot_take_goes_to_the_native_server_beside_it() {
    let old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[1]);
    let document = |content: &str| {
        json!({"titolo": "x", "contenuto": content, "request_type": "file_di_testo", "numero_richiesta": 1}).to_string()
    };
    let frame = document("").len();
    let folder = write_files(&farm, 30, |file| match file % 3 {
        0 => vec![b'x'; 4097],
        // Each quote becomes two bytes in the document.
        1 => vec![b'"'; (4096 - frame) / 2 + 100],
        _ => b"no \xff UTF-8".to_vec(),
    });
    let output = farm.send(&["-r", &folder]);
    assert!(output.status.success(), "{output:?}");
    let stored = farm.stored(0);
    assert_eq!(stored.len(), 30, "all of them went to the native server");
    for (name, content) in stored {
        let title = name.split_once('_').unwrap().1;
        assert_eq!(
            content,
            fs::read(format!("{folder}/{title}")).unwrap(),
            "{name}"
        );
    }
    assert_eq!(old.titles(), Vec::<String>::new());
    old.check();
    assert_eq!(farm.server_status(0).returned, 0, "it was not even tried");
}

#[test]
fn a_document_of_just_4096_bytes_goes_to_an_old_server_and_one_byte_more_does_not() {
    let old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[]);
    let length = |content: usize| {
        let content = "x".repeat(content);
        let keys = json!({"titolo": "x", "contenuto": content, "request_type": "file_di_testo", "numero_richiesta": 1});
        keys.to_string().len()
    };
    let fits = 4096 - length(0);
    assert_eq!(length(fits), 4096);
    let mut wire = Wire::native(&farm.balancer.address);
    wire.write(&frame(&put(1, "x"), &vec![b'x'; fits]));
    wire.frame_of("delivered");
    wait_until("the file to be there", || old.files().len() == 1);
    assert_eq!(old.files()[0]["contenuto"].as_str().unwrap().len(), fits);
    wire.write(&frame(&put(2, "x"), &vec![b'x'; fits + 1]));
    wait_for_line(|| farm.log(), &["waits", "number=2", "4096"]);
    old.check();
    assert_eq!(farm.status().queue.files(), 1);
}

#[test]
fn with_only_old_servers_a_large_file_waits_with_a_reason_and_goes_when_one_is_replaced_by_a_native_server()
 {
    let mut old = OldServer::start();
    let farm = farm_with(&[(&old, 1)], &[], &["--probe-interval", "200ms"]);
    let folder = write_files(&farm, 2, |file| {
        if file == 0 {
            vec![b'x'; 5000]
        } else {
            vec![0xff; 10]
        }
    });
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    let large = wait_for_line(|| farm.log(), &["waits", "title=0.bin"]);
    assert!(large.contains("4096"), "{large}");
    let not_text = wait_for_line(|| farm.log(), &["waits", "title=1.bin"]);
    assert!(not_text.contains("UTF-8"), "{not_text}");

    // What it can take is not held up by what it cannot.
    let small_ones = write_files(&farm, 5, small);
    assert!(farm.send(&["-r", &small_ones]).status.success());
    assert_eq!(farm.status().queue.files(), 2);

    old.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    let _native = native_at(&farm, &old.address);
    wait_for_delivered(&farm, 7);
    let mut stored: Vec<Vec<u8>> = stored(&farm.dir.path().join("json_files_9"))
        .into_values()
        .collect();
    stored.sort();
    assert_eq!(stored, [vec![b'x'; 5000], vec![0xff; 10]]);
    old.check();
}

#[test]
fn with_only_old_servers_a_large_file_goes_when_another_configured_server_comes_up_and_is_native() {
    let old = OldServer::start();
    let farm = farm_with(&[(&old, 1)], &[1], &["--probe-interval", "200ms"]);
    let Farm {
        mut servers,
        balancer,
        dir,
    } = farm;
    servers[0].kill();
    let mut farm = Farm {
        servers,
        balancer,
        dir,
    };
    wait_for_server(&farm, 1, "down", |server| !server.eligible);
    let folder = write_files(&farm, 3, |_| vec![b'x'; 10_000]);
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    wait_for_line(|| farm.log(), &["waits", "4096"]);
    // Its waits have grown to seconds by the time that the server is there.
    let started = Instant::now();
    farm.servers[0].restart();
    wait_for_delivered(&farm, 3);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(farm.stored(0).len(), 3);
}

#[test]
fn the_overload_byte_of_an_old_server_stops_files_and_lets_them_come_again() {
    let (busy, other) = (OldServer::start(), OldServer::start());
    let farm = farm_over(&[(&busy, 1), (&other, 1)], &[]);
    busy.set_overloaded(true);
    let set = Instant::now();
    wait_for_server(&farm, 0, "overloaded", |server| {
        server.overloaded && !server.eligible
    });
    assert!(
        set.elapsed() < Duration::from_secs(5),
        "about two seconds, not {:?}",
        set.elapsed()
    );
    let folder = write_files(&farm, 20, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || other.files().len() == 20);
    assert_eq!(busy.files().len(), 0, "it gets none while its byte is 1");

    // With all of them overloaded, files wait.
    other.set_overloaded(true);
    wait_for_server(&farm, 1, "overloaded", |server| {
        server.overloaded && !server.eligible
    });
    assert!(
        farm.send(&["-r", &folder, "--wait", "accepted"])
            .status
            .success()
    );
    busy.wait_for_statuses(2);
    other.wait_for_statuses(2);
    assert_eq!(
        (
            busy.files().len(),
            other.files().len(),
            farm.status().queue.files()
        ),
        (0, 20, 20)
    );

    busy.set_overloaded(false);
    let cleared = Instant::now();
    wait_until("the files to come again", || busy.files().len() == 20);
    assert!(
        cleared.elapsed() < Duration::from_secs(5),
        "about two seconds, not {:?}",
        cleared.elapsed()
    );
    assert_eq!(other.files().len(), 20);
    busy.check();
    other.check();
}

#[test]
fn an_old_server_that_dies_is_down_and_is_used_again_when_it_returns() {
    let (mut mortal, other) = (OldServer::start(), OldServer::start());
    let farm = farm_over(&[(&mortal, 1), (&other, 1)], &[]);
    let folder = write_files(&farm, 10, small);
    mortal.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    assert!(farm.server_status(0).reason.is_some());
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || other.files().len() == 10);
    mortal.listen();
    wait_for_server(&farm, 0, "up", |server| server.eligible);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || {
        mortal.files().len() + other.files().len() == 20
    });
    assert!(!mortal.files().is_empty(), "it is used again");
    wait_for_line(|| farm.log(), &["server ineligible", &mortal.address]);
    wait_for_line(|| farm.log(), &["server recovered", &mortal.address]);
}

/// Files that are sent while a dead old server is not yet seen to be dead are not lost: a
/// connection that is refused is no delivery.
#[test]
fn files_for_an_old_server_that_has_just_died_go_to_the_other() {
    let (mut mortal, other) = (OldServer::start(), OldServer::start());
    let farm = farm_over(&[(&mortal, 1), (&other, 1)], &[]);
    let folder = write_files(&farm, 20, small);
    mortal.kill();
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || other.files().len() == 20);
}

#[test]
fn an_old_server_that_is_replaced_by_a_native_one_is_recognised_again_and_the_other_way_round() {
    let mut old = OldServer::start();
    let farm = farm_with(&[(&old, 1)], &[], &["--probe-interval", "200ms"]);
    old.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    let mut native = native_at(&farm, &old.address);
    wait_for_server(&farm, 0, "native", |server| {
        server.eligible && server.dialect == Some(Dialect::Native)
    });
    let folder = write_files(&farm, 4, |_| vec![0xff; 5000]);
    assert!(farm.send(&["-r", &folder]).status.success());
    assert_eq!(stored(&farm.dir.path().join("json_files_9")).len(), 4);

    native.kill();
    wait_for_server(&farm, 0, "down", |server| !server.eligible);
    let back = OldServer::at(&old.address);
    wait_for_server(&farm, 0, "old-style", |server| {
        server.eligible && server.dialect == Some(Dialect::OldStyle)
    });
    let folder = write_files(&farm, 4, small);
    assert!(farm.send(&["-r", &folder]).status.success());
    wait_until("all files to be there", || back.files().len() == 4);
    back.check();
}

/// The swap happens between two probes, so that no probe fails: the server that answers is another
/// one all the same.
#[test]
fn a_server_that_is_replaced_between_two_probes_is_recognised_again() {
    let mut old = OldServer::start();
    let farm = farm_over(&[(&old, 1)], &[]);
    old.wait_for_statuses(1);
    old.kill();
    let mut native = native_at(&farm, &old.address);
    let folder = write_files(&farm, 4, |_| vec![0xff; 5000]);
    let output = farm.send(&["-r", &folder, "--timeout", "20s"]);
    assert!(
        output.status.success(),
        "a native server is there and gets nothing: {output:?}"
    );
    assert_eq!(farm.server_status(0).dialect, Some(Dialect::Native));

    native.kill();
    let back = OldServer::at(&old.address);
    let folder = write_files(&farm, 4, small);
    let output = farm.send(&["-r", &folder, "--timeout", "20s"]);
    assert!(output.status.success(), "{output:?}");
    wait_until("all files to be there", || back.files().len() == 4);
    assert_eq!(farm.server_status(0).dialect, Some(Dialect::OldStyle));
    back.check();
}

// ---------------------------------------------------------------- its balancer, our server

/// A server of ours in a directory of its own.
fn server(flags: &[&str]) -> (tempfile::TempDir, Role) {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, flags);
    (dir, server)
}

/// What a server answers to this over a fresh connection, to the end.
fn ask(server: &Role, request: &str) -> Vec<u8> {
    let mut wire = Wire::connect(&server.address);
    wire.write(request.as_bytes());
    wire.rest()
}

/// The object with which a balancer of the first system sends a file on.
fn numbered(number: u64, title: &str, content: &str) -> String {
    let document = old_style_put(title, content);
    format!(
        "{}, \"numero_richiesta\": {number}}}",
        document.strip_suffix('}').unwrap()
    )
}

#[test]
fn an_old_balancers_status_request_is_answered_with_one_byte_and_closed() {
    let (_dir, server) = server(&[]);
    assert_eq!(ask(&server, r#"{"request_type": "richiesta_status"}"#), [0]);
    assert_eq!(
        ask(&server, r#"{"request_type": "whatever"}"#),
        [0],
        "as an old server answers what it does not know"
    );
    // In pieces, too.
    let mut wire = Wire::connect(&server.address);
    for byte in br#"{"request_type": "richiesta_status"}"# {
        wire.write(&[*byte]);
    }
    assert_eq!(wire.rest(), [0]);
}

#[test]
fn an_old_balancers_files_are_stored_under_number_and_title_and_not_answered() {
    let (dir, server) = server(&[]);
    let document = |number: u64| {
        numbered(
            number,
            &format!("perché {number}.json"),
            &format!("{number} {AWKWARD}"),
        )
    };
    for number in 1..=30 {
        let document = if number % 2 == 0 {
            document(number)
        } else {
            as_ascii(&document(number))
        };
        let mut wire = Wire::connect(&server.address);
        wire.write(document.as_bytes());
        if number % 3 == 0 {
            wire.0.shutdown(Shutdown::Write).unwrap();
            assert_eq!(wire.rest(), b"");
        }
        // It closes at once, as the old balancer does.
    }
    let large = AWKWARD.repeat((2 << 20) / AWKWARD.len());
    Wire::connect(&server.address).write(numbered(31, "large.json", &large).as_bytes());
    let files = dir.path().join("json_files_1");
    wait_until("all files to be stored", || stored(&files).len() == 31);
    let mut stored = stored(&files);
    assert!(stored.remove("31_large.json").unwrap() == large.as_bytes());
    for number in 1..=30 {
        let content = stored
            .remove(&format!("{number}_perché {number}.json"))
            .unwrap();
        assert_eq!(
            String::from_utf8(content).unwrap(),
            format!("{number} {AWKWARD}")
        );
    }
}

/// The first balancer counts from 1 again at each start: a file that is there already must not be
/// lost by that.
#[test]
fn an_old_balancer_that_counts_from_one_again_overwrites_nothing() {
    let (dir, server) = server(&[]);
    for content in ["before", "after", "after"] {
        Wire::connect(&server.address).write(numbered(1, "x.json", content).as_bytes());
    }
    let contents = || {
        let mut contents: Vec<Vec<u8>> = stored(&dir.path().join("json_files_1"))
            .into_values()
            .collect();
        contents.sort();
        contents
    };
    wait_until("both to be stored", || contents().len() >= 2);
    assert_eq!(contents(), [b"after".to_vec(), b"before".to_vec()]);
}

/// It cannot be told, so the log must say that the file is lost.
#[test]
fn an_old_balancers_file_that_cannot_be_stored_is_named_in_the_log() {
    let (dir, mut server) = server(&[]);
    let files = dir.path().join("json_files_1");
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    let log = || fs::read_to_string(dir.path().join(format!("logs/server-{port}.log"))).unwrap();
    let mut wire = Wire::connect(&server.address);
    fs::remove_dir_all(&files).unwrap();
    wire.write(numbered(1, "lost.json", "content").as_bytes());
    wait_for_line(
        log,
        &[
            "cannot store",
            "number=1",
            "lost.json",
            "while the server ran",
        ],
    );
    wait_for_line(log, &["is lost", "number=1"]);
    wait_until("the server to end", || server.ended().is_some());
    server.restart();
    Wire::connect(&server.address).write(numbered(2, "kept.json", "content").as_bytes());
    wait_until("the next file to be stored", || {
        stored(&files).contains_key("2_kept.json")
    });
}

#[test]
fn the_discovery_request_is_answered_with_the_native_greeting() {
    let (_dir, server) = server(&[]);
    let mut wire = Wire::connect(&server.address);
    wire.write(br#"{"request_type": "bilico"}"#);
    let (hello, content) = wire.greeting();
    let mut hello: Value = serde_json::from_str(&hello).unwrap();
    let identity = hello.as_object_mut().unwrap().remove("identity").unwrap();
    assert_eq!(identity.as_str().unwrap().len(), 32);
    let instance = hello.as_object_mut().unwrap().remove("instance").unwrap();
    assert_eq!(instance.as_str().unwrap().len(), 32);
    let [memory, limit] = ["memory", "memory_limit"]
        .map(|field| hello.as_object_mut().unwrap().remove(field).unwrap());
    assert!(
        0 < memory.as_u64().unwrap() && memory.as_u64() < limit.as_u64(),
        "{memory} {limit}"
    );
    assert_eq!(
        hello,
        json!({"request_type": "hello", "role": "server", "overloaded": false})
    );
    assert_eq!((content, wire.rest()), (Vec::new(), Vec::new()));
    assert_eq!(ask(&server, r#"{"request_type": "bilico"}"#)[..8], PREFACE);
}

#[test]
fn an_old_balancer_is_told_of_the_overload_with_byte_one() {
    let (_dir, server) = server(&["--overload-margin", "1MiB", "--work-delay", "200ms"]);
    assert_eq!(ask(&server, r#"{"request_type": "richiesta_status"}"#), [0]);
    // The work on it takes longer than any test.
    let content = "a".repeat(8 << 20);
    Wire::connect(&server.address).write(numbered(1, "work.json", &content).as_bytes());
    wait_until("the byte to be 1", || {
        ask(&server, r#"{"request_type": "richiesta_status"}"#) == [1]
    });
    assert_eq!(ask(&server, r#"{"request_type": "whatever"}"#), [1]);
}

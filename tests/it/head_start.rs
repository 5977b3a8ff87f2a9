//! Large files that go to their server while they still come in, over real processes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use bilico_testkit::{Client, Farm, Role, frame, noise, put_header, wait_until};

const SIZE: usize = 32 << 20;

/// A large file of which a half has come, and the place of the server that it goes ahead to.
struct Half {
    client: Client,
    whole: Vec<u8>,
    server: usize,
}

fn unfinished(farm: &Farm, place: usize) -> usize {
    let dir: PathBuf = farm.server_dir(place);
    farm.servers[place].unfinished(&dir)
}

fn holds_ahead(farm: &Farm) -> Option<usize> {
    (0..farm.servers.len()).find(|place| unfinished(farm, *place) == 1)
}

impl Half {
    fn send(farm: &Farm, content: &[u8]) -> Self {
        let mut client = Client::connect(&farm.balancer.address);
        let header = put_header(1, Some("large")).to_string();
        let whole = frame(&header, content);
        client.wire.write(&whole[..SIZE / 2]);
        wait_until("it to go ahead", || holds_ahead(farm).is_some());
        Self {
            client,
            whole,
            server: holds_ahead(farm).unwrap(),
        }
    }

    fn send_the_rest(&mut self) {
        self.client.wire.write(&self.whole[SIZE / 2..]);
    }
}

/// Waits until nothing is held ahead, and checks that the file is stored once.
fn stored_once(farm: &Farm, content: &[u8]) -> usize {
    let has = |place: &usize| farm.stored(*place).values().any(|stored| stored == content);
    let holders: Vec<usize> = (0..farm.servers.len()).filter(has).collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert_eq!(farm.all_stored().len(), 1);
    wait_until("nothing to be held", || holds_ahead(farm).is_none());
    holders[0]
}

#[test]
fn a_file_that_went_ahead_is_stored_once_where_it_went() {
    let farm = Farm::start(&[1, 1, 1]);
    let content = noise(1, SIZE);
    let mut half = Half::send(&farm, &content);
    assert!(farm.all_stored().is_empty());
    half.send_the_rest();
    half.client.expect("accepted", 1);
    half.client.expect("delivered", 1);
    assert_eq!(stored_once(&farm, &content), half.server);
}

#[test]
fn a_server_that_dies_with_content_ahead_costs_nothing_but_time() {
    let mut farm = Farm::start(&[1, 1]);
    let content = noise(1, SIZE);
    let mut half = Half::send(&farm, &content);
    farm.servers[half.server].kill();
    half.send_the_rest();
    half.client.expect("accepted", 1);
    half.client.expect("delivered", 1);
    farm.servers[half.server].restart();
    farm.wait_until_up();
    assert_ne!(stored_once(&farm, &content), half.server);
}

#[test]
fn a_balancer_that_dies_leaves_nothing_at_the_server_and_the_file_comes_again() {
    let mut farm = Farm::start(&[1, 1]);
    let content = noise(1, SIZE);
    let half = Half::send(&farm, &content);
    farm.balancer.kill();
    wait_until("nothing to be held", || holds_ahead(&farm).is_none());
    assert!(farm.all_stored().is_empty());
    drop(half);
    farm.balancer.restart();
    farm.wait_until_up();
    let mut client = Client::connect(&farm.balancer.address);
    let there = client.offer_wanted(1, "large", SIZE);
    client.resume(1, "large", &content, there);
    client.expect("delivered", 1);
    stored_once(&farm, &content);
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing_at_the_server_and_goes_on_later() {
    let farm = Farm::start(&[1, 1]);
    let content = noise(1, SIZE);
    drop(Half::send(&farm, &content));
    wait_until("nothing to be held", || holds_ahead(&farm).is_none());
    let mut client = Client::connect(&farm.balancer.address);
    let there = client.offer_wanted(1, "large", SIZE);
    assert!(there > 0);
    client.resume(1, "large", &content, there);
    client.expect("delivered", 1);
    stored_once(&farm, &content);
}

/// What is accepted can go elsewhere at once, whatever became of what went ahead.
#[test]
fn a_server_that_stops_answering_with_content_ahead_does_not_keep_the_file() {
    let farm = Farm::with(&[1, 1], &[], &["--stall-timeout", "2s"]);
    let content = noise(1, SIZE);
    let mut half = Half::send(&farm, &content);
    let frozen: &Role = &farm.servers[half.server];
    frozen.signal("STOP");
    half.send_the_rest();
    half.client.expect("accepted", 1);
    half.client.expect("delivered", 1);
    frozen.signal("CONT");
    farm.wait_until_up();
    assert_ne!(stored_once(&farm, &content), half.server);
}

/// An upload over HTTP says its size, too.
#[test]
fn an_upload_over_http_goes_ahead() {
    let farm = Farm::start(&[1, 1]);
    let content = noise(1, SIZE);
    let mut http = TcpStream::connect(farm.balancer.admin.as_ref().unwrap()).unwrap();
    let head = format!(
        "PUT /files/large?wait=delivered HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-length: {SIZE}\r\n\r\n"
    );
    http.write_all(head.as_bytes()).unwrap();
    http.write_all(&content[..SIZE / 2]).unwrap();
    wait_until("it to go ahead", || holds_ahead(&farm).is_some());
    let server = holds_ahead(&farm).unwrap();
    http.write_all(&content[SIZE / 2..]).unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"delivered\""), "{answer}");
    assert_eq!(stored_once(&farm, &content), server);
}

//! What is a user's own: keys, and what became of files.

use bilico_testkit::{number, wait_until};

use super::Locked;

/// Whoever meets a key of somebody else's would get that one's receipts, or keep its files out.
#[test]
fn two_users_have_the_same_key_and_do_not_meet() {
    let locked = Locked::start();
    let (anna, bob) = (locked.user("anna", "sender"), locked.user("bob", "sender"));
    let (mut anna, mut bob) = (locked.client(&anna), locked.client(&bob));
    let first = anna.put_accepted(1, Some("invoice"), b"of anna");
    let second = bob.put_accepted(1, Some("invoice"), b"of bobs");
    assert_ne!(first, second);
    anna.expect("delivered", 1);
    bob.expect("delivered", 1);
    // The same key of the same user is the same file.
    assert_eq!(
        number(&{
            anna.put(2, Some("invoice"), b"of anna");
            anna.expect("accepted", 2)
        }),
        first
    );
    // What anna has sent is not there for bob, whatever he offers.
    anna.put_accepted(3, Some("secret"), &vec![7; 100_000]);
    anna.expect("delivered", 3);
    assert_eq!(bob.offer_wanted(3, "secret", 100_000), 0);
    let mut stored = locked.stored();
    stored.sort();
    assert_eq!(stored.len(), 3);
    assert!(stored.contains(&b"of anna".to_vec()) && stored.contains(&b"of bobs".to_vec()));
    // People see the key as its user knows it.
    let root = locked.login("root");
    let shown = locked.http(Some(&root), "GET", &format!("/api/v1/files/{second}"));
    assert_eq!(shown.json()["key"], "invoice", "{shown:?}");
    assert!(shown.text().contains("bob@127.0.0.1"), "{shown:?}");
}

/// An upload of one user goes on though another offers the same key.
#[test]
fn an_offer_of_another_user_does_not_end_an_upload() {
    let locked = Locked::start();
    let (anna, bob) = (locked.user("anna", "sender"), locked.user("bob", "sender"));
    let (mut anna, mut bob) = (locked.client(&anna), locked.client(&bob));
    let content = vec![5; 1_000_000];
    let frame = bilico_testkit::frame(
        &bilico_testkit::put_header(1, Some("k")).to_string(),
        &content,
    );
    let (begin, rest) = frame.split_at(frame.len() / 2);
    anna.wire.write(begin);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(
        bob.offer_wanted(1, "k", content.len()),
        0,
        "nothing of it is told"
    );
    anna.wire.write(rest);
    anna.expect("accepted", 1);
    anna.expect("delivered", 1);
}

/// Whoever sends many files makes the balancer forget its own, not those of others: a file that is
/// sent again must still be known.
#[test]
fn a_user_of_many_files_lets_no_other_be_forgotten() {
    let locked = Locked::with(&["--remember-files", "20"]);
    let (anna, bob) = (locked.user("anna", "sender"), locked.user("bob", "sender"));
    let mut client = locked.client(&anna);
    client.put_accepted(1, Some("k"), b"of anna");
    client.expect("delivered", 1);
    let mut flood = locked.client(&bob);
    for id in 0..200 {
        flood.put_accepted(id, Some(&format!("b{id}")), b"of bob");
        flood.expect("delivered", id);
    }
    // What there is too much of is forgotten once a second: then bob's first file is a new one.
    let mut id = 500;
    wait_until("bob's own oldest to be forgotten", || {
        id += 1;
        flood.put(id, Some("b0"), b"of bob");
        flood.expect("delivered", id);
        locked.stored().len() > 201
    });
    client.put(2, Some("k"), b"of anna");
    client.expect("accepted", 2);
    client.expect("delivered", 2);
    let stored = locked.stored().into_iter();
    assert_eq!(stored.filter(|content| content == b"of anna").count(), 1);
}

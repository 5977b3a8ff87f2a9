//! Files in doubt: a server vanished before it acknowledged them.

use std::fs;

use bilico_testkit::{Client, Farm, noise, wait_for, wait_for_line, wait_until};

/// A farm of two servers, the first one stopped with some of 40 files. Returns their numbers, too.
fn frozen(flags: &[&str]) -> (Farm, Client, Vec<u64>) {
    let farm = Farm::with(&[1, 1], &[], flags);
    farm.servers[0].signal("STOP");
    let mut client = farm.client();
    for id in 1..=40 {
        assert_eq!(
            client.put_accepted(id, Some(&format!("k{id}")), &noise(id, 500)),
            id
        );
    }
    wait_until("the other server to have its share", || {
        farm.stored(1).len() >= 20
    });
    let here = farm.numbers_in(1);
    let with_first = (1..=40).filter(|number| !here.contains(number)).collect();
    (farm, client, with_first)
}

#[test]
fn files_in_doubt_wait_for_their_server_with_in_doubt_wait() {
    for killed in [false, true] {
        let (mut farm, mut client, in_doubt) = frozen(&["--in-doubt", "wait"]);
        if killed {
            farm.servers[0].kill();
        }
        let name = farm.servers[0].address.clone();
        let reason = [name.as_str(), "may have it", "--in-doubt wait"];
        wait_for("the files to be in doubt", || {
            let way = farm.history(in_doubt[0]);
            reason.iter().all(|part| way.contains(part)).then_some(())
        });
        let files = farm.status().queue.files();
        assert_eq!(files, in_doubt.len());
        if killed {
            // Files stay in doubt over a restart, and the reason names the server that must list
            // its files.
            farm.crash_balancer();
            wait_for("it to be told which server is missing", || {
                let way = farm.history(in_doubt[0]);
                way.contains(&format!("have not said yet whether they have it: {name}"))
                    .then_some(())
            });
            assert_eq!(farm.status().queue.files(), files);
        }
        assert!(
            farm.numbers_in(1)
                .iter()
                .all(|number| !in_doubt.contains(number)),
            "nothing went elsewhere"
        );
        if killed {
            farm.servers[0].restart();
        } else {
            farm.servers[0].signal("CONT");
        }
        farm.wait_until_delivered();
        farm.wait_until_each_is_there_once(40);
        if !killed {
            for id in 1..=40 {
                client.expect("delivered", id);
            }
        }
    }
}

/// A server whose directory cannot be used greets without an identity and lists no files. That was
/// taken for an empty list, and files in doubt were stored elsewhere, too.
#[test]
fn a_server_that_cannot_list_its_files_settles_no_doubt() {
    let (mut farm, _client, in_doubt) = frozen(&["--in-doubt", "wait"]);
    farm.servers[0].kill();
    wait_until("the files to be in doubt", || {
        farm.history(in_doubt[0]).contains("may have it")
    });
    let (dir, aside) = (farm.server_dir(0), farm.dir.path().join("aside"));
    fs::rename(&dir, &aside).unwrap();
    fs::write(&dir, "in the way").unwrap();
    farm.servers[0].restart();
    wait_for_line(
        || farm.log(),
        &["cannot list what", &farm.servers[0].address],
    );
    assert_eq!(farm.status().queue.files(), in_doubt.len());
    assert!(
        farm.numbers_in(1)
            .iter()
            .all(|number| !in_doubt.contains(number)),
        "nothing went elsewhere"
    );
    fs::remove_file(&dir).unwrap();
    fs::rename(&aside, &dir).unwrap();
    farm.wait_until_delivered();
    farm.wait_until_each_is_there_once(40);
}

#[test]
fn files_in_doubt_that_went_elsewhere_are_stored_once() {
    for killed in [false, true] {
        let (mut farm, mut client, in_doubt) = frozen(&[]);
        for id in 1..=40 {
            client.expect("delivered", id);
        }
        assert_eq!(farm.stored(1).len(), 40, "all went to the other one");
        if killed {
            farm.crash_balancer();
        }
        farm.servers[0].signal("CONT");
        farm.wait_until_up();
        farm.wait_until_each_is_there_once(40);
        assert!(!in_doubt.is_empty());
    }
}

//! The content of dead letters and waiting files, saved to files.

use std::fs;
use std::os::unix::fs::FileExt;

use bilico_testkit::{Farm, Fickle, http, noise};
use serde_json::json;

use super::helpers::{failed, good, has, lines};

/// Small and large dead letters of a balancer, from number 1 on.
fn dead(contents: &[Vec<u8>]) -> (Fickle, Farm) {
    let server = Fickle::start(Some("conflict"));
    let farm = server.farm(&[]);
    let mut client = farm.client();
    for (id, content) in (1..).zip(contents) {
        client.put(id, None, content);
        client.expect("dead", id);
    }
    (server, farm)
}

fn contents() -> Vec<Vec<u8>> {
    [0, 1, 65_536, 65_537, 3_000_000]
        .map(|len| noise(7, len))
        .to_vec()
}

#[test]
fn dead_letters_are_saved_byte_for_byte_and_nothing_is_overwritten() {
    let contents = contents();
    let (_server, mut farm) = dead(&contents);
    for restarted in [false, true] {
        if restarted {
            farm.crash_balancer();
        }
        let to = if restarted { "again" } else { "saved" };
        let told = good(farm.queue(&["save", "--all", "--to", to]));
        has(
            &told,
            &[
                "file 5: ",
                "3000000 bytes",
                &format!("5 files saved in {to}\n"),
            ],
        );
        let dir = farm.dir.path().join(to);
        let mut names: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 5);
        for (number, (name, content)) in (1..).zip(names.iter().zip(&contents)) {
            assert!(name.starts_with(&format!("{number}_")), "{name}");
            assert!(fs::read(dir.join(name)).unwrap() == *content, "{name}");
        }
        // A run that broke off is repeated: what is there stays.
        fs::remove_file(dir.join(&names[1])).unwrap();
        let told = good(farm.queue(&["save", "--all", "--to", to]));
        has(
            &told,
            &[&format!("1 file saved in {to}, 4 there already\n")],
        );
        fs::write(dir.join(&names[1]), "mine").unwrap();
        let taken = farm.queue(&["save", "--all", "--to", to]);
        assert_eq!(taken.code, Some(1));
        has(
            &taken.stderr,
            &[
                "is there already, with other content",
                "nothing is overwritten",
            ],
        );
        has(
            &taken.stdout,
            &["0 files saved", "4 there already, 1 not saved"],
        );
        assert_eq!(fs::read(dir.join(&names[1])).unwrap(), b"mine");
    }
    let one = farm.queue(&["save", "4", "-o", "-"]);
    assert_eq!((one.code, one.stdout.is_empty()), (Some(0), false));
    let json = lines(&good(
        farm.queue(&["save", "1", "2", "--to", "j", "--json"]),
    ));
    assert_eq!(
        (&json[1]["number"], &json[1]["state"]),
        (&json!(2), &json!("saved"))
    );
    good(farm.queue(&["save", "2", "-o", "two"]));
    assert!(fs::read(farm.dir.path().join("two")).unwrap() == contents[1]);
    failed(
        &farm.queue(&["save", "3", "-o", "two"]),
        1,
        &["two is there already"],
    );
    failed(&farm.queue(&["save", "9"]), 1, &["file 9 is not known"]);
    for args in [
        &["save"][..],
        &["save", "--all"],
        &["save", "1", "2", "-o", "x"],
    ] {
        assert_eq!(farm.queue(args).code, Some(2), "{args:?}");
    }
    let leftovers = fs::read_dir(farm.dir.path()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains(".part")
    });
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn a_title_cannot_lead_out_of_the_directory() {
    let farm = Farm::without_servers(&[1]);
    let put = http(
        &farm.balancer,
        "PUT",
        "/files/..%2F..%2Fetc%2Fpasswd",
        Some(&json!(1)),
    );
    assert_eq!(put.status, 202, "{put:?}");
    let told = good(farm.queue(&["save", "1", "--to", "deep/er"]));
    has(&told, &["1 file saved in deep/er\n"]);
    let names: Vec<_> = fs::read_dir(farm.dir.path().join("deep/er"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1);
    let content = http(&farm.balancer, "GET", "/api/v1/waiting/1/content", None);
    assert_eq!(content.status, 200);
    let header = &content.headers["content-disposition"];
    assert!(header.starts_with("attachment; filename=\"1_"), "{header}");
    assert!(!header.contains('/'), "{header}");
}

#[test]
fn damaged_content_is_told_and_saved_only_if_that_is_wanted() {
    let contents = vec![noise(1, 5_000), noise(2, 200_000)];
    let (_server, mut farm) = dead(&contents);
    farm.balancer.kill();
    let mut hit = 0;
    for entry in fs::read_dir(farm.journal()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        for content in &contents {
            let wanted = &content[1_000..1_032];
            if let Some(at) = bytes.windows(32).position(|window| window == wanted) {
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.write_all_at(&[wanted[0] ^ 1], at as u64).unwrap();
                hit += 1;
            }
        }
    }
    assert_eq!(hit, 2);
    farm.balancer.restart();
    let large = http(&farm.balancer, "GET", "/api/v1/files/2", None).json();
    if large["place"] == "dead" {
        let damaged = farm.queue(&["save", "2", "-o", "two"]);
        failed(
            &damaged,
            1,
            &[
                "file 2: its content is damaged in the journal",
                "--damaged saves",
            ],
        );
        assert!(!farm.dir.path().join("two").exists());
        good(farm.queue(&["save", "2", "-o", "two", "--damaged"]));
        let saved = fs::read(farm.dir.path().join("two")).unwrap();
        let wrong = saved
            .iter()
            .zip(&contents[1])
            .filter(|(one, other)| one != other);
        assert_eq!((saved.len(), wrong.count()), (200_000, 1));
    } else {
        panic!("{large}");
    }
}

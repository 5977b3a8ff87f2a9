//! Files on the page: the search, dead letters, what waits, and handing files over.

use std::fs;

use serde_json::json;

use super::Page;
use bilico_testkit::{Farm, Fickle, http, wait_until};

#[test]
fn titles_are_text_wherever_they_show() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let title = "<img src=x onerror=\"document.title='owned'\"><b>é.xml";
    std::fs::write(farm.dir.path().join(title), b"12345").unwrap();
    assert_eq!(
        farm.send(&[title, "--timeout", "60s"]).status.code(),
        Some(1),
        "it is a dead letter"
    );
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    page.browser
        .wait("document.querySelectorAll('#dead-list > li').length === 1");
    assert!(page.browser.text("#dead-list .title") == title);
    assert!(
        page.browser
            .text("#dead-list .reason")
            .contains("it is too_large for me")
    );
    for wanted in ["1", "#1", "ONERROR", title] {
        page.find(wanted);
        page.browser
            .wait("document.querySelectorAll('#found li details').length === 1");
        assert_eq!(page.browser.text("#found .title"), title);
        assert!(
            page.browser
                .text("#found .way")
                .contains("it is too_large for me")
        );
        page.browser
            .value("document.querySelector('#found').replaceChildren()");
    }
    page.find("<i>nothing");
    page.browser
        .wait("document.querySelector('#found-note').innerText.includes('“<i>nothing”')");
    page.find("#99");
    page.browser
        .wait("document.querySelector('#found-note').innerText === 'No file #99 is remembered.'");

    server.says(None);
    page.browser.click("#dead-list .replay");
    assert!(page.browser.text("#dialog").contains(title));
    page.confirm();
    wait_until("the file to be delivered", || server.numbers() == [1]);
    page.browser
        .wait("document.querySelectorAll('#dead-list > li').length === 0");
    page.browser
        .wait("!document.querySelector('#dead-note').hidden");
    assert!(
        page.browser
            .holds("document.querySelectorAll('img').length === 1"),
        "the logo is the only picture"
    );
    assert_ne!(page.browser.value("document.title"), "owned");
    // The browser logs an error because there is no file 99.
    page.check(true);
}

#[test]
fn dead_letters_with_one_reason_stand_together_and_are_dealt_with_together() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    let titles: Vec<String> = (1..=6).map(|n| format!("report-{n}.xml")).collect();
    for title in &titles {
        farm.write(title, b"12345");
    }
    let mut args: Vec<&str> = titles.iter().map(String::as_str).collect();
    args.extend(["--timeout", "60s"]);
    assert_eq!(farm.send(&args).status.code(), Some(1));
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    page.browser
        .wait("document.querySelector('#dead-list .group strong')?.innerText === '6 files'");
    let said =
        "document.querySelector('#dead').innerText.split('it is too_large for me').length - 1";
    assert_eq!(page.browser.value(said), 1, "the reason is said once");
    let shown = "document.querySelectorAll('#dead-list .files > li').length";
    assert_eq!(page.browser.value(shown), 3);
    assert_eq!(page.browser.text("#dead-list .more-of"), "Show 3 more of 3");
    page.browser.click("#dead-list .more-of");
    page.browser.wait(&format!("{shown} === 6"));
    // The tile leads there.
    page.browser.value("scrollTo(0, 0)");
    page.browser.click("#tile-dead");
    page.browser.wait("location.hash === '#dead'");

    page.browser.click("#dead-list .throw");
    assert!(page.browser.text("#dialog").contains("gone for good"));
    page.confirm();
    page.browser.wait(&format!("{shown} === 5"));
    server.says(None);
    page.browser.click("#dead-list .replay-group");
    page.confirm();
    page.browser
        .wait("document.querySelector('#told').innerText === '5 files are on the way again.'");
    wait_until("five to be delivered", || server.numbers().len() == 5);
    page.browser
        .wait("document.querySelector('#dead-all').hidden");

    server.says(Some("too_large"));
    assert_eq!(farm.send(&args).status.code(), Some(1));
    page.browser.wait(&format!("{shown} === 3"));
    page.browser.click("#drop-all");
    assert!(
        page.browser
            .text("#dialog")
            .contains("Throw away all 6 dead letters?")
    );
    page.confirm();
    page.browser
        .wait("document.querySelector('#told').innerText === '6 files are thrown away.'");
    page.browser
        .wait("document.querySelector('#dead-all').hidden");
    page.check(false);
}

#[test]
fn without_a_server_the_page_says_so_and_lists_what_waits() {
    let farm = Farm::without_servers(&[1, 1]);
    let mut client = farm.client();
    for id in 1..=12 {
        client.put_accepted(id, None, b"12345");
    }
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    page.browser
        .wait("document.querySelector('#trouble').innerText.startsWith('No server can take files: 2 down. Files are accepted and wait: 12 files so far')");
    page.browser
        .wait("document.title === '■ no server can take files – Bilico'");
    page.browser.click("#tile-waiting");
    let shown = "document.querySelectorAll('#waiting-list > li').length";
    page.browser.wait(&format!("{shown} === 10"));
    assert!(
        page.browser
            .text("#waiting-note")
            .starts_with("The oldest 10 of 12 files")
    );
    page.browser.click("#waiting-more");
    page.browser.wait(&format!("{shown} === 12"));
    page.check(false);
}

#[test]
fn files_that_are_dropped_on_the_page_are_handed_over() {
    let farm = Farm::start(&[1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let folder = farm.dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    farm.write("a è #?%.txt", b"12345");
    farm.write("empty.txt", b"");
    farm.write("chosen.txt", b"123");
    let [odd, empty, chosen] =
        ["a è #?%.txt", "empty.txt", "chosen.txt"].map(|name| farm.dir.path().join(name));
    page.browser.drop_files(&[&odd, &empty, &folder]);
    page.browser.choose_files("#upload-files", &[&chosen]);
    page.browser.wait(
        "[...document.querySelectorAll('#upload-list li')].filter((line) => /accepted as file \\d+ · crc32c/.test(line.innerText)).length === 3",
    );
    page.browser
        .wait("document.querySelector('#told').innerText.startsWith('Left out: 1 folder')");
    wait_until("all to be stored", || farm.all_stored().len() == 3);
    let stored = bilico_testkit::by_title(farm.all_stored());
    assert_eq!(stored["a è #?%.txt"], b"12345");
    assert_eq!(stored["empty.txt"], b"");
    assert_eq!(stored["chosen.txt"], b"123");
    page.browser.click("#upload-list button");
    page.browser
        .wait("document.querySelector('#found .way')?.innerText.includes('accepted from')");
    page.check(false);
}

/// A file whose receipt did not come is sent again under the same key, so that it is there once.
#[test]
fn a_file_that_is_handed_over_again_is_stored_once() {
    let farm = Farm::start(&[1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    farm.write("once.txt", b"12345");
    let once = farm.dir.path().join("once.txt");
    farm.balancer.signal("STOP");
    page.browser.choose_files("#upload-files", &[&once]);
    page.browser.wait(
        "document.querySelector('#upload-list')?.innerText.includes('waiting for the receipt')",
    );
    page.browser.click("#upload-list button");
    page.browser
        .wait("document.querySelector('#upload-list').innerText.includes('may have taken it all the same')");
    farm.balancer.signal("CONT");
    page.browser
        .wait("!document.body.classList.contains('stale')");
    page.browser.click("#upload-list button");
    page.browser
        .wait("document.querySelector('#upload-list').innerText.includes('accepted as file')");
    wait_until("it to be stored", || !farm.all_stored().is_empty());
    let status = farm.status();
    assert_eq!((status.accepted, farm.all_stored().len()), (1, 1));
    page.check(true);
}

#[test]
fn events_can_be_filtered_and_none_is_cut() {
    let mut farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    farm.servers[1].kill();
    let second = farm.servers[1].address.clone();
    let lines = "[...document.querySelectorAll('#events li')]";
    page.browser.wait(&format!(
        "{lines}.some((line) => line.dataset.level !== 'info')"
    ));
    let all = page.browser.value(&format!("{lines}.length"));
    page.browser
        .value("(() => { const level = document.querySelector('#event-level'); level.value = '1'; level.dispatchEvent(new Event('input')); })()");
    assert!(page.browser.holds(&format!(
        "{lines}.length > 0 && {lines}.length < {all} && {lines}.every((line) => line.dataset.level !== 'info')"
    )));
    page.browser.click("#event-text");
    page.browser.type_text(&second);
    assert!(page.browser.holds(&format!(
        "{lines}.length > 0 && {lines}.every((line) => line.innerText.includes('{second}'))"
    )));
    page.browser.type_text(" nothing like it");
    page.browser
        .wait("document.querySelector('#no-events').innerText === 'No event is like that.'");
    assert!(
        page.browser.holds("document.querySelector('#events').scrollHeight <= document.querySelector('#events').clientHeight"),
        "the list has no edge that could cut a line"
    );
    page.check(false);
}

#[test]
fn dead_letters_are_saved_and_waiting_files_cancelled() {
    let server = Fickle::start(Some("too_large"));
    let farm = server.farm(&[]);
    farm.write("rare é.xml", b"the only copy");
    assert_eq!(
        farm.send(&["rare é.xml", "--timeout", "60s"]).status.code(),
        Some(1)
    );
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    page.browser
        .wait("document.querySelector('#dead-list .save')");
    let saved = page.browser.value(
        "fetch(document.querySelector('#dead-list .save').href).then(async (answer) => [await answer.text(), answer.headers.get('content-disposition')])",
    );
    assert_eq!(saved[0], "the only copy");
    assert!(
        saved[1].as_str().unwrap().starts_with("attachment"),
        "{saved}"
    );

    let drained = http(
        &farm.balancer,
        "PATCH",
        &format!("/api/v1/servers/{}", server.address),
        Some(&json!({"drained": true})),
    );
    assert_eq!(drained.status, 200);
    let mut client = farm.client();
    for id in 1..=5 {
        client.put_accepted(id, None, b"12345");
    }
    page.browser.click("#tile-waiting");
    let shown = "document.querySelectorAll('#waiting-list > li').length";
    page.browser.wait(&format!("{shown} === 5"));
    page.browser.click("#waiting-list .cancel");
    page.confirm();
    page.browser
        .wait("document.querySelector('#told').innerText === '1 file is cancelled.'");
    page.browser.wait(&format!("{shown} === 4"));
    page.browser.click("#cancel-all");
    assert!(
        page.browser
            .text("#dialog")
            .contains("Cancel all 4 waiting files?")
    );
    page.confirm();
    page.browser
        .wait("document.querySelector('#told').innerText === '4 files are cancelled.'");
    page.browser.wait(&format!("{shown} === 0"));
    assert_eq!(farm.status().queue.files(), 0);
    page.check(false);
}

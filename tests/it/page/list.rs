//! The list of servers: it fits its window, says first what is wrong, and stays quick.

use serde_json::{Value, json};

use super::{Page, row};
use bilico_testkit::{Farm, Role, http, start_balancer, start_server};

/// Names of the length that they have, of servers that are not there.
fn name(n: usize) -> String {
    let host = match n % 4 {
        0 => format!("fileserver-{n:02}.internal.example.com"),
        1 => format!("ingest-{n}.warehouse-07.eu-central-1.internal.example.com"),
        2 => format!("s{n}.{}.example.com", "x".repeat(50)),
        _ => return format!("127.77.{}.{}:9", n / 250, n % 250 + 1),
    };
    format!("{host}@127.77.{}.{}:9", n / 250, n % 250 + 1)
}

/// A balancer over one server that is up, and so many that are down.
fn many(dir: &std::path::Path, down: usize) -> (Role, Role) {
    let up = start_server(dir, 1, &[]);
    let mut servers = vec![format!("{}=1", up.address)];
    servers.extend((0..down).map(|n| format!("{}=1", name(n))));
    let balancer = start_balancer(dir, &servers, &["--probe-interval", "5s"]);
    (up, balancer)
}

/// The servers in the order in which the page lists them.
fn listed(page: &mut Page) -> Vec<String> {
    let names = page.browser.value(
        "[...document.querySelectorAll('#server-rows tr[data-server]')].map((row) => row.dataset.server)",
    );
    serde_json::from_value(names).unwrap()
}

#[test]
fn the_page_is_as_wide_as_its_window_whatever_servers_are_called() {
    for down in [3, 29, 999] {
        let dir = tempfile::tempdir().unwrap();
        let (up, balancer) = many(dir.path(), down);
        let Some(mut page) = Page::open(&balancer) else {
            return;
        };
        let rows = (down + 1).min(100);
        page.browser.wait(&format!(
            "document.querySelectorAll('#server-rows tr').length === {rows} && document.querySelectorAll('#server-rows tr[data-state=\"down\"]').length >= {}",
            rows - 1
        ));
        if down < 100 {
            page.wait_for_cell(&up.address, "State", |text| text.starts_with("up"));
            let last = listed(&mut page).pop();
            assert_eq!(
                last.as_ref(),
                Some(&up.address),
                "what is wrong comes first"
            );
        }
        // One that is open shows all of its name.
        page.browser.click("#server-rows .open");
        for width in [320, 390, 800, 1024, 1280, 1920] {
            page.browser.resize(width, 900);
            let measured = page.browser.value(
                "({document: document.documentElement.scrollWidth, \
                   orders: Math.max(...[...document.querySelectorAll('#server-rows .drain')].map((one) => one.getBoundingClientRect().right)), \
                   row: document.querySelector('#server-rows tr:last-child').getBoundingClientRect().height})",
            );
            let at_most = |what: &str, most: f64| {
                let value = measured[what].as_f64().unwrap();
                assert!(value <= most, "{what}: {value} at {width} with {down} down");
            };
            at_most("document", f64::from(width));
            at_most("orders", f64::from(width));
            at_most("row", if width > 900 { 40.0 } else { 125.0 });
        }
        page.browser.resize(1280, 900);
        let title = page.browser.value("[...document.querySelectorAll('#server-rows tr[data-server]')].every((row) => row.querySelector('.name').title === row.dataset.server && row.querySelector('.name').textContent === row.dataset.server)");
        assert_eq!(title, true, "the whole name is there");
        page.check(false);
    }
}

#[test]
fn an_update_of_a_thousand_servers_is_quick_and_touches_only_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (_up, balancer) = many(dir.path(), 999);
    let Some(mut page) = Page::open(&balancer) else {
        return;
    };
    page.browser
        .wait("document.querySelectorAll('#server-rows tr[data-state=\"down\"]').length === 100");
    page.browser.count_work();
    page.browser.value(
        "(() => { window.touched = 0; window.updates = 0; \
          new MutationObserver((all) => { touched += all.length; }).observe(document.querySelector('#server-rows'), {subtree: true, childList: true, attributes: true, characterData: true}); \
          const parse = JSON.parse; JSON.parse = (text) => { if (text.startsWith('{\"overview\"')) updates += 1; return parse(text); }; })()",
    );
    let before = page.browser.work();
    page.browser.wait("updates >= 5");
    let work = page.browser.work() - before;
    let seen = page.browser.value("[touched, updates]");
    let [touched, updates] = [0, 1].map(|place: usize| seen[place].as_f64().unwrap());
    let each = work / updates;
    assert!(
        each < 0.25,
        "{:.0} ms of a processor for an update",
        each * 1000.0
    );
    // A row has some forty nodes; how long it is down is one of them.
    let per_row = touched / updates / 100.0;
    assert!(per_row <= 2.0, "{per_row} changes in a row for an update");
    page.check(false);
}

#[test]
fn a_long_list_of_servers_comes_in_pages_and_can_be_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let servers: Vec<String> = (1..=205)
        .map(|last| format!("127.77.0.{last}:9=1"))
        .collect();
    let balancer = start_balancer(dir.path(), &servers, &["--probe-interval", "5s"]);
    let Some(mut page) = Page::open(&balancer) else {
        return;
    };
    let rows = "document.querySelectorAll('#server-rows tr').length";
    page.browser.wait(&format!("{rows} === 100"));
    assert_eq!(page.browser.text("#page-at"), "1–100 of 205");
    page.browser.click("#page-on");
    page.browser
        .wait("document.querySelector('#page-at').innerText === '101–200 of 205'");
    page.browser.click("#page-on");
    page.browser.wait(&format!("{rows} === 5"));
    page.browser.click("#filter-text");
    page.browser.type_text("127.77.0.20:");
    page.browser.wait(&format!("{rows} === 1"));
    page.browser
        .value("document.querySelector('#filter-text').select()");
    page.browser.type_text("nowhere");
    page.browser
        .wait("document.querySelector('#no-servers').innerText === 'No server is like that.'");
    page.check(false);
}

#[test]
fn the_list_is_sorted_by_any_column_and_stays_so() {
    let farm = Farm::start(&[1, 3, 2]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let servers: Vec<String> = farm.servers.iter().map(|one| one.address.clone()).collect();
    for server in &servers {
        page.wait_for_cell(server, "State", |text| text.starts_with("up"));
    }
    assert_eq!(listed(&mut page), servers, "as they were added");
    let sorted = |page: &mut Page, key: &str| -> Value {
        page.browser.value(&format!(
            "document.querySelector('th[data-sort={key}]').getAttribute('aria-sort')"
        ))
    };
    let order = |places: [usize; 3]| places.map(|place| servers[place].clone());
    assert_eq!(sorted(&mut page, "state"), "ascending");
    page.browser.click("th[data-sort=weight] button");
    assert_eq!(listed(&mut page), order([1, 2, 0]));
    assert_eq!(sorted(&mut page, "weight"), "descending");
    assert_eq!(sorted(&mut page, "state"), "none");
    // The same from the keyboard turns it round.
    page.browser.press("Enter");
    assert_eq!(listed(&mut page), order([0, 2, 1]));
    assert_eq!(sorted(&mut page, "weight"), "ascending");

    let weigh = |place: usize, weight: u32| {
        let path = format!("/api/v1/servers/{}", servers[place]);
        let answer = http(
            &farm.balancer,
            "PATCH",
            &path,
            Some(&json!({"weight": weight})),
        );
        assert_eq!(answer.status, 200);
    };
    weigh(0, 9);
    page.wait_for_cell(&servers[0], "Weight", |text| text == "9");
    assert_eq!(
        listed(&mut page),
        order([2, 1, 0]),
        "an update keeps the order"
    );

    // While somebody is at a row, none goes from under the pointer.
    page.browser.value(
        "window.at = setInterval(() => document.querySelector('#server-rows').dispatchEvent(new Event('pointermove')), 100)",
    );
    page.browser
        .wait("new Promise((done) => setTimeout(() => done(true), 200))");
    weigh(0, 1);
    page.wait_for_cell(&servers[0], "Weight", |text| text == "1");
    assert_eq!(listed(&mut page), order([2, 1, 0]));
    page.browser.wait("!document.querySelector('#held').hidden");
    page.browser.value("clearInterval(at)");
    page.browser
        .value("document.querySelector('#server-rows').dispatchEvent(new Event('pointerleave'))");
    page.browser.wait("document.querySelector('#held').hidden");
    assert_eq!(listed(&mut page), order([0, 2, 1]));

    let admin = page.admin.clone();
    page.browser.open(&format!("http://{admin}/"));
    page.browser
        .wait("document.querySelectorAll('#server-rows tr').length === 3");
    assert_eq!(listed(&mut page), order([0, 2, 1]), "and so does a reload");
    page.browser.resize(390, 800);
    page.browser.value("(() => { const by = document.querySelector('#sort-by'); by.value = 'weight'; by.dispatchEvent(new Event('change')); })()");
    assert_eq!(listed(&mut page), order([1, 2, 0]));
    page.browser.click("#sort-turn");
    assert_eq!(listed(&mut page), order([0, 2, 1]));
    page.check(false);
}

#[test]
fn shares_say_of_how_many_files_and_lines_how_high_they_go() {
    let farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let first = farm.servers[0].address.clone();
    let mut client = farm.client();
    for id in 1..=3 {
        client.put_accepted(id, None, b"12345");
    }
    page.browser
        .wait("document.querySelector('#head-share').innerText === 'had / wanted, of 3 files'");
    let title = |label: &str| json!(format!("{} td[data-label=\"{label}\"]", row(&first)));
    let share = title("Share");
    page.browser.wait(&format!(
        "/^[12] of the 3 files of the last minute/.test(document.querySelector({share}).title)"
    ));
    let back = title("Delivered");
    page.browser.wait(&format!(
        "document.querySelector({back}).title.includes('0 came back: files that it refused')"
    ));
    page.browser
        .wait("/^[1-3]\\/s$/.test(document.querySelector('#tile-out .scale').innerText)");
    page.browser
        .wait("/^minute, to [1-3]$/.test(document.querySelector('#head-rate').innerText)");
    page.check(false);
}

//! What the page shows while things change, and when it hears nothing.

use std::path::Path;

use serde_json::json;

use super::{Page, drain_button, row};
use bilico_testkit::{Client, Farm, wait_for, wait_until};

/// The red, green and blue of a server's state.
fn colour(page: &mut Page, server: &str) -> Vec<u32> {
    let mark = json!(format!("{} .mark", row(server)));
    let colour = page.browser.value(&format!(
        "getComputedStyle(document.querySelector({mark})).color"
    ));
    let numbers = colour
        .as_str()
        .unwrap()
        .trim_start_matches("rgb(")
        .trim_end_matches(')')
        .split(", ");
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// Puts files until a condition holds, so that a rate that is taken over seconds is not missed.
#[track_caller]
fn put_until(client: &mut Client, mut condition: impl FnMut() -> bool) {
    let mut id = 1000;
    wait_until("what is seen while files pass", || {
        id += 1;
        client.put_accepted(id, None, b"12345");
        condition()
    });
}

#[test]
fn numbers_move_while_files_pass_and_a_killed_server_turns_red() {
    let mut farm = Farm::start(&[3, 2, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let [first, second, third] = [0, 1, 2].map(|place: usize| farm.servers[place].address.clone());
    page.wait_for_cell(&first, "State", |text| text.starts_with("up"));

    let mut client = farm.client();
    for id in 1..=60 {
        client.put_accepted(id, None, b"12345");
    }
    for (server, files) in [(&first, "30"), (&second, "20"), (&third, "10")] {
        page.wait_for_cell(server, "Delivered", |text| {
            text.lines().next() == Some(files)
        });
    }
    page.wait_for_cell(&first, "Share", |text| text == "50.0 % / 50.0 %");
    put_until(&mut client, || {
        let moves = "[...document.querySelectorAll('.wide .value, .speed .rate')].every((node) => parseFloat(node.innerText) > 0)";
        page.browser.holds(moves)
    });
    page.browser
        .wait("/ms$/.test(document.querySelector('#tile-p99 .value').innerText)");
    let rises = "new Set(document.querySelector('#tile-out .stroke').getAttribute('d').match(/ [0-9.]+/g)).size > 1";
    page.browser.wait(rises);

    let green = colour(&mut page, &second);
    assert!(green[1] > green[0] && green[1] > green[2], "{green:?}");
    farm.servers[1].kill();
    // First its link is closed, then its probes fail, too.
    let reason = wait_for("a reason that lasts", || {
        let reason = farm.server_status(1).reason?;
        reason.strip_prefix("connection: ").map(str::to_owned)
    });
    page.wait_for_cell(&second, "State", |text| {
        text.starts_with("down") && text.lines().any(|line| line == reason)
    });
    let first_row = "document.querySelector('#server-rows tr').dataset.server";
    page.browser
        .wait(&format!("{first_row} === {}", json!(second)));
    let red = colour(&mut page, &second);
    assert!(red[0] > 2 * red[1] && red[0] > 2 * red[2], "{red:?}");
    let shape = json!(format!("{} .mark use", row(&second)));
    assert_eq!(
        page.browser.value(&format!(
            "document.querySelector({shape}).getAttribute('href')"
        )),
        "#i-down"
    );
    page.browser
        .wait("document.title === '▲ 1 of 3 servers down – Bilico'");
    page.browser.wait(&format!(
        "document.querySelector('#events').innerText.includes({})",
        json!(second)
    ));

    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    let (colours, light) = page.browser.screenshot(&dir.join("light.png"));
    assert!(
        colours > 100 && light > 0.7,
        "{colours} colours, lightness {light}"
    );
    page.browser.prefer("dark");
    page.browser
        .wait("document.documentElement.dataset.theme === 'dark'");
    let (colours, dark) = page.browser.screenshot(&dir.join("dark.png"));
    assert!(
        colours > 100 && dark < 0.3,
        "{colours} colours, lightness {dark}"
    );
    page.browser.click("#theme");
    page.browser
        .wait("document.documentElement.dataset.theme === 'light'");
    let (_, chosen) = page.browser.screenshot(&dir.join("chosen.png"));
    assert!(chosen > 0.7, "lightness {chosen}");
    page.browser.resize(360, 800);
    assert!(
        page.browser
            .holds("document.documentElement.scrollWidth <= 360")
    );
    page.browser.screenshot(&dir.join("narrow.png"));
    page.check(false);
}

#[test]
fn the_page_says_when_it_is_stale_and_lives_through_a_restart() {
    let mut farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let first = farm.servers[0].address.clone();
    page.wait_for_cell(&first, "State", |text| text.starts_with("up"));
    farm.client().put_accepted(1, None, b"12345");
    farm.balancer.kill();
    page.browser
        .wait("document.body.classList.contains('stale')");
    let banner = page.browser.text("#stale");
    assert!(
        banner.starts_with("Stale: last heard ") && banner.contains("the balancer does not answer"),
        "{banner}"
    );
    assert_eq!(page.browser.value("document.title"), "■ stale – Bilico");
    page.browser.click(&drain_button(&first));
    page.browser.click("#dialog-confirm");
    let says =
        |words| format!("document.querySelector('#dialog-error').innerText.includes('{words}')");
    page.browser.wait(&says("The balancer does not answer."));
    assert!(
        page.browser
            .holds(&says("may have taken the order all the same"))
    );
    page.browser.click("#dialog-cancel");

    farm.balancer.restart();
    page.browser.wait(
        "!document.body.classList.contains('stale') && document.querySelector('#stale').hidden",
    );
    page.wait_for_cell(&first, "State", |text| text.starts_with("up"));
    let mut client = farm.client();
    put_until(&mut client, || {
        page.browser
            .holds("parseFloat(document.querySelector('#tile-out .value').innerText) > 0")
    });
    page.check(true);
}

/// A balancer that hangs keeps its connections open, so the page must notice by itself.
#[test]
fn a_balancer_that_hangs_is_seen_to_be_stale() {
    let farm = Farm::start(&[1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    farm.balancer.signal("STOP");
    page.browser
        .wait("document.body.classList.contains('stale')");
    farm.balancer.signal("CONT");
    page.browser
        .wait("!document.body.classList.contains('stale')");
    page.check(true);
}

//! The operators' page in a real browser: what it shows, what it can do, and that titles do no
//! harm.

use std::path::Path;

use serde_json::{Value, json};

use crate::browser::Browser;
use bilico_testkit::{Client, Farm, Fickle, Role, http, start_balancer, wait_for, wait_until};

/// The page of a balancer, in a browser.
struct Page {
    browser: Browser,
    admin: String,
}

impl Page {
    /// Opens the page and waits until it is live. `None` if no browser is installed.
    fn open(balancer: &Role) -> Option<Self> {
        let admin = balancer.admin.clone().unwrap();
        let mut browser = Browser::start()?;
        browser.prefer("light");
        browser.open(&format!("http://{admin}/"));
        browser.wait("document.querySelector('#live')?.dataset.state === 'up'");
        Some(Self { browser, admin })
    }

    /// Checks that the page has logged no errors, except of requests that had to fail, and that it
    /// has sent requests to its balancer only.
    #[track_caller]
    fn check(mut self, requests_may_fail: bool) {
        assert_eq!(
            self.browser.complaints(requests_may_fail),
            Vec::<Value>::new()
        );
        let own = format!("http://{}/", self.admin);
        let requests = self.browser.requests();
        assert!(
            requests.contains(&format!("{own}api/v1/events?after=0")),
            "{requests:?}"
        );
        let strange = requests
            .iter()
            .filter(|url| !url.starts_with(&own) && !url.starts_with("data:image/png"));
        assert_eq!(strange.collect::<Vec<_>>(), Vec::<&String>::new());
    }

    /// Waits until the text of a cell in a server's row fulfils a condition.
    #[track_caller]
    fn wait_for_cell(&mut self, server: &str, label: &str, is: impl Fn(&str) -> bool) -> String {
        let cell = cell(server, label);
        wait_for(&format!("{label} of {server}"), || {
            Some(self.browser.text(&cell)).filter(|text| is(text))
        })
    }

    /// Confirms the dialog and waits until it is closed.
    #[track_caller]
    fn confirm(&mut self) {
        self.browser.click("#dialog-confirm");
        self.wait_for_no_dialog();
    }

    #[track_caller]
    fn wait_for_no_dialog(&mut self) {
        self.browser.wait("!document.querySelector('#dialog').open");
    }

    /// Presses Tab until an element has the focus.
    #[track_caller]
    fn tab_to(&mut self, selector: &str) {
        let has_focus = format!("document.activeElement.matches({})", json!(selector));
        for _ in 0..100 {
            if self.browser.holds(&has_focus) {
                return;
            }
            self.browser.press("Tab");
        }
        panic!("Tab does not get to {selector}");
    }

    /// Looks for a file as a person does.
    #[track_caller]
    fn find(&mut self, text: &str) {
        self.browser.click("#find-text");
        self.browser
            .value("document.querySelector('#find-text').select()");
        self.browser.type_text(text);
        self.browser.press("Enter");
    }
}

fn row(server: &str) -> String {
    format!("tr[data-server=\"{server}\"]")
}

fn cell(server: &str, label: &str) -> String {
    format!("{} td[data-label=\"{label}\"]", row(server))
}

fn drain_button(server: &str) -> String {
    format!("{} .drain", row(server))
}

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
fn the_page_is_served_with_a_policy_that_lets_nothing_else_in() {
    let farm = Farm::start(&[1]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/style.css", "text/css"),
    ] {
        let answer = http(&farm.balancer, "GET", path, None);
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.headers["content-type"].starts_with(kind),
            "{answer:?}"
        );
        assert!(
            answer.headers["content-security-policy"]
                .starts_with("default-src 'none'; script-src 'self'")
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-cache");
        assert!(answer.headers["etag"].len() > 10);
    }
    assert_eq!(
        http(&farm.balancer, "GET", "/assets/none.js", None).status,
        404
    );
    assert_eq!(http(&farm.balancer, "POST", "/", None).status, 405);
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
        text.lines().take(2).eq(["down", &reason])
    });
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
fn drain_and_weight_from_the_page_take_effect() {
    let farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let [first, second] = [0, 1].map(|place: usize| farm.servers[place].address.clone());

    page.browser.click(&drain_button(&first));
    page.browser.wait("document.querySelector('#dialog').open");
    let asked = page.browser.text("#dialog");
    assert!(
        asked.contains(&format!("Drain {first}?")) && asked.contains("nothing new is sent"),
        "{asked}"
    );
    page.browser.press("Escape");
    page.wait_for_no_dialog();
    assert!(!farm.server_status(0).drained, "it was only asked");
    page.browser.click(&drain_button(&first));
    page.confirm();
    assert!(farm.server_status(0).drained);
    page.wait_for_cell(&first, "State", |text| text.starts_with("drained"));
    page.browser
        .wait("document.querySelector('#told').innerText.endsWith('is drained.')");
    let mut client = farm.client();
    for id in 1..=20 {
        client.put_accepted(id, None, b"12345");
    }
    page.wait_for_cell(&second, "Delivered", |text| {
        text.lines().next() == Some("20")
    });
    assert!(farm.stored(0).is_empty() && farm.stored(1).len() == 20);

    page.browser.click(&format!("{} .edit", row(&second)));
    page.browser.type_text("1000001");
    page.browser.press("Enter");
    page.browser
        .wait("/whole number/.test(document.querySelector('#dialog-error').innerText)");
    page.browser
        .value("document.querySelector('#dialog-input').select()");
    page.browser.type_text("6");
    page.confirm();
    assert_eq!(farm.server_status(1).weight, 6);
    page.wait_for_cell(&second, "Weight", |text| text.trim() == "6");
    page.check(false);
}

#[test]
fn everything_can_be_done_from_the_keyboard() {
    let farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let first = farm.servers[0].address.clone();
    let button = drain_button(&first);
    for is_drained in [true, false] {
        page.tab_to(&button);
        page.browser.press("Enter");
        page.browser
            .wait("document.activeElement.id === 'dialog-confirm'");
        page.browser.press("Enter");
        page.wait_for_no_dialog();
        assert_eq!(farm.server_status(0).drained, is_drained);
        let focus = format!("document.activeElement.matches({})", json!(button));
        assert!(page.browser.holds(&focus), "the focus is back where it was");
        page.wait_for_cell(&first, "State", |text| {
            text.starts_with("drained") == is_drained
        });
    }
    let outline = page
        .browser
        .value("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "the focus is seen");
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
    page.browser.wait(
        "document.querySelector('#dialog-error').innerText === 'The balancer does not answer.'",
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
    page.browser.click("#dead-list .buttons button");
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
    page.browser.wait(&format!("{rows} === 200"));
    assert_eq!(page.browser.text("#page-at"), "1–200 of 205");
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

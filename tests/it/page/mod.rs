//! The operators' page in a real browser: what it shows, what it can do, and that titles do no
//! harm.

mod files;
mod fleet;
mod hosts;
mod list;
mod live;
mod orders;

use serde_json::{Value, json};

use crate::browser::Browser;
use bilico_testkit::{Farm, Role, http, wait_for};

/// The page of a balancer, in a browser.
struct Page {
    browser: Browser,
    admin: String,
}

impl Page {
    /// Opens the page and waits until it is live. `None` if no browser is installed.
    fn open(balancer: &Role) -> Option<Self> {
        Self::open_at(balancer.admin.as_deref().unwrap())
    }

    /// The same for the balancer with this admin listener.
    fn open_at(admin: &str) -> Option<Self> {
        let mut browser = Browser::start()?;
        browser.prefer("light");
        browser.open(&format!("http://{admin}/"));
        browser.wait("document.querySelector('#live')?.dataset.state === 'up'");
        Some(Self {
            browser,
            admin: admin.to_owned(),
        })
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

#[test]
fn the_page_is_served_with_a_policy_that_lets_nothing_else_in() {
    let farm = Farm::start(&[1]);
    for (path, kind) in [
        ("/", "text/html"),
        ("/assets/app.js", "text/javascript"),
        ("/assets/style.css", "text/css"),
        ("/assets/servers.css", "text/css"),
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

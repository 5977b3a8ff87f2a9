//! The figures of hosts on the page when they get old or change, and what screen readers are told.

use serde_json::json;

use super::fleet::{MADE_UP, RARELY, balancer, member, open};
use super::{Page, cell};
use crate::fleet_api::agent;
use bilico_testkit::{start_server, wait_for};

/// Lets a test change what the page hears: `change` gets each state before the page does.
const CHANGED: &str = "(() => { const parse = JSON.parse; \
    JSON.parse = (text) => { const data = parse(text); if (data?.overview) window.change?.(data); return data; }; })()";

fn title(page: &mut Page, cell: &str) -> String {
    let title = format!("document.querySelector({}).title", json!(cell));
    page.browser.value(&title).as_str().unwrap().to_owned()
}

/// The title of a figure was made once when its host fell silent, and stayed as it was.
#[test]
fn the_figures_of_a_silent_server_are_grey_and_say_since_when() {
    let dir = tempfile::tempdir().unwrap();
    let servers = [1, 2].map(|weight| start_server(dir.path(), weight, &[]));
    let balancer = balancer(dir.path(), &servers);
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.resize(1500, 900);
    let names = servers.each_ref().map(|server| server.address.clone());
    for name in &names {
        for label in ["CPU", "RAM"] {
            page.wait_for_cell(name, label, |text| text.ends_with('%'));
        }
    }
    let [stays, goes] = servers;
    drop(goes);
    let [there, away] = names.each_ref().map(|name| cell(name, "RAM"));
    let is_old = |cell: &str| format!("document.querySelector({}).matches('.old')", json!(cell));
    page.browser.wait(&is_old(&away));
    let opacity = format!(
        "getComputedStyle(document.querySelector({})).opacity",
        json!(away)
    );
    assert_eq!(page.browser.value(&opacity), "0.45");
    assert!(!page.browser.holds(&is_old(&there)));
    let first = title(&mut page, &away);
    assert!(first.contains(", silent for "), "{first}");
    wait_for("a later title", || {
        let later = title(&mut page, &away);
        (later != first && later.contains(", silent for ")).then_some(())
    });
    drop(stays);
    page.check(false);
}

#[test]
fn another_trouble_of_a_disk_is_shown_and_both_lists_are_announced_together() {
    let dir = tempfile::tempdir().unwrap();
    let servers = [start_server(dir.path(), 1, &[])];
    let name = servers[0].address.clone();
    let balancer = balancer(dir.path(), &servers);
    balancer.fleet.told(agent("host-a", RARELY)).unwrap();
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.resize(1500, 900);
    page.wait_for_cell(&name, "Disk", |text| text.ends_with('%'));
    page.browser.value(CHANGED);
    let disk = cell(&name, "Disk");
    for trouble in ["hung since noon", "it is gone"] {
        page.browser.value(&format!(
            "(() => {{ window.change = (data) => {{ data.servers[0].host.disk_trouble = {}; }}; }})()",
            json!(trouble)
        ));
        wait_for(trouble, || {
            (title(&mut page, &disk) == format!("Disk: {trouble}")).then_some(())
        });
        assert_eq!(page.browser.text(&disk), "fails");
    }
    page.browser.value(
        "(() => { window.change = (data) => { Object.assign(data.servers[0], {state: 'down', reason: null}); \
           data.fleet.members[0].state = 'late'; }; })()",
    );
    page.browser.wait(&format!(
        "document.querySelector('#announce').textContent === {}",
        json!(format!("{name} is down. host-a is late"))
    ));
    // What anybody could have claimed is not told as a figure of the server.
    page.browser.value(
        "(() => { window.change = (data) => { Object.assign(data.servers[0].host, {trust: 'claimed', cpu: null}); }; })()",
    );
    page.browser.click(&format!("{} .open", super::row(&name)));
    page.browser.wait(
        "document.querySelector('.more').innerText.includes('what is told of it is not verified')",
    );
    // The heading counts those, too, that are not sent.
    page.browser.value(
        "(() => { window.change = (data) => { data.fleet.states = {unknown: 600, active: 1200}; }; })()",
    );
    page.browser
        .wait("document.querySelector('#fleet-count').innerText === '600 unknown, 1,200 active'");
    page.check(false);
}

/// How busy a host is, and of how many files the shares are, was wider than its place.
#[test]
fn no_figure_of_a_row_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let servers = [start_server(dir.path(), 1, &[])];
    let name = servers[0].address.clone();
    let balancer = balancer(dir.path(), &servers);
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.resize(1500, 900);
    page.wait_for_cell(&name, "CPU", |text| text.ends_with('%'));
    page.browser.value(CHANGED);
    page.browser.value(
        "(() => { window.change = (data) => { const [server] = data.servers; \
           Object.assign(server.host, {cpu: 1, memory_used: null, memory_total: null, memory_ratio: 1}); \
           Object.assign(server, {share_had: 1, share_wanted: 1, history: [999], memory: {used: 555e6, limit: 999e6}}); }; })()",
    );
    page.wait_for_cell(&name, "CPU", |text| text == "100 %");
    page.browser
        .wait("document.querySelector('#head-share').innerText.endsWith('of 999 files')");
    // The mark of a bar may stand over its end; texts may not.
    let cut = "[...document.querySelectorAll('.servers small, .servers :is(.share, .memory, .flight, .host) > span:first-child')] \
        .filter((one) => one.scrollWidth > one.clientWidth && one.clientWidth > 0 || \
           one.getBoundingClientRect().right > one.parentNode.getBoundingClientRect().right + 0.5).map((one) => one.innerText)";
    for width in [1500, 1401, 1400, 1280, 1241, 1240, 1101, 1000] {
        page.browser.resize(width, 900);
        assert_eq!(page.browser.value(cut), json!([]), "at {width}");
    }
    page.check(false);
}

/// Notes how far texts go over the right edge of a chart, and stops the page's clock where a label would.
const EDGES: &str = "(() => { window.edges = []; const {prototype} = CanvasRenderingContext2D; \
    const {fillText} = prototype; \
    prototype.fillText = function (text, x, ...rest) { \
      if (text && this.textAlign === 'center') window.edges.push([text, x + this.measureText(text).width / 2 - this.canvas.width]); \
      return fillText.call(this, text, x, ...rest); }; \
    const now = Math.floor(Date.now() / 300000) * 300000; Date.now = () => now; })()";

/// The time at the right edge of a chart was cut, and who opened another member at once got an empty one.
#[test]
fn a_member_that_is_opened_after_another_has_charts_with_whole_times() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(dir.path(), &[]);
    balancer.fleet.told(agent("host-a", RARELY)).unwrap();
    balancer.fleet.told(agent("host-b", RARELY)).unwrap();
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.value(MADE_UP);
    page.browser.value(EDGES);
    let is_drawn = "document.querySelectorAll('.chart').length === 6 && window.edges.length > 6";
    open(&mut page, "agent:host-a");
    page.browser.wait(is_drawn);
    page.browser.value(&format!(
        "(() => {{ document.querySelector('#member-close').click(); window.edges.length = 0; \
           document.querySelector({}).click(); }})()",
        json!(format!("{} .link", member("agent:host-b")))
    ));
    page.browser.wait(is_drawn);
    assert_eq!(page.browser.text("#member-title"), "host-b");
    for range in 1..=3 {
        page.browser.value("window.edges.length = 0");
        page.browser
            .click(&format!("#member-ranges button:nth-child({range})"));
        page.browser.wait("window.edges.length > 6");
        let cut = page
            .browser
            .value("window.edges.filter(([, over]) => over > 0)");
        assert_eq!(cut, json!([]));
    }
    page.check(false);
}

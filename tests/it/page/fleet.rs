//! The fleet on the page: the hosts of servers, the other members, and a member with its charts.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Page, cell};
use crate::fleet_api::agent;
use crate::in_process::{InProcess, settings_with};
use bilico::admin::AdminLimits;
use bilico::balancer::BalancerConfig;
use bilico::fleet_core::{Facts, Identity, Source, Told, Trust};
use bilico_testkit::{Role, start_server};

/// Longer than a test takes on a busy machine: nobody is late meanwhile.
pub(super) const RARELY: Duration = Duration::from_mins(10);

/// A balancer in this process over these servers.
pub(super) fn balancer(dir: &Path, servers: &[Role]) -> InProcess {
    let config = BalancerConfig {
        settings: settings_with(servers),
        ..BalancerConfig::default()
    };
    InProcess::start(dir, config, AdminLimits::default())
}

/// What anybody could have told by a datagram.
fn claim(name: &str, last: u8) -> Told {
    Told {
        who: Identity::Source([10, 0, 0, last].into()),
        name: Some(name.into()),
        source: Source::Datagram,
        trust: Trust::Claimed,
        peer: Some([10, 0, 0, last].into()),
        every: RARELY,
        facts: Facts {
            cpu: Some(0.95),
            ..Facts::default()
        },
    }
}

/// A row of the list of members.
pub(super) fn member(id: &str) -> String {
    format!("tr[data-member=\"{id}\"]")
}

/// Opens a member from the list of members, and waits for its facts.
#[track_caller]
pub(super) fn open(page: &mut Page, id: &str) {
    page.browser.wait(&format!(
        "document.querySelector({})",
        json!(format!("{} .link", member(id)))
    ));
    page.browser.click(&format!("{} .link", member(id)));
    page.browser.wait(
        "document.querySelector('#member').open && document.querySelector('#member-facts dd')",
    );
}

const STATE_SHAPE: &str = "document.querySelector('#member-state use').getAttribute('href')";

/// In which of six columns of the first chart's pixels there is the colour of its line: two before the gap of the made-up
/// history, two in it, and two behind it.
fn painted(page: &mut Page) -> Vec<bool> {
    let painted = page.browser.value(
        "(() => { const canvas = document.querySelector('.chart canvas'); const {width, height} = canvas; \
               const {data} = canvas.getContext('2d').getImageData(0, 0, width, height); \
               const plot = document.querySelector('.chart .u-over'); const scale = width / canvas.clientWidth; \
               const from = plot.offsetLeft * scale, wide = plot.offsetWidth * scale; \
               const wanted = getComputedStyle(document.documentElement).getPropertyValue('--chart-0').trim(); \
               const [r, g, b] = [1, 3, 5].map((at) => parseInt(wanted.slice(at, at + 2), 16)); \
               return [0.15, 0.25, 0.36, 0.46, 0.6, 0.8].map((part) => { const x = Math.round(from + part * wide); \
                 for (let y = 0; y < height; y += 1) { const at = 4 * (y * width + x); \
                   if (Math.abs(data[at] - r) + Math.abs(data[at + 1] - g) + Math.abs(data[at + 2] - b) < 60) return true; } \
                 return false; }); })()"
    );
    serde_json::from_value(painted).unwrap()
}

/// Lets the page get a history that is made up: 121 rows of five seconds, of which 20 in the middle are not known, and
/// one stands alone in them.
pub(super) const MADE_UP: &str = "(() => { \
    const real = window.fetch; window.asked = []; \
    window.fetch = async (url, options) => { \
      const made = String(url).match(/\\/fleet\\/([^/]+)\\/history\\?(.*)/); \
      if (!made) return real(url, options); \
      window.asked.push(made[2]); \
      if (window.broken) return new Response(JSON.stringify({error: 'the disk is gone', hint: 'look at it'}), {status: 500}); \
      const query = new URLSearchParams(made[2]); \
      const [over, step] = ['over', 'step'].map((name) => parseInt(query.get(name))); \
      const rows = Math.round(over / step) + 1; const start = Math.floor(Date.now() / 1000) - over; \
      const gap = (row) => row > rows / 3 && row < rows / 2 && row !== Math.round(rows * 0.4); \
      const column = (at) => { const avg = Array.from({length: rows}, (_, row) => gap(row) ? null : at(row)); \
        return {avg, min: avg.map((v) => v === null ? null : v * 0.8), max: avg.map((v) => v === null ? null : v * 1.2)}; }; \
      const none = {avg: new Array(rows).fill(null), min: new Array(rows).fill(null), max: new Array(rows).fill(null)}; \
      const wave = (most) => (row) => most * (0.4 + 0.3 * Math.sin(row / 6) + 0.1 * Math.sin(row / 2)); \
      const most = {cpu: 1, memory: 4e9, disk: 4e10, disk_read: 2e6, disk_write: 8e6, net_rx: 1e8, net_tx: 2e7, net_dropped: 3}; \
      const figures = Object.fromEntries(query.get('figures').split(',').map((name) => [name, most[name] && !window.nothing ? column(wave(most[name])) : none])); \
      return new Response(JSON.stringify({time: Array.from({length: rows}, (_, row) => start + row * step), step_s: step, figures}), {status: 200}); \
    }; })()";

#[test]
fn servers_have_the_figures_of_their_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let servers = [1, 2].map(|weight| start_server(dir.path(), weight, &[]));
    let names: Vec<String> = servers.iter().map(|one| one.address.clone()).collect();
    let balancer = balancer(dir.path(), &servers);
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.resize(1500, 900);
    for name in &names {
        let mut told = agent(name, RARELY);
        told.who = Identity::Address(name.as_str().into());
        told.facts.held_files = Some(0);
        balancer.fleet.told(told).unwrap();
    }
    for name in &names {
        for label in ["CPU", "RAM", "Disk"] {
            page.wait_for_cell(name, label, |text| text.ends_with('%'));
        }
        page.wait_for_cell(name, "Held", |text| text == "0");
    }
    let memory = json!(cell(&names[0], "RAM"));
    let title = page
        .browser
        .value(&format!("document.querySelector({memory}).title"));
    let title = title.as_str().unwrap();
    assert!(
        title.starts_with("Memory of the host: ") && title.ends_with(" ago"),
        "{title}"
    );
    page.browser.click("th[data-sort=disk] button");
    page.browser.wait(
        "document.querySelector('th[data-sort=disk]').getAttribute('aria-sort') === 'descending'",
    );
    for width in [360, 800, 1120, 1280, 1500] {
        page.browser.resize(width, 900);
        let wide = page.browser.value("document.documentElement.scrollWidth");
        assert!(
            wide.as_u64().unwrap() <= u64::from(width),
            "{wide} at {width}"
        );
        let shown = page.browser.value(&format!(
            "document.querySelector({memory}).getClientRects().length"
        ));
        assert_eq!(shown == 1, width > 1100 || width == 800, "at {width}");
    }
    // The open row has all of it, and leads to the charts.
    page.browser
        .click(&format!("{} .open", super::row(&names[0])));
    page.browser.wait("/Host\\s+Processor: .*Memory of the host: .*Disk: /.test(document.querySelector('.more').innerText.replaceAll('\\n', ' '))");
    page.browser.click(".more .charts");
    page.browser.wait(&format!(
        "document.querySelector('#member-title').innerText === {}",
        json!(names[0])
    ));
    page.browser
        .wait("document.querySelector('#member-state').innerText.trim().startsWith('active')");
    page.browser.press("Escape");
    page.browser.wait("!document.querySelector('#member').open");
    page.check(false);
}

#[test]
fn members_that_are_no_servers_stand_apart_and_claims_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(dir.path(), &[]);
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    assert!(
        page.browser
            .holds("document.querySelector('#fleet').hidden")
    );
    balancer.fleet.told(agent("host-a", RARELY)).unwrap();
    let evil = "<img src=x onerror=alert(1)>";
    balancer.fleet.told(claim(evil, 7)).unwrap();
    let agent_row = member("agent:host-a");
    let claimed = member("source:10.0.0.7");
    for row in [&agent_row, &claimed] {
        page.browser
            .wait(&format!("document.querySelector({})", json!(row)));
    }
    let text = page.browser.text(&claimed);
    assert!(
        text.contains(evil) && text.contains("not verified") && text.contains("95 %"),
        "{text}"
    );
    let text = page.browser.text(&agent_row);
    assert!(
        !text.contains("not verified") && text.contains("25 %"),
        "{text}"
    );
    assert!(text.contains(" ago"), "{text}");
    page.browser
        .wait("document.querySelector('#fleet-count').innerText === '2 active'");
    // Figures live on.
    let mut busy = agent("host-a", RARELY);
    busy.facts.cpu = Some(0.5);
    balancer.fleet.told(busy).unwrap();
    page.browser.wait(&format!(
        "document.querySelector({}).innerText.startsWith('50 %')",
        json!(format!("{agent_row} td.cpu"))
    ));
    a_silent_member_is_seen_and_forgotten(&mut page, &balancer);
    for width in [320, 360, 800, 1280] {
        page.browser.resize(width, 900);
        let wide = page.browser.value("document.documentElement.scrollWidth");
        assert!(
            wide.as_u64().unwrap() <= u64::from(width),
            "{wide} at {width}"
        );
    }
    page.check(false);
}

#[track_caller]
fn a_silent_member_is_seen_and_forgotten(page: &mut Page, balancer: &InProcess) {
    // Whose words are overdue is on top, greyed, and says since when.
    balancer
        .fleet
        .told(agent("host-z", Duration::from_millis(100)))
        .unwrap();
    let silent = member("agent:host-z");
    page.browser.wait(&format!(
        "document.querySelector({})?.matches('.old[data-is=unknown]')",
        json!(silent)
    ));
    page.browser
        .wait("document.querySelector('#member-rows tr').dataset.member === 'agent:host-z'");
    page.browser.wait(&format!(
        "document.querySelector({}).innerText.startsWith('silent for ')",
        json!(format!("{silent} .age"))
    ));
    let faint = page.browser.value(&format!(
        "getComputedStyle(document.querySelector({})).opacity",
        json!(format!("{silent} td.cpu"))
    ));
    assert_eq!(faint, "0.45");
    // It can be forgotten.
    page.browser.resize(1280, 900);
    open(page, "agent:host-z");
    page.browser
        .wait("!document.querySelector('#member-forget').hidden");
    page.browser.click("#member-forget");
    page.confirm();
    page.browser
        .wait(&format!("!document.querySelector({})", json!(silent)));
}

#[track_caller]
fn a_narrow_window_has_room(page: &mut Page, target: &Path) {
    page.browser.resize(360, 800);
    page.browser
        .wait("document.querySelector('.chart canvas').clientWidth < 340");
    let measured = page.browser.value("[document.documentElement.scrollWidth, document.querySelector('#member').scrollWidth, document.querySelector('#member').clientWidth]");
    let measured: Vec<u64> = serde_json::from_value(measured).unwrap();
    assert!(
        measured[0] <= 360 && measured[1] <= measured[2],
        "{measured:?}"
    );
    page.browser.screenshot(&target.join("member-narrow.png"));
}

#[track_caller]
fn the_arrows_go_along_a_chart(page: &mut Page) {
    // From the keyboard: along the line, and back.
    page.browser
        .value("document.querySelector('.chart .plot').focus()");
    page.browser.press("ArrowLeft");
    page.browser
        .wait("/^\\d\\d:\\d\\d:\\d\\d$/.test(document.querySelector('.chart .at').innerText)");
    page.browser
        .wait("document.querySelector('#announce').innerText.includes('%')");
}

#[test]
fn a_member_opens_to_charts_whose_gaps_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(dir.path(), &[]);
    balancer.fleet.told(agent("host-a", RARELY)).unwrap();
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.value(MADE_UP);
    assert!(
        !page
            .browser
            .requests()
            .iter()
            .any(|url| url.contains("uplot")),
        "it is loaded when it is needed"
    );
    open(&mut page, "agent:host-a");
    let charts = "[...document.querySelectorAll('.chart')].map((one) => one.dataset.chart)";
    page.browser.wait(&format!("{charts}.length > 0"));
    assert_eq!(
        page.browser.value(charts),
        json!([
            "Processor",
            "Memory",
            "Disk space",
            "Disk traffic",
            "Network",
            "Dropped packets"
        ])
    );
    assert_eq!(page.browser.text("#member-note"), "");
    let facts = page.browser.text("#member-facts");
    for part in [
        "agent:host-a",
        "it proved who it is",
        "25.0 % busy",
        "1 / 4 GiB in use",
        "10 / 40 GiB in use, 30 GiB free",
        "1 h",
    ] {
        assert!(facts.contains(part), "{part} in {facts}");
    }
    assert_eq!(
        page.browser
            .value("document.querySelector('#member-cores').getAttribute('aria-label')"),
        "2 cores; the busiest is 50.0 % busy"
    );
    // No line goes over the gap.
    let lines = [true, true, false, false, true, true];
    assert_eq!(painted(&mut page), lines);
    let said = page
        .browser
        .value("document.querySelector('.chart .plot').getAttribute('aria-label')");
    let said = said.as_str().unwrap();
    for part in [
        "Processor, ",
        "last ",
        "average ",
        "most ",
        "% of the time nothing is known",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(
        page.browser.value(STATE_SHAPE),
        "#i-up",
        "a state has its shape"
    );
    the_arrows_go_along_a_chart(&mut page);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    page.browser.screenshot(&target.join("member.png"));
    page.browser.prefer("dark");
    page.browser
        .wait("document.documentElement.dataset.theme === 'dark'");
    page.browser
        .wait("document.querySelectorAll('.chart').length === 6");
    assert_eq!(painted(&mut page), lines, "in the colours of the dark");
    a_narrow_window_has_room(&mut page, &target);
    page.browser.resize(1280, 900);

    // Another stretch of time is asked for at once, in longer rows.
    page.browser.click("#member-ranges button:nth-child(3)");
    let colours = "(({color, backgroundColor}) => color === backgroundColor)(getComputedStyle(document.querySelector('#member-ranges button:nth-child(3)')))";
    assert!(
        !page.browser.holds(colours),
        "it can be read under the pointer"
    );
    page.browser.wait("asked.at(-1).includes('over=604800s')");
    page.browser.wait("/^\\d\\d-\\d\\d /.test(document.querySelector('.chart .plot').getAttribute('aria-label').split(', ')[1])");
    assert_eq!(page.browser.value("[...document.querySelectorAll('#member-ranges [aria-pressed=true]')].map((one) => one.innerText)"), json!(["7 days"]));
    page.browser.screenshot(&target.join("member-dark.png"));
    page.check(false);
}

#[test]
fn a_member_without_history_says_so_and_a_failure_leaves_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = balancer(dir.path(), &[]);
    balancer.fleet.told(agent("host-a", RARELY)).unwrap();
    let Some(mut page) = Page::open_at(&balancer.admin) else {
        return;
    };
    page.browser.value(MADE_UP);
    page.browser.value("window.nothing = true");
    open(&mut page, "agent:host-a");
    page.browser.wait("document.querySelector('#member-note').innerText.startsWith('No history of the last 10 minutes yet')");
    page.browser.value("window.nothing = false");
    page.browser
        .wait("document.querySelectorAll('.chart').length === 6");
    page.browser.value("window.broken = true");
    page.browser.click("#member-ranges button:nth-child(2)");
    page.browser.wait("document.querySelector('#member-note').innerText.startsWith('the disk is gone – look at it')");
    assert_eq!(
        page.browser
            .value("document.querySelectorAll('.chart').length"),
        6,
        "what was there stays"
    );
    page.browser.value("window.broken = false");
    page.browser
        .wait("document.querySelector('#member-note').innerText === ''");
    page.browser.click("#member-keep");
    page.browser
        .wait("document.querySelector('#member-keep').innerText === 'Do not keep it any more'");
    page.browser.click("#member-close");
    page.browser
        .wait("document.querySelectorAll('.chart').length === 0");
    page.check(true);
}

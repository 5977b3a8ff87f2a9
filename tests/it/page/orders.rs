//! What an operator can order from the page.

use serde_json::json;

use super::{Page, drain_button, row};
use bilico_testkit::Farm;

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
        .value("document.querySelector('#dialog-input-0').select()");
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
fn an_order_that_is_under_way_says_so_and_whoever_stops_waiting_is_told_the_truth() {
    let farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let first = farm.servers[0].address.clone();
    farm.balancer.signal("STOP");
    page.browser.click(&drain_button(&first));
    page.browser.click("#dialog-confirm");
    let says = |selector: &str, words: &str| {
        format!(
            "document.querySelector({}).innerText.includes({})",
            json!(selector),
            json!(words)
        )
    };
    page.browser
        .wait(&says("#dialog-busy", "Asking the balancer …"));
    page.browser.wait(&says(
        "#dialog-busy",
        "no answer for 2 s; this page waits 17 s",
    ));
    assert_eq!(page.browser.text("#dialog-cancel"), "Stop waiting");
    assert!(
        page.browser
            .holds("document.querySelector('#dialog-confirm').disabled")
    );
    page.browser.press("Escape");
    page.wait_for_no_dialog();
    page.browser
        .wait(&says("#told", "You stopped waiting for the balancer."));
    page.browser
        .wait(&says("#told", "It may have taken the order all the same"));
    farm.balancer.signal("CONT");
    // It was taken or not: as soon as the page is live, it shows which.
    page.browser
        .wait("!document.body.classList.contains('stale')");
    page.wait_for_cell(&first, "State", |text| {
        text.starts_with("drained") == farm.server_status(0).drained
    });
    page.check(true);
}

#[test]
fn a_dialog_says_its_rule_once_and_weight_0_is_no_drain() {
    let farm = Farm::start(&[1, 1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    let first = farm.servers[0].address.clone();
    let rules = "document.querySelector('#dialog').innerText.split('a whole number from 0 to 1,000,000').length - 1";
    page.browser.click(&format!("{} .edit", row(&first)));
    page.browser.type_text("abc");
    page.browser.wait(&format!("{rules} === 1"));
    page.browser.press("Enter");
    page.browser
        .wait("/whole number/.test(document.querySelector('#dialog-error').innerText)");
    assert_eq!(page.browser.value(rules), 1, "as the error only");
    page.browser
        .value("document.querySelector('#dialog-input-0').select()");
    page.browser.type_text("0");
    assert!(page.browser.text("#dialog").contains("drain it"));
    page.confirm();
    page.wait_for_cell(&first, "State", |text| text.starts_with("weight 0"));
    assert_eq!(page.browser.text(&drain_button(&first)), "Drain");
    page.browser
        .wait("document.querySelector('#chips').innerText.includes('1 with weight 0')");
    page.check(false);
}

#[test]
fn a_server_is_added_and_removed_and_the_configuration_read_again() {
    let farm = Farm::start(&[1]);
    let Some(mut page) = Page::open(&farm.balancer) else {
        return;
    };
    page.browser.click("#add-server");
    page.browser.type_text("nowhere");
    page.browser.press("Enter");
    page.browser
        .wait("document.querySelector('#dialog-error').innerText.includes('Its host and port')");
    page.browser
        .value("document.querySelector('#dialog-input-0').select()");
    page.browser.type_text("127.77.0.1:9");
    page.confirm();
    let new = "127.77.0.1:9";
    page.browser
        .wait(&format!("document.querySelector({})", json!(row(new))));
    page.wait_for_cell(new, "State", |text| text.starts_with("down"));
    page.browser.click(&format!("{} .open", row(new)));
    let more = format!("{} + .more", row(new));
    assert!(
        page.browser.text(&more).contains("Connection refused")
            || page.browser.text(&more).contains("connection refused")
    );
    page.browser.click(&format!("{more} .remove"));
    page.confirm();
    page.browser
        .wait(&format!("!document.querySelector({})", json!(row(new))));

    page.browser.click("#reload");
    page.browser.click("#dialog-confirm");
    page.browser.wait(
        "document.querySelector('#dialog-error').innerText.includes('no configuration file')",
    );
    page.browser.click("#dialog-cancel");
    // The balancer was started without a file, and says so with an error.
    page.check(true);
}

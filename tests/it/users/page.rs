//! A person who logs in to the operators' page, works, and logs out.

use bilico_testkit::wait_until;

use super::{Locked, PASSWORD};
use crate::browser::Browser;

#[test]
fn an_operator_logs_in_to_the_page_drains_a_server_and_logs_out() {
    let locked = Locked::start();
    locked.user("olga", "operator");
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let admin = locked.balancer.admin.as_ref().unwrap();
    browser.open(&format!("http://{admin}/"));
    browser.wait("document.querySelector('#login')?.open");
    let type_in = |browser: &mut Browser, selector: &str, text: &str| {
        browser.click(selector);
        browser.value(&format!("document.querySelector('{selector}').select()"));
        browser.type_text(text);
    };
    type_in(&mut browser, "#login-user", "olga");
    type_in(&mut browser, "#login-password", "wrong wrong wrong");
    browser.press("Enter");
    browser.wait("document.querySelector('#login-error').textContent.includes('is wrong')");
    type_in(&mut browser, "#login-password", PASSWORD);
    browser.press("Enter");
    browser.wait("document.querySelector('#live')?.dataset.state === 'up'");
    assert_eq!(browser.text("#user"), "olga: log out");
    // No script can read what proves who looks.
    assert_eq!(browser.value("document.cookie"), "");
    let row = format!("tr[data-server=\"{}\"]", locked.server.address);
    browser.click(&format!("{row} .drain"));
    browser.click("#dialog-confirm");
    browser.wait("!document.querySelector('#dialog').open");
    wait_until("the server to be drained", || {
        locked.http(None, "GET", "/ready").status == 503
    });
    browser.click("#user");
    browser.wait("document.querySelector('#login')?.open");
    assert_eq!(
        browser.value("fetch('/api/v1/overview').then((answer) => answer.status)"),
        401
    );
}

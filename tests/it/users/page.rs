//! A person who logs in to the operators' page, works, and logs out.

use std::process::Command;

use bilico_testkit::{bilico, run, wait_until};
use serde_json::{Value, json};

use super::{Locked, PASSWORD};
use crate::browser::Browser;

/// Logs in to the page at this address, drains the server and logs out; `kept` looks at the cookie.
fn log_in_work_and_log_out(
    locked: &Locked,
    browser: &mut Browser,
    url: &str,
    kept: impl Fn(&Value),
) {
    browser.open(url);
    browser.wait("document.querySelector('#login')?.open");
    let type_in = |browser: &mut Browser, selector: &str, text: &str| {
        browser.click(selector);
        browser.value(&format!("document.querySelector('{selector}').select()"));
        browser.type_text(text);
    };
    type_in(browser, "#login-user", "olga");
    type_in(browser, "#login-password", "wrong wrong wrong");
    browser.press("Enter");
    browser.wait("document.querySelector('#login-error').textContent.includes('is wrong')");
    type_in(browser, "#login-password", PASSWORD);
    browser.press("Enter");
    browser.wait("document.querySelector('#live')?.dataset.state === 'up'");
    assert_eq!(browser.text("#user"), "olga: log out");
    // No script can read what proves who looks.
    assert_eq!(browser.value("document.cookie"), "");
    let [cookie] = &browser.cookies()[..] else {
        panic!("one cookie");
    };
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"]),
        (&json!(true), &json!("Strict"))
    );
    kept(cookie);
    let row = format!("tr[data-server=\"{}\"]", locked.server.address);
    browser.click(&format!("{row} .drain"));
    browser.click("#dialog-confirm");
    browser.wait("!document.querySelector('#dialog').open");
    wait_until("the server to be drained", || {
        locked.http(None, "GET", "/ready").status == 503
    });
    browser.click("#user");
    browser.wait("document.querySelector('#login')?.open");
    assert_eq!(browser.cookies(), [] as [Value; 0]);
    assert_eq!(
        browser.value("fetch('/api/v1/overview').then((answer) => answer.status)"),
        401
    );
}

#[test]
fn an_operator_logs_in_to_the_page_drains_a_server_and_logs_out() {
    let locked = Locked::start();
    locked.user("olga", "operator");
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let url = format!("http://{}/", locked.balancer.admin.as_ref().unwrap());
    log_in_work_and_log_out(&locked, &mut browser, &url, |_| {});
}

#[test]
fn an_operator_does_the_same_over_tls() {
    let made = tempfile::tempdir().unwrap();
    for args in [&["init"][..], &["issue", "balancer", "b1"]] {
        let mut command = bilico(&[&["certs"], args].concat());
        let ended = run(command.current_dir(made.path()), "");
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let file = |name: &str| made.path().join("tls").join(name).display().to_string();
    let (cert, key) = (file("balancer-b1.pem"), file("balancer-b1.key"));
    // The helpers of these tests speak plain text.
    let tls = ["--tls", "optional", "--tls-cert", &cert, "--tls-key", &key];
    let locked = Locked::with(&tls);
    locked.user("olga", "operator");
    // What a browser knows a key by that it is told to trust.
    let hash = "openssl x509 -pubkey -noout -in \"$0\" | openssl pkey -pubin -outform der | \
                openssl dgst -sha256 -binary | openssl base64";
    let hash = run(Command::new("sh").args(["-c", hash, &cert]), "");
    let Some(mut browser) = Browser::trusting(Some(hash.stdout.trim())) else {
        return;
    };
    let url = format!("https://{}/", locked.balancer.admin.as_ref().unwrap());
    log_in_work_and_log_out(&locked, &mut browser, &url, |cookie| {
        assert_eq!(cookie["secure"], true, "{cookie}");
        let name = cookie["name"].as_str().unwrap();
        assert!(name.starts_with("__Host-"), "{name}");
    });
}

/// Who may only look is offered nothing else; an operator nothing of an administrator.
#[test]
fn what_somebody_may_not_do_is_not_offered() {
    let locked = Locked::start();
    locked.user("vera", "viewer");
    locked.user("olga", "operator");
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let url = format!("http://{}/", locked.balancer.admin.as_ref().unwrap());
    let offered = [
        (".drain", [false, true]),
        (".edit", [false, true]),
        ("#upload", [false, true]),
        ("#add-server", [false, false]),
        ("#reload", [false, false]),
        ("a[href=\"/metrics\"]", [true, true]),
    ];
    for (place, user) in ["vera", "olga"].into_iter().enumerate() {
        browser.open(&url);
        browser.wait("document.querySelector('#login')?.open");
        browser.click("#login-user");
        browser.type_text(user);
        browser.click("#login-password");
        browser.type_text(PASSWORD);
        browser.press("Enter");
        browser.wait("document.querySelector('#server-rows tr')");
        for (selector, is_offered) in offered {
            let selector = json!(selector);
            let is_seen = browser.value(&format!(
                "document.querySelector({selector}).getClientRects().length > 0"
            ));
            assert_eq!(is_seen, is_offered[place], "{selector} for {user}");
        }
        let weight = format!("tr[data-server=\"{}\"] td.weight", locked.server.address);
        assert_eq!(browser.text(&weight), "1", "the weight is seen by all");
        browser.click("#user");
        browser.wait("document.querySelector('#login')?.open");
    }

    // Who may only send is not told that the balancer does not answer.
    locked.user("sam", "sender");
    browser.click("#login-user");
    browser.type_text("sam");
    browser.click("#login-password");
    browser.type_text(PASSWORD);
    browser.press("Enter");
    browser.wait("document.querySelector('#trouble').innerText.includes('the right `read`')");
    for (selector, is_offered) in [("#servers", false), ("#dead", false), ("#upload", true)] {
        let is_seen = browser.value(&format!(
            "document.querySelector('{selector}').getClientRects().length > 0"
        ));
        assert_eq!(is_seen, is_offered, "{selector} for sam");
    }
}

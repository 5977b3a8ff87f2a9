//! The routes for accounts answer as the document of the API says.

use serde_json::{Value, json};

use super::{Locked, PASSWORD};
use crate::admin::Schemas;

/// The routes that need a balancer with users.
pub const ROUTES: [(&str, &str); 11] = [
    ("POST", "/api/v1/account"),
    ("POST", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("GET", "/api/v1/users"),
    ("PATCH", "/api/v1/users/{name}"),
    ("DELETE", "/api/v1/users/{name}"),
    ("POST", "/api/v1/users/{name}/invitation"),
    ("POST", "/api/v1/users/{name}/unlock"),
    ("DELETE", "/api/v1/users/{name}/tokens"),
    ("GET", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens/{id}"),
];

#[test]
fn each_route_answers_as_it_is_described() {
    let locked = Locked::start();
    let schemas = Schemas::parse();
    let root = locked.login("root");
    let mut asked = std::collections::BTreeSet::new();
    let mut ask = |token: Option<&str>,
                   route: (&'static str, &'static str),
                   name: &str,
                   body: &Value,
                   status| {
        let (method, path) = route;
        let filled = path.replace("{name}", name).replace("{id}", name);
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let answer = locked.http_with(token, method, &filled, &body);
        assert_eq!(
            answer.status, status,
            "{method} {filled} {body}: {answer:?}"
        );
        schemas.check(route, &answer);
        if status < 300 {
            asked.insert(route);
        }
        answer
    };
    let admin = Some(&*root);
    let [
        account,
        open_session,
        end_session,
        users,
        change,
        remove,
        invite,
        unlock,
        revoke_all,
        tokens,
        revoke,
    ] = ROUTES;
    let invitation = json!({"role": "sender", "seconds": 60, "quota": {"sessions": 3}});
    let invited = ask(admin, invite, "anna", &invitation, 201).json();
    let register =
        json!({"ask": "register", "user": "anna", "password": PASSWORD, "code": invited["code"]});
    let weak =
        json!({"ask": "register", "user": "anna", "password": "short", "code": invited["code"]});
    ask(None, account, "", &weak, 400);
    ask(None, account, "", &register, 200);
    ask(None, account, "", &register, 401);
    let login = json!({"ask": "login", "user": "anna", "password": PASSWORD});
    let token = ask(None, account, "", &login, 200).json();
    let anna = token["token"].as_str().unwrap();
    ask(Some(anna), account, "", &json!({"ask": "whoami"}), 200);
    ask(Some(anna), account, "", &json!({"ask": "tokens"}), 200);
    let create = json!({"ask": "create-token", "token": {"name": "ci", "rights": ["send"], "from": ["127.0.0.0/8"]}});
    let second = ask(Some(anna), account, "", &create, 200).json();
    let revoke_own = json!({"ask": "revoke-token", "id": second["id"]});
    ask(Some(anna), account, "", &revoke_own, 200);
    ask(Some(anna), account, "", &revoke_own, 409);
    ask(Some(anna), users, "", &Value::Null, 403);
    ask(None, users, "", &Value::Null, 401);
    ask(None, account, "", &json!({"ask": "dance"}), 400);
    ask(admin, users, "", &Value::Null, 200);
    ask(admin, tokens, "", &Value::Null, 200);
    ask(admin, unlock, "anna", &Value::Null, 200);
    ask(
        admin,
        change,
        "anna",
        &json!({"role": "viewer", "quota": {}}),
        200,
    );
    ask(admin, change, "anna", &json!({}), 400);
    ask(admin, change, "nobody", &json!({"disabled": true}), 409);
    let change_password = json!({"ask": "change-password", "user": "anna", "password": PASSWORD, "new_password": "another long one"});
    ask(None, account, "", &change_password, 200);
    ask(Some(anna), account, "", &json!({"ask": "whoami"}), 401);
    let session = json!({"user": "root", "password": PASSWORD});
    let logged_in = ask(None, open_session, "", &session, 200);
    let cookie = &logged_in.headers["set-cookie"];
    assert!(
        cookie.starts_with("bilico=bil_") && cookie.contains("; HttpOnly; SameSite=Strict; "),
        "{cookie}"
    );
    let of_cookie = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
    let out = ask(Some(&of_cookie), end_session, "", &Value::Null, 200);
    assert!(out.headers["set-cookie"].contains("Max-Age=0"));
    let other = locked.login("root");
    ask(
        admin,
        revoke,
        other.split('_').nth(1).unwrap(),
        &Value::Null,
        200,
    );
    ask(admin, revoke, "no-such", &Value::Null, 404);
    ask(admin, revoke_all, "anna", &Value::Null, 200);
    ask(admin, remove, "anna", &Value::Null, 200);
    assert_eq!(asked.len(), ROUTES.len(), "{asked:?}");
}

/// Pages of others cannot use the cookie of a page that is logged in.
#[test]
fn pages_of_others_have_no_use_of_the_cookie() {
    let locked = Locked::start();
    let root = locked.login("root");
    let admin = locked.balancer.admin.as_ref().unwrap();
    let asks = |headers: &str| {
        let request = format!(
            "GET /api/v1/users HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\
             Cookie: other=1; bilico={root}\r\n{headers}\r\n"
        );
        bilico_testkit::http_raw(admin, request.as_bytes()).status
    };
    assert_eq!(asks(""), 200);
    assert_eq!(asks("Sec-Fetch-Site: cross-site\r\n"), 403);
    assert_eq!(asks("Sec-Fetch-Site: same-site\r\n"), 403);
    assert_eq!(asks("Origin: http://evil.example\r\n"), 403);
    assert_eq!(asks("Origin: null\r\n"), 403);
}

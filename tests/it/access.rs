//! The one lock: what a request needs, against who asks. The rows are the program's own table of
//! routes, and so are those of the manual.

use std::fmt::Write;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bilico::access::users::{self, Change, NewToken, Token, UserName, UserOrder};
use bilico::access::{Accounts, At, Lock, Pass, Right, Rights, UserRole};
use bilico::admin::{self, Admin, AdminLimits, Need};
use bilico::balancer::{Balancer, BalancerConfig};
use bilico::secret::Secret;
use bilico_testkit::{start_balancer, start_server, wait_for_line};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long an answer may take. The balancer of this test does not run: whoever is let in waits.
const PATIENCE: Duration = Duration::from_millis(100);

/// Who asks, as the head of a column.
fn askers(users: &Users) -> Vec<(String, Option<Pass>)> {
    let elsewhere = At::plain("192.0.2.1:40000".parse().unwrap());
    let here = At::plain("127.0.0.1:40000".parse().unwrap());
    let places = [
        ("this machine", Some(Lock::off_at_balancer().by_place(here))),
        (
            "a client elsewhere",
            Some(Lock::off_at_balancer().by_place(elsewhere)),
        ),
        (
            "a balancer elsewhere",
            Some(Lock::off_at_server().by_place(elsewhere)),
        ),
        ("somebody past the lock", None),
    ];
    let places = places.into_iter().map(|(who, pass)| (who.to_owned(), pass));
    places.chain(users.passes(here)).collect()
}

/// A lock with a user of each role, and tokens that are good for nothing.
struct Users {
    _dir: tempfile::TempDir,
    lock: Lock,
    tokens: Vec<(String, Secret)>,
}

impl Users {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        let file = users::Users::open_or_begin(&path).unwrap();
        let mut tokens = Vec::new();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut token_from = |user: &str, role: UserRole, kind: &str, expires, from| {
            let NewToken { id, text, hash } = NewToken::make();
            let token = Token {
                user: UserName::parse(user).unwrap(),
                name: String::new(),
                hash,
                rights: role.rights(),
                created: now,
                expires,
                from,
            };
            file.change(|book| book.issue(id.clone(), token, now))
                .unwrap();
            tokens.push((kind.to_owned(), text));
            id
        };
        let mut token =
            |user, role, kind, expires| token_from(user, role, kind, expires, Vec::new());
        for role in UserRole::ALL {
            let name = UserName::parse(role.name()).unwrap();
            let password = String::new();
            file.order(UserOrder::Add {
                name,
                role,
                password,
            })
            .unwrap();
            token(role.name(), role, role.name(), Some(now + 3600));
        }
        let name = UserName::parse("off").unwrap();
        let role = UserRole::Sender;
        let password = String::new();
        file.order(UserOrder::Add {
            name: name.clone(),
            role,
            password,
        })
        .unwrap();
        token("off", role, "a disabled user", Some(now + 3600));
        let change = Change {
            disabled: Some(true),
            ..Change::default()
        };
        file.order(UserOrder::Change { name, change }).unwrap();
        // What is expired now may be dropped when the next token is made.
        let revoked = token(
            "admin",
            UserRole::Admin,
            "a revoked token",
            Some(now + 3600),
        );
        file.order(UserOrder::Revoke { id: revoked }).unwrap();
        token("admin", UserRole::Admin, "an expired token", Some(now));
        let elsewhere = vec!["10.0.0.0/8".parse().unwrap()];
        let (role, kind) = (UserRole::Admin, "a token of another network");
        token_from("admin", role, kind, Some(now + 3600), elsewhere);
        tokens.push(("an unknown token".to_owned(), NewToken::make().text));
        let accounts = Accounts::open(&path, Vec::new()).unwrap();
        Self {
            _dir: dir,
            lock: Lock::with_users(Arc::new(accounts)),
            tokens,
        }
    }

    /// Everybody, and somebody who shows a good token where others could hear it.
    fn passes(&self, here: At) -> impl Iterator<Item = (String, Option<Pass>)> {
        let pass = |at, token: &Secret| {
            let known = self.lock.by_token(at, token);
            known.unwrap_or_else(|denied| Lock::refused(at, &denied))
        };
        let known = self
            .tokens
            .iter()
            .map(move |(who, token)| (who.clone(), Some(pass(here, token))));
        let there = At::plain("192.0.2.1:40000".parse().unwrap());
        let heard = self.tokens.iter().find(|(who, _)| who == "admin");
        let heard =
            heard.map(|(_, token)| ("admin over plain text".to_owned(), Some(pass(there, token))));
        let nobody = Some(self.lock.by_place(here));
        known
            .chain(heard)
            .chain([("nobody, with users".to_owned(), nobody)])
    }
}

fn request(method: &str, path: &str, pass: Option<&Pass>) -> axum::extract::Request {
    let path = path
        .replace("{name}", "127.0.0.1:1")
        .replace("{number}", "7")
        .replace("{id}", "abcdefgh")
        .replace("{title}", "x");
    let mut request = axum::extract::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:60080")
        .header("content-type", "application/json")
        .header("content-length", "2")
        .body("{}".into())
        .unwrap();
    if let Some(pass) = pass {
        request.extensions_mut().insert(pass.clone());
    }
    request
}

/// Why the lock keeps somebody out: status and text. `None` if it lets them in, whatever becomes of
/// the request then.
async fn refusal(answer: axum::response::Response) -> Option<(u16, String)> {
    let status = answer.status().as_u16();
    if !matches!(status, 401 | 403 | 429 | 500) {
        return None;
    }
    let body = axum::body::to_bytes(answer.into_body(), 64 << 10)
        .await
        .unwrap();
    let mut text = String::from_utf8_lossy(&body).into_owned();
    if text.is_empty() {
        // An answer to HEAD has no body: its status tells.
        let words = match status {
            403 => "takes the right `send`",
            500 => "not looked at by the lock",
            _ => "takes a token",
        };
        words.clone_into(&mut text);
    }
    let ours = [
        "takes the right",
        "by the lock",
        "takes a token",
        "token is not good",
        "plain text",
    ];
    let is_ours = ours.iter().any(|ours| text.contains(ours));
    is_ours.then_some((status, text))
}

/// The matrix below compares what routes ask for with what passes have. This is what they have.
#[test]
fn a_pass_has_the_rights_of_its_token_and_loses_them_with_it() {
    let runtime = crate::in_process::runtime(1);
    let users = Users::new();
    let here = At::plain("127.0.0.1:40000".parse().unwrap());
    let passes: Vec<_> = users.passes(here).collect();
    for (who, pass) in &passes {
        let role = UserRole::ALL.into_iter().find(|role| role.name() == who);
        let rights = role.map_or(Rights::default(), UserRole::rights);
        assert_eq!(pass.as_ref().unwrap().rights(), rights, "{who}");
    }
    let of = |role: UserRole| {
        let found = passes.iter().find(|(who, _)| who == role.name());
        found.unwrap().1.clone().unwrap()
    };
    let operator = of(UserRole::Operator);
    assert!(operator.check(Right::Operate).is_ok());
    let order = UserOrder::Change {
        name: UserName::parse("operator").unwrap(),
        change: Change {
            disabled: Some(true),
            ..Change::default()
        },
    };
    let by = of(UserRole::Admin).allow().unwrap();
    let accounts = users.lock.accounts().unwrap();
    runtime.block_on(accounts.order(&by, order)).unwrap();
    assert!(operator.check(Right::Operate).is_err());
}

#[test]
fn each_route_lets_in_those_who_have_the_right_that_it_needs_and_nobody_else() {
    let runtime = crate::in_process::runtime(4);
    let dir = tempfile::tempdir().unwrap();
    let config = BalancerConfig {
        journal: dir.path().to_owned(),
        ..BalancerConfig::default()
    };
    let stop = CancellationToken::new();
    let entered = runtime.enter();
    let balancer = Balancer::open(config).unwrap();
    let admin = Admin {
        control: balancer.control(),
        door: balancer.door(),
        fleet: balancer.fleet(),
        listen: String::new(),
        reload: None,
        limits: AdminLimits::default(),
    };
    let routes = TowerToHyperService::new(admin::balancer_routes(admin, stop.clone()).operators);
    drop(entered);
    let users = Users::new();
    let askers = askers(&users);
    for (method, path, need) in admin::needs() {
        let takes = |right| matches!(need, Need::Right(needed) if needed == right);
        for (who, pass) in &askers {
            let asked = async {
                let answering = routes.call(request(method, path, pass.as_ref()));
                refusal(timeout(PATIENCE, answering).await.ok()?.unwrap()).await
            };
            let refusal = runtime.block_on(asked);
            let place = format!("{method} {path}, {who}: {refusal:?}");
            match (need, &pass) {
                (Need::Right(_), None) => {
                    let (status, error) = refusal.expect(&place);
                    assert!(
                        status == 500 && error.contains("not looked at by the lock"),
                        "{place}"
                    );
                }
                (Need::Right(right), Some(pass)) if !pass.rights().contains(right) => {
                    assert!(!need.is_met_by(pass));
                    let (status, error) = refusal.expect(&place);
                    let is_known = UserRole::ALL.iter().any(|role| role.name() == who)
                        || who.ends_with("elsewhere");
                    let wanted = format!("takes the right `{right}`");
                    let is_refused = if is_known {
                        status == 403 && error.contains(&wanted)
                    } else {
                        status == 401 && !error.contains(&wanted)
                    };
                    assert!(is_refused && takes(right), "{place}");
                }
                _ => assert_eq!(refusal, None, "{place}"),
            }
        }
    }
    stop.cancel();
}

/// The table of the manual is made of the program's own.
#[test]
fn the_manual_has_each_route_with_what_it_needs() {
    let mut table = "| request | needs |\n|---|---|\n".to_owned();
    for (method, path, need) in admin::needs() {
        let needs = match need {
            Need::Nothing => "nothing".to_owned(),
            Need::Right(right) => format!("`{right}`"),
        };
        writeln!(table, "| `{method} {path}` | {needs} |").unwrap();
    }
    let manual = fs::read_to_string("docs/admin.md").unwrap();
    assert!(
        manual.contains(&table),
        "docs/admin.md lacks this table:\n{table}"
    );
    for right in Right::ALL {
        assert!(
            manual.contains(&format!("| `{right}` |")),
            "docs/admin.md does not explain `{right}`"
        );
    }
}

#[test]
fn a_role_says_at_its_start_who_may_do_what() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    let _balancer = start_balancer(dir.path(), &[format!("{}=1", server.address)], &[]);
    let log = |name: &str| {
        let path = dir.path().join("logs").join(name);
        move || fs::read_to_string(&path).unwrap_or_default()
    };
    let words = "there is no authentication: this machine has all rights, others have";
    wait_for_line(log("balancer.log"), &["INFO", words, "send, read-own"]);
    let port = server.address.rsplit_once(':').unwrap().1;
    wait_for_line(
        log(&format!("server-{port}.log")),
        &["INFO", words, "have store"],
    );
}

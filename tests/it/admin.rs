//! The admin listener: what operators see and do over HTTP, and what becomes of requests that make
//! no sense.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bilico::access::Lock;
use bilico::admin::{self, AdminLimits};
use bilico::balancer::{Balancer, BalancerConfig};
use bilico::config::Reloaded;
use bilico::transport::Tcp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::fleet_api;
use crate::in_process::InProcess;
use crate::users;
use bilico_testkit::{
    Client, DEADLINE, Farm, Fickle, Response, Role, Wire, bilico, dechunk, http, http_at, http_raw,
    run, start_balancer, start_server, uninterrupted, wait_for, wait_for_line, wait_until,
};

fn at(role: &Role) -> &str {
    role.admin.as_deref().unwrap()
}

#[track_caller]
fn get(role: &Role, path: &str) -> Value {
    let response = http(role, "GET", path, None);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

/// Checks a refusal: its status, and that it says these things as JSON.
#[track_caller]
pub fn refused(response: &Response, status: u16, parts: &[&str]) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(
        response.headers["content-type"], "application/json",
        "{response:?}"
    );
    let body = response.json();
    let text = format!(
        "{} {}",
        body["error"].as_str().unwrap(),
        body["hint"].as_str().unwrap_or_default()
    );
    assert!(
        parts.iter().all(|part| text.contains(part)),
        "{text} lacks one of {parts:?}"
    );
}

fn make_files(farm: &Farm, count: usize) -> String {
    let folder = farm.dir.path().join("to_send");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..count {
        fs::write(folder.join(format!("{file}.txt")), format!("file {file}")).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

/// Sends the folder until its files are stored.
#[track_caller]
fn send(farm: &Farm, folder: &str) {
    let sent = farm.send(&["-r", folder]);
    assert!(sent.status.success(), "{sent:?}");
}

fn start_sending(farm: &Farm, folder: &str) -> Child {
    let mut sending = bilico(&["send", "-r", folder, "--balancer", &farm.balancer.address]);
    sending
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

// ---------------------------------------------------------------- the document

/// Holds values against the schemas of the document. It knows the words that the document uses, and
/// no others.
pub struct Schemas(Value);

impl Schemas {
    pub fn parse() -> Self {
        Self(serde_json::from_str(admin::OPENAPI).unwrap())
    }

    fn problem(&self, schema: &Value, value: &Value) -> Option<String> {
        let words = schema.as_object().unwrap();
        words
            .iter()
            .find_map(|(word, wanted)| self.against(word, wanted, schema, value))
    }

    fn against(&self, word: &str, wanted: &Value, schema: &Value, value: &Value) -> Option<String> {
        let is = |kind: &str| match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other}"),
        };
        let number = value.as_f64();
        let holds = match word {
            "$ref" => {
                let target = wanted.as_str().unwrap().trim_start_matches('#');
                return self.problem(self.0.pointer(target).unwrap(), value);
            }
            "anyOf" => wanted
                .as_array()
                .unwrap()
                .iter()
                .any(|one| self.problem(one, value).is_none()),
            "type" => match wanted {
                Value::String(kind) => is(kind),
                kinds => kinds
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|kind| is(kind.as_str().unwrap())),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "minimum" => number.is_none_or(|number| number >= wanted.as_f64().unwrap()),
            "maximum" => number.is_none_or(|number| number <= wanted.as_f64().unwrap()),
            "maxItems" => value
                .as_array()
                .is_none_or(|items| items.len() as u64 <= wanted.as_u64().unwrap()),
            "minProperties" => value
                .as_object()
                .is_none_or(|all| all.len() as u64 >= wanted.as_u64().unwrap()),
            "pattern" => {
                assert_eq!(wanted, "^[0-9a-f]{8}$");
                value.as_str().is_some_and(|text| {
                    text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit())
                })
            }
            "required" => wanted
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "items" => {
                return value
                    .as_array()?
                    .iter()
                    .find_map(|item| self.problem(wanted, item));
            }
            "properties" => {
                let described = wanted.as_object().unwrap();
                // A field that is answered and not described is a hole in the document, though one
                // may ignore it.
                return value.as_object()?.iter().find_map(|(key, value)| {
                    match described.get(key) {
                        Some(schema) => self
                            .problem(schema, value)
                            .map(|problem| format!("{key}: {problem}")),
                        None => Some(format!("{key} is not described")),
                    }
                });
            }
            "description" | "default" | "additionalProperties" => true,
            other => panic!("{other} is not known here"),
        };
        (!holds).then(|| format!("{value} is not as {word} of {schema} wants it"))
    }

    fn operations(&self) -> BTreeMap<(String, String), &Value> {
        let paths = self.0["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods
                .iter()
                .map(move |(method, operation)| ((method.to_uppercase(), path.clone()), operation))
        });
        all.collect()
    }

    /// Checks that an answer is one that the document describes for this operation.
    #[track_caller]
    pub fn check(&self, (method, path): (&str, &str), response: &Response) {
        let operations = self.operations();
        let operation = operations[&(method.to_owned(), path.to_owned())];
        let described = &operation["responses"][response.status.to_string()];
        assert!(described.is_object(), "{method} {path} gives {response:?}");
        let kind = response.headers["content-type"].split(';').next().unwrap();
        let schema = &described["content"][kind]["schema"];
        assert!(
            schema.is_object(),
            "{method} {path} gives {kind}: {response:?}"
        );
        if kind == "application/json" && path != "/api/v1/openapi.json" {
            let problem = self.problem(schema, &response.json());
            assert_eq!(problem, None, "{method} {path}: {response:?}");
        }
    }
}

#[test]
fn every_route_is_in_the_document_and_every_one_of_the_document_is_a_route() {
    let schemas = Schemas::parse();
    let described: BTreeSet<_> = schemas.operations().into_keys().collect();
    let all = admin::described_routes();
    let routed: BTreeSet<_> = all
        .iter()
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(all.len(), routed.len());
    assert_eq!(described, routed);
}

/// Asks for things and holds the answers against the document.
struct Asked<'a> {
    schemas: Schemas,
    balancer: &'a Role,
    /// Each with a request that makes sense, or with one that makes none.
    answered: BTreeSet<(String, String, bool)>,
}

impl Asked<'_> {
    /// Asks with the holes in the path filled, `?` with what comes behind it.
    #[track_caller]
    fn ask(
        &mut self,
        route: (&str, &str),
        with: &[(&str, &str)],
        body: Option<&Value>,
        status: u16,
    ) -> Response {
        let (method, path) = route;
        let filled = with
            .iter()
            .fold(path.to_owned(), |path, (hole, value)| match hole {
                &"?" => format!("{path}?{value}"),
                hole => path.replace(hole, value),
            });
        let response = http(self.balancer, method, &filled, body);
        assert_eq!(response.status, status, "{method} {filled}: {response:?}");
        self.schemas.check((method, path), &response);
        self.answered
            .insert((method.to_owned(), path.to_owned(), status < 300));
        response
    }

    /// Gets what needs no filling in.
    #[track_caller]
    fn get(&mut self, path: &str, query: &str, status: u16) -> Response {
        let with = [("?", query)];
        self.ask(
            ("GET", path),
            if query.is_empty() { &[] } else { &with },
            None,
            status,
        )
    }

    fn overview(&mut self, farm: &Farm) {
        for path in ["/live", "/ready", "/metrics", "/api/v1/openapi.json"] {
            self.get(path, "", 200);
        }
        let overview = self.get("/api/v1/overview", "", 200).json();
        let counts = [
            &overview["accepted"],
            &overview["delivered"],
            &overview["queue"]["dead"],
        ];
        assert_eq!(counts, [&json!(4), &json!(1), &json!(3)]);
        let process = [&overview["listen"], &overview["pid"]];
        assert_eq!(
            process,
            [&json!(farm.balancer.address), &json!(farm.balancer.pid())]
        );
    }

    fn a_file_and_the_page(&mut self) {
        let (put, named) = (("PUT", "/files/{title}"), ("{title}", "of/the%20door.json"));
        let receipt = self.ask(put, &[named], Some(&json!({"a": 1})), 202).json();
        assert_eq!(
            (&receipt["title"], &receipt["size"]),
            (&json!("of/the door.json"), &json!(7))
        );
        self.ask(
            put,
            &[named, ("?", "wait=never")],
            Some(&json!({"a": 1})),
            400,
        );
        self.get("/", "", 200);
    }

    fn a_server(&mut self, name: &str) {
        let (get, change) = (
            ("GET", "/api/v1/servers/{name}"),
            ("PATCH", "/api/v1/servers/{name}"),
        );
        let (named, other) = ([("{name}", name)], [("{name}", "127.0.0.1:9")]);
        let list = self.get("/api/v1/servers", "", 200).json();
        assert_eq!(
            (&list["servers"][0]["name"], &list["servers"][0]["state"]),
            (&json!(name), &json!("up"))
        );
        self.ask(get, &named, None, 200);
        self.ask(get, &[("{name}", &name.replace(':', "%3A"))], None, 200);
        self.ask(get, &other, None, 404);
        let changed = self
            .ask(
                change,
                &named,
                Some(&json!({"weight": 7, "drained": true})),
                200,
            )
            .json();
        let state = [
            &changed["weight"],
            &changed["state"],
            &changed["share_wanted"],
        ];
        assert_eq!(state, [&json!(7), &json!("drained"), &json!(0.0)]);
        let unready = self.get("/ready", "", 503);
        assert!(
            unready.text().contains("no server may get files") && unready.text().contains("drain"),
            "{unready:?}"
        );
        let changed = self
            .ask(change, &named, Some(&json!({"drained": false})), 200)
            .json();
        assert_eq!(
            (&changed["weight"], &changed["drained"]),
            (&json!(7), &json!(false))
        );
        assert_eq!(
            changed["ordered"],
            json!({"weight": {"ordered": 7, "configured": 1}})
        );
        let orders = self.get("/api/v1/orders", "", 200).json();
        let order = &orders["orders"][0];
        assert_eq!(
            [&order["server"], &order["text"]],
            [&json!(name), &json!("weight 7 instead of 1")]
        );
        let forget = ("DELETE", "/api/v1/orders/{name}");
        self.ask(forget, &named, None, 200);
        let unknown = self.ask(forget, &named, None, 404);
        refused(
            &unknown,
            404,
            &["no order stands", name, "bilico servers orders"],
        );
        let as_configured = self.ask(get, &named, None, 200).json();
        assert_eq!(
            (&as_configured["weight"], &as_configured["ordered"]),
            (&json!(1), &json!(null))
        );
        self.ask(change, &other, Some(&json!({"weight": 7})), 404);
        for bad in [
            json!({}),
            json!({"weight": -1}),
            json!({"weight": 1_000_000_000}),
            json!({"weight": 1.5}),
            json!({"weight": "7"}),
            json!({"weight": null}),
            json!({"drained": 1}),
            json!({"wieght": 7}),
            json!([]),
        ] {
            self.ask(change, &named, Some(&bad), 400);
        }
    }

    fn servers_that_come_and_go(&mut self) {
        let (add, remove) = (
            ("POST", "/api/v1/servers"),
            ("DELETE", "/api/v1/servers/{name}"),
        );
        let added = self
            .ask(
                add,
                &[],
                Some(&json!({"address": "127.0.0.1:1", "weight": 0})),
                201,
            )
            .json();
        assert_eq!(
            (&added["name"], &added["weight"]),
            (&json!("127.0.0.1:1"), &json!(0))
        );
        let twice = self.ask(add, &[], Some(&json!({"address": "127.0.0.1:1"})), 409);
        refused(&twice, 409, &["127.0.0.1:1", "twice", "PATCH"]);
        for bad in [
            json!({}),
            json!({"address": "nowhere"}),
            json!({"address": "a:1", "weight": -1}),
            json!({"address": "a:1", "weight": 1_000_001}),
            json!({"address": 1}),
            json!({"address": "a:1", "weigth": 1}),
        ] {
            self.ask(add, &[], Some(&bad), 400);
        }
        let named = [("{name}", "127.0.0.1:1")];
        self.ask(remove, &named, None, 202);
        let balancer = self.balancer;
        wait_until("the server to go", || {
            http(balancer, "GET", "/api/v1/servers/127.0.0.1:1", None).status == 404
        });
        self.ask(remove, &named, None, 404);
    }

    fn files(&mut self) {
        for list in ["/api/v1/queue", "/api/v1/dead"] {
            self.get(list, "", 200);
            self.get(list, "after=1&limit=1", 200);
            for bad in ["limit=0", "limit=1001", "limit=x", "after=-1", "first=1"] {
                self.get(list, bad, 400);
            }
        }
        let dead = self.get("/api/v1/dead", "limit=2", 200).json();
        assert_eq!(
            (dead["files"].as_array().unwrap().len(), &dead["total"]),
            (2, &json!(3))
        );
        let found = self.get("/api/v1/files", "title=Stored", 200).json();
        assert_eq!(
            (&found["files"][0]["number"], &found["complete"]),
            (&json!(4), &json!(true)),
            "{found}"
        );
        self.get("/api/v1/files", "", 400);
        self.get("/api/v1/files", "title=x&limit=0", 400);
        let (file, drop) = (
            ("GET", "/api/v1/files/{number}"),
            ("DELETE", "/api/v1/dead/{number}"),
        );
        let replay = ("POST", "/api/v1/dead/{number}/replay");
        let content = ("GET", "/api/v1/dead/{number}/content");
        let drop_all = ("POST", "/api/v1/dead/drop");
        self.ask(drop_all, &[], None, 400);
        let dropped = self
            .ask(drop_all, &[("?", "reason=nothing")], None, 200)
            .json();
        assert_eq!(dropped["files"], 0, "{dropped}");
        for (route, number, status) in [
            (file, "4", 200),
            (file, "99", 404),
            (file, "four", 400),
            (content, "3", 200),
            (content, "4", 404),
            (content, "x", 400),
            (drop, "3", 200),
            (drop, "3", 404),
            (drop, "x", 400),
            (replay, "2", 200),
            (replay, "99", 404),
            (replay, "-", 400),
        ] {
            self.ask(route, &[("{number}", number)], None, status);
        }
        let replayed = self
            .ask(("POST", "/api/v1/dead/replay"), &[], None, 200)
            .json();
        assert_eq!(replayed, json!({"files": 1, "up_to": 4}));
    }

    fn files_that_wait(&mut self, name: &str) {
        let weigh = |weight: u32| {
            let path = format!("/api/v1/servers/{name}");
            let change = json!({ "weight": weight });
            assert_eq!(
                http(self.balancer, "PATCH", &path, Some(&change)).status,
                200
            );
        };
        weigh(0);
        for title in ["one", "two", "three"] {
            let path = format!("/files/{title}");
            assert_eq!(
                http(self.balancer, "PUT", &path, Some(&json!({}))).status,
                202
            );
        }
        let waiting = self.get("/api/v1/waiting", "limit=1", 200).json();
        assert_eq!(waiting["total"], 3, "{waiting}");
        self.get("/api/v1/waiting", "limit=0", 400);
        let (one, many) = (
            ("DELETE", "/api/v1/waiting/{number}"),
            ("POST", "/api/v1/waiting/cancel"),
        );
        let number = waiting["files"][0]["number"].to_string();
        let content = ("GET", "/api/v1/waiting/{number}/content");
        let content = self.ask(content, &[("{number}", &number)], None, 200);
        assert_eq!(content.body, b"{}");
        self.ask(one, &[("{number}", &number)], None, 200);
        self.ask(one, &[("{number}", &number)], None, 404);
        self.ask(one, &[("{number}", "x")], None, 400);
        self.ask(many, &[], None, 400);
        let cancelled = self.ask(many, &[("?", "title=t*")], None, 200).json();
        assert_eq!(cancelled["files"], 2, "{cancelled}");
        weigh(1);
    }

    fn what_happened(&mut self) {
        let notices = self.get("/api/v1/notices", "", 200).json();
        let notices = notices["notices"].as_array().unwrap();
        let kinds: BTreeSet<_> = notices
            .iter()
            .map(|notice| notice["kind"].as_str().unwrap())
            .collect();
        for kind in [
            "started", "server", "weight", "drain", "added", "removed", "dead", "replayed",
            "dropped",
        ] {
            assert!(kinds.contains(kind), "{kind} is not in {notices:?}");
        }
        self.get("/api/v1/notices", "after=x", 400);
        self.get("/api/v1/events", "only=state", 400);
        let mut events = Events::listen(self.balancer, "?after=0", "");
        let problem = |kind: &str, data: &Value| {
            self.schemas.problem(
                &json!({"$ref": format!("#/components/schemas/{kind}")}),
                data,
            )
        };
        let (kind, _, state) = events.next();
        assert_eq!((&*kind, problem("State", &state)), ("state", None));
        let (kind, id, notice) = events.next();
        assert_eq!(
            (&*kind, id, problem("Notice", &notice)),
            ("notice", Some(1), None)
        );
        self.answered
            .insert(("GET".to_owned(), "/api/v1/events".to_owned(), true));
    }
}

#[test]
fn every_route_answers_as_the_document_says() {
    let fickle = Fickle::start(Some("too_large"));
    let farm = fickle.farm(&[]);
    let mut client = Client::connect(&farm.balancer.address);
    for id in 1..=3 {
        client.put_accepted(id, None, b"x");
        client.expect("dead", id);
    }
    fickle.says(None);
    client.put_accepted(4, Some("stored.txt"), b"x");
    client.expect("delivered", 4);
    let mut asked = Asked {
        schemas: Schemas::parse(),
        balancer: &farm.balancer,
        answered: BTreeSet::new(),
    };
    asked.overview(&farm);
    asked.a_server(&fickle.address);
    asked.servers_that_come_and_go();
    asked.files();
    asked.files_that_wait(&fickle.address);
    wait_until("replayed files to be stored", || {
        farm.status().delivered == 3
    });
    asked.what_happened();
    asked.a_file_and_the_page();
    // There is no file to read again here.
    asked.ask(("POST", "/api/v1/reload"), &[], None, 501);
    for (method, path) in admin::described_routes() {
        let is_answered = asked
            .answered
            .contains(&(method.to_owned(), path.to_owned(), true));
        let elsewhere = [&users::api::ROUTES[..], &fleet_api::ROUTES];
        let is_elsewhere = path == "/api/v1/reload" || elsewhere.concat().contains(&(method, path));
        assert!(is_answered || is_elsewhere, "{method} {path}");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n");
        let response = http_raw(at(&farm.balancer), request.as_bytes());
        assert_eq!(response.status, 403, "{method} {path}");
        asked.schemas.check((method, path), &response);
    }
}

/// A reload is what the balancer is given for it: it succeeds, or changes nothing and says why.
#[test]
fn a_reload_tells_what_it_applied_or_why_it_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (stop, fails) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
    let told = fails.clone();
    let reload: admin::Reload = Arc::new(move || {
        let reloaded = Reloaded {
            applied: vec!["servers".to_owned()],
            restart: vec!["listen".to_owned()],
        };
        let result = if told.load(Ordering::Relaxed) {
            Err("line 3: unknown key".to_owned())
        } else {
            Ok(reloaded)
        };
        Box::pin(std::future::ready(result))
    });
    let (address, running) = runtime.block_on(async {
        let config = BalancerConfig {
            journal: dir.path().to_owned(),
            ..BalancerConfig::default()
        };
        let balancer = Balancer::open(config).unwrap();
        let control = balancer.control();
        let clients = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (listener, address) = admin::bind("127.0.0.1:0").await.unwrap();
        let admin = admin::Admin {
            control,
            door: balancer.door(),
            fleet: balancer.fleet(),
            listen: String::new(),
            reload: Some(reload),
            limits: admin::AdminLimits::default(),
        };
        tokio::spawn(admin::serve(
            listener,
            admin::balancer_routes(admin, stop.clone()).operators,
            Lock::off_at_balancer(),
            admin::AdminLimits::default(),
            stop.clone(),
        ));
        (
            address.to_string(),
            tokio::spawn(balancer.run(clients, Arc::new(Tcp), stop.clone())),
        )
    });
    let ask = || http_at(&address, "POST", "/api/v1/reload", None);
    let schemas = Schemas::parse();
    let good = ask();
    assert_eq!(
        (good.status, good.json()),
        (200, json!({"applied": ["servers"], "restart": ["listen"]}))
    );
    schemas.check(("POST", "/api/v1/reload"), &good);
    fails.store(true, Ordering::Relaxed);
    let bad = ask();
    refused(&bad, 409, &["line 3: unknown key", "nothing was changed"]);
    schemas.check(("POST", "/api/v1/reload"), &bad);
    stop.cancel();
    runtime.block_on(running).unwrap().unwrap();
}

// ---------------------------------------------------------------- bad input

#[test]
fn what_is_no_request_of_ours_is_refused_as_json() {
    let farm = Farm::start(&[1]);
    let admin = at(&farm.balancer).to_owned();
    let server = format!("/api/v1/servers/{}", farm.servers[0].address);
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/", 404),
        ("GET", "/api/v2/overview", 404),
        ("PUT", "/live", 405),
        ("POST", "/api/v1/overview", 405),
        ("DELETE", "/api/v1/servers", 405),
        ("BREW", "/live", 405),
    ] {
        refused(
            &http(&farm.balancer, method, path, None),
            status,
            &["openapi.json"],
        );
    }
    let send = |headers: &str, body: &str| {
        let head = format!(
            "PATCH {server} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n{headers}\r\n"
        );
        http_raw(&admin, format!("{head}{body}").as_bytes())
    };
    let json_of =
        |len: usize| format!("Content-Type: application/json\r\nContent-Length: {len}\r\n");
    let good = r#"{"weight": 2}"#;
    refused(
        &send(&format!("Content-Length: {}\r\n", good.len()), good),
        415,
        &["Content-Type"],
    );
    refused(
        &send(&json_of(good.len()).replace("json", "xml"), good),
        415,
        &["Content-Type"],
    );
    for bad in [
        "",
        "{",
        "weight=2",
        "\"weight\"",
        "{\"weight\": 2} {}",
        "{\"weight\": 2, \"weight\": 3}",
        "\u{0}",
        "[[[[",
    ] {
        refused(&send(&json_of(bad.len()), bad), 400, &["the body"]);
    }
    refused(&send(&json_of(13), r#"{"weight": -1}"#), 400, &[]);
    refused(
        &http(
            &farm.balancer,
            "PATCH",
            &server,
            Some(&json!({"weight": -1})),
        ),
        400,
        &["\"-1\"", "from 0 to 1,000,000"],
    );
    let nested = "[".repeat(60_000);
    refused(&send(&json_of(nested.len()), &nested), 400, &["the body"]);
    let large = format!("{{\"weight\": 2{}}}", " ".repeat(admin::MAX_BODY));
    refused(&send(&json_of(large.len()), &large), 413, &["too large"]);
    let chunked = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    refused(
        &send(
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
            &chunked,
        ),
        413,
        &["too large"],
    );
    assert_eq!(
        get(&farm.balancer, &server)["weight"],
        1,
        "nothing of that had an effect"
    );
    let chunked = format!("{:x}\r\n{good}\r\n0\r\n\r\n", good.len());
    let response = send(
        "Content-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n",
        &chunked,
    );
    assert_eq!(
        (response.status, &response.json()["weight"]),
        (200, &json!(2))
    );
}

#[test]
fn heads_without_end_and_bodies_that_stop_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let time = Duration::from_millis(500);
    let limits = AdminLimits {
        head: time,
        body: time,
        ..AdminLimits::default()
    };
    let balancer = InProcess::start(dir.path(), BalancerConfig::default(), limits);
    let admin = balancer.admin.clone();
    // Sent as fast as it is taken.
    let endless = format!(
        "GET /live HTTP/1.1\r\nHost: {admin}\r\nX: {}",
        "x".repeat(1 << 20)
    );
    let mut wire = Wire::connect(&admin);
    let _ = wire.0.write_all(endless.as_bytes());
    let answer = String::from_utf8(wire.rest()).unwrap();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
    let many = format!(
        "GET /live HTTP/1.1\r\nHost: {admin}\r\n{}\r\n",
        "X: y\r\n".repeat(admin::MAX_HEADERS)
    );
    let refused = http_raw(&admin, many.as_bytes());
    assert_eq!(refused.status, 431, "{refused:?}");
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n",
        "x".repeat(admin::MAX_HEAD)
    );
    let refused = http_raw(&admin, long.as_bytes());
    assert!([414, 431].contains(&refused.status), "{refused:?}");

    // Sent slowly, or not to the end.
    let starts = [
        String::new(),
        "GET".to_owned(),
        format!("GET /live HTTP/1.1\r\nHost: {admin}\r\nX: y"),
        format!(
            "PATCH /api/v1/servers/127.0.0.1:1 HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
        ),
    ];
    std::thread::scope(|scope| {
        for start in &starts {
            let admin = &admin;
            scope.spawn(move || {
                let began = Instant::now();
                let mut wire = Wire::connect(admin);
                wire.write(start.as_bytes());
                let answer = String::from_utf8(wire.rest()).unwrap();
                assert!(began.elapsed() >= time, "{start:?}: it had no time");
                assert!(
                    answer.is_empty() || answer.starts_with("HTTP/1.1 408 "),
                    "{start:?}: {answer}"
                );
                assert_eq!(
                    answer.is_empty(),
                    !start.starts_with("PATCH"),
                    "{start:?}: {answer}"
                );
            });
        }
    });
    assert_eq!(http_at(&admin, "GET", "/live", None).status, 200);
}

#[test]
fn web_pages_of_others_are_kept_out() {
    let farm = Farm::start(&[1]);
    let admin = at(&farm.balancer).to_owned();
    let port = admin.rsplit_once(':').unwrap().1;
    let server = format!("/api/v1/servers/{}", farm.servers[0].address);
    let ask = |method: &str, path: &str, headers: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        http_raw(&admin, request.as_bytes())
    };
    for host in [
        admin.clone(),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        format!("127.1.2.3:{port}"),
    ] {
        assert_eq!(
            ask("GET", "/live", &format!("Host: {host}\r\n")).status,
            200,
            "{host}"
        );
        let own = format!("Host: {host}\r\nOrigin: http://{host}\r\n");
        assert_eq!(ask("GET", "/api/v1/overview", &own).status, 200, "{host}");
    }
    for path in ["/live", "/metrics", "/api/v1/overview", "/nothing"] {
        refused(
            &ask("GET", path, &format!("Host: evil.example:{port}\r\n")),
            403,
            &["evil.example"],
        );
    }
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        &format!("https://{admin}"),
    ] {
        let response = ask(
            "DELETE",
            &server,
            &format!("Host: {admin}\r\nOrigin: {origin}\r\n"),
        );
        refused(&response, 403, &[origin]);
        assert!(
            response
                .headers
                .keys()
                .all(|name| !name.starts_with("access-control")),
            "{response:?}"
        );
        let asked_first = ask(
            "OPTIONS",
            &server,
            &format!("Host: {admin}\r\nOrigin: {origin}\r\n"),
        );
        assert_eq!(asked_first.status, 403);
    }
    assert_eq!(get(&farm.balancer, &server)["removing"], false);
}

#[test]
fn only_loopback_addresses_and_free_ports_are_bound() {
    let farm = Farm::start(&[1]);
    let start = |role: &str, admin: &str| {
        let mut command = bilico(&[role, "--listen", "127.0.0.1:0", "--admin", admin]);
        if role == "balancer" {
            command.args(["--server", "127.0.0.1:9"]);
        }
        run(command.current_dir(farm.dir.path()), "")
    };
    for role in ["balancer", "server"] {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:60080"] {
            let ended = start(role, address);
            assert_eq!((ended.code, &*ended.stdout), (Some(2), ""), "{ended:?}");
            assert!(
                ended.stderr.starts_with("error: ") && ended.stderr.contains(address),
                "{ended:?}"
            );
            assert!(
                ended.stderr.contains("only with users and over TLS")
                    && ended.stderr.contains("hint: "),
                "{ended:?}"
            );
        }
        let ended = start(role, at(&farm.balancer));
        assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{ended:?}");
        let port = at(&farm.balancer).rsplit_once(':').unwrap().1;
        assert!(
            ended
                .stderr
                .starts_with(&format!("error: port {port} is in use")),
            "{ended:?}"
        );
        assert!(
            ended.stderr.contains("hint: ") && ended.stderr.contains("--admin none"),
            "{ended:?}"
        );
        assert_eq!(start(role, "nowhere").code, Some(2));
    }
    let quiet = start_balancer(
        farm.dir.path(),
        &["127.0.0.1:9=1".to_owned()],
        &["--admin", "none", "--journal", "other"],
    );
    assert_eq!(quiet.admin, None);
}

// ---------------------------------------------------------------- servers change at run time

/// How many files each of the servers has.
fn delivered(farm: &Farm) -> Vec<u64> {
    farm.status()
        .servers
        .iter()
        .map(|server| server.delivered)
        .collect()
}

#[test]
fn a_weight_that_is_changed_at_run_time_changes_the_shares() {
    let farm = Farm::start(&[3, 2, 1]);
    let folder = make_files(&farm, 110);
    let share = |place: usize, field: &str| {
        get(&farm.balancer, "/api/v1/servers")["servers"][place][field].as_f64()
    };
    assert_eq!(share(0, "share_had"), None, "nothing was delivered");
    assert_eq!(share(0, "share_wanted"), Some(0.5));
    send(&farm, &folder);
    let before = delivered(&farm);
    let third = format!("/api/v1/servers/{}", farm.servers[2].address);
    let changed = http(&farm.balancer, "PATCH", &third, Some(&json!({"weight": 6})));
    assert_eq!(
        (changed.status, &changed.json()["weight"]),
        (200, &json!(6))
    );
    for (place, weight) in [3.0, 2.0, 6.0].into_iter().enumerate() {
        let wanted = share(place, "share_wanted").unwrap();
        assert!((wanted - weight / 11.0).abs() < 1e-5, "{wanted}");
    }
    send(&farm, &folder);
    let after = delivered(&farm);
    for (place, wanted) in [30u64, 20, 60].into_iter().enumerate() {
        let got = after[place] - before[place];
        assert!(
            got.abs_diff(wanted) <= 2,
            "server {place} got {got} of 110 files, not {wanted}"
        );
    }
    wait_until("the shares to be told", || {
        // Of one answer: files still come while one asks again.
        let servers = get(&farm.balancer, "/api/v1/servers");
        let shares =
            [0, 1, 2].map(|place| servers["servers"][place]["share_had"].as_f64().unwrap());
        let sum: f64 = shares.iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{shares:?}");
        shares[2] > shares[1]
    });
    let seconds = || -> u64 {
        let server = get(&farm.balancer, &third);
        server["history"]
            .as_array()
            .unwrap()
            .iter()
            .map(|count| count.as_u64().unwrap())
            .sum()
    };
    wait_until("the history to tell all of it", || seconds() == after[2]);
}

#[test]
fn servers_that_come_and_go_under_load_lose_nothing() {
    let mut farm = Farm::start(&[1, 1]);
    let rounds = 6;
    let folder = make_files(&farm, 300);
    let names = [
        farm.servers[0].address.clone(),
        farm.servers[1].address.clone(),
    ];
    let change = |farm: &Farm, name: &str, body: Value| {
        let changed = http(
            &farm.balancer,
            "PATCH",
            &format!("/api/v1/servers/{name}"),
            Some(&body),
        );
        assert_eq!(changed.status, 200, "{changed:?}");
        changed.json()
    };
    let mut sending: Vec<Child> = (0..rounds).map(|_| start_sending(&farm, &folder)).collect();
    wait_until("files to pass", || farm.status().delivered > 10);
    assert_eq!(
        change(&farm, &names[0], json!({"drained": true}))["state"],
        "drained"
    );
    wait_until("what is in flight to end", || {
        farm.server_status(0).in_flight == 0
    });
    let drained = farm.server_status(0).delivered;
    let third = start_server(farm.dir.path(), 3, &[]);
    let added = http(
        &farm.balancer,
        "POST",
        "/api/v1/servers",
        Some(&json!({"address": third.address, "weight": 2})),
    );
    assert_eq!(added.status, 201, "{added:?}");
    farm.servers.push(third);
    assert_eq!(
        http(
            &farm.balancer,
            "DELETE",
            &format!("/api/v1/servers/{}", names[1]),
            None
        )
        .status,
        202
    );
    wait_until("the removed one to go", || {
        farm.status()
            .servers
            .iter()
            .all(|server| server.name != names[1])
    });
    assert_eq!(
        farm.server_status(0).delivered,
        drained,
        "a drained server gets nothing new"
    );
    wait_until("the new one to be used", || {
        farm.server_status(1).delivered > 0 || sending_ended(&mut sending)
    });
    change(&farm, &names[0], json!({"drained": false}));
    for mut sending in sending {
        assert!(sending.wait().unwrap().success());
    }
    send(&farm, &folder);
    assert!(farm.server_status(0).delivered > drained && farm.server_status(1).delivered > 0);
    let stored = farm.all_stored();
    assert_eq!(stored.len(), 300 * (rounds + 1));
    let status = farm.status();
    assert_eq!(
        (
            status.accepted,
            status.delivered,
            status.queue.files(),
            status.queue.dead
        ),
        (2100, 2100, 0, 0)
    );
}

fn sending_ended(sending: &mut [Child]) -> bool {
    sending
        .iter_mut()
        .all(|sending| sending.try_wait().unwrap().is_some())
}

// ---------------------------------------------------------------- events

/// Somebody who listens to events and reads them.
struct Events {
    wire: Wire,
    came: Vec<u8>,
    /// What was read of the text so far.
    read: usize,
}

impl Events {
    #[track_caller]
    fn listen(role: &Role, query: &str, headers: &str) -> Self {
        let mut wire = Wire::connect(at(role));
        wire.write(
            format!(
                "GET /api/v1/events{query} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
                at(role)
            )
            .as_bytes(),
        );
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            wire.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"),
            "{head}"
        );
        Self {
            wire,
            came: Vec::new(),
            read: 0,
        }
    }

    /// The next event: its kind, its id and its data. `None` at the end.
    fn try_next(&mut self) -> Option<(String, Option<u64>, Value)> {
        loop {
            let text = dechunk(&self.came);
            let text = String::from_utf8_lossy(&text[self.read..]).into_owned();
            if let Some((event, _)) = text.split_once("\n\n") {
                self.read += event.len() + 2;
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                if let (Some(kind), Some(data)) = (field("event"), field("data")) {
                    let id = field("id").map(|id| id.parse().unwrap());
                    return Some((kind.to_owned(), id, serde_json::from_str(data).unwrap()));
                }
                continue;
            }
            let mut some = [0; 8192];
            match uninterrupted(|| self.wire.0.read(&mut some)) {
                Ok(0) => return None,
                Ok(read) => self.came.extend_from_slice(&some[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[track_caller]
    fn next(&mut self) -> (String, Option<u64>, Value) {
        self.try_next().expect("no more events")
    }

    /// The next notice of this kind.
    #[track_caller]
    fn notice(&mut self, wanted: &str) -> (u64, Value) {
        loop {
            let (kind, id, data) = self.next();
            if kind == "notice" && data["kind"] == wanted {
                return (id.unwrap(), data);
            }
        }
    }
}

#[test]
fn listeners_hear_of_states_and_of_each_notice_once() {
    let farm = Farm::start(&[1]);
    let server = format!("/api/v1/servers/{}", farm.servers[0].address);
    let weigh = |weight: u32| {
        assert_eq!(
            http(
                &farm.balancer,
                "PATCH",
                &server,
                Some(&json!({"weight": weight}))
            )
            .status,
            200
        );
    };
    let mut all = Events::listen(&farm.balancer, "", "");
    let mut notices = Events::listen(&farm.balancer, "?only=notice", "");
    let (kind, _, state) = all.next();
    assert_eq!(
        (&*kind, &state["servers"][0]["weight"]),
        ("state", &json!(1))
    );
    weigh(5);
    let (first, notice) = all.notice("weight");
    assert_eq!(notice["server"], json!(farm.servers[0].address));
    let (kind, id, same) = notices.next();
    assert_eq!(
        (&*kind, id, &same),
        ("notice", Some(first), &notice),
        "it hears of nothing else, and of nothing before"
    );
    loop {
        let (kind, _, state) = all.next();
        if kind == "state" && state["servers"][0]["weight"] == 5 {
            break;
        }
    }
    drop(all);
    weigh(6);
    let (second, _) = notices.notice("weight");
    assert!(second > first);
    // Who comes back gets what it missed, once, and what comes then.
    let mut back = Events::listen(
        &farm.balancer,
        "?only=notice&after=0",
        &format!("Last-Event-ID: {first}\r\n"),
    );
    weigh(7);
    let heard: Vec<u64> = [back.next(), back.next()]
        .iter()
        .map(|(_, id, _)| id.unwrap())
        .collect();
    assert_eq!(heard, [second, second + 1]);
    // An id of an earlier balancer is one that this one has not given yet.
    let (kind, id, _) = Events::listen(&farm.balancer, "?only=notice&after=1000000", "").next();
    assert_eq!((&*kind, id), ("notice", Some(1)));
}

/// The end of the balancer waits for no listener.
#[test]
fn listeners_do_not_hold_up_the_end() {
    let mut farm = Farm::start(&[1]);
    let mut listening: Vec<Events> = (0..10)
        .map(|_| Events::listen(&farm.balancer, "", ""))
        .collect();
    let mut silent = Wire::connect(at(&farm.balancer));
    silent.write(
        format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n",
            at(&farm.balancer)
        )
        .as_bytes(),
    );
    let half = Wire::connect(at(&farm.balancer));
    for listener in &mut listening {
        listener.next();
    }
    let began = Instant::now();
    assert_eq!(farm.balancer.stop(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{:?}",
        began.elapsed()
    );
    for mut listener in listening {
        while listener.try_next().is_some() {}
    }
    drop((silent, half));
}

/// A thousand ask for events and read nothing, of which the most that may be are let in. Each is
/// dropped when its bounded buffer is full; files pass meanwhile, the others are answered, and
/// memory stays within its bounds. States fill the sockets, and then the events of changed weights,
/// which come faster, the buffers.
#[test]
fn a_thousand_listeners_that_do_not_read_are_dropped_and_files_pass() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &[]);
    // Many servers make states long, so that one or two fill a socket.
    let mut specs = vec![format!("{}=1", server.address)];
    specs.extend((1..=300).map(|port| format!("127.0.0.1:{port}=0")));
    let balancer = start_balancer(dir.path(), &specs, &["--probe-interval", "10s"]);
    let farm = Farm {
        servers: vec![server],
        balancer,
        dir,
    };
    farm.wait_until_up();
    let folder = make_files(&farm, 50);
    send(&farm, &folder);
    let before = farm.balancer.resident();
    let request = format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: {}\r\n\r\n",
        at(&farm.balancer)
    );
    let mut silent: Vec<TcpStream> = Vec::new();
    let mut listening = 0;
    // No more at once than the kernel keeps for a listener: it would drop the others' handshakes,
    // and their clients would try again seconds later.
    for _ in 0..10 {
        let some: Vec<TcpStream> = (0..100)
            .map(|_| {
                let mut stream = TcpStream::connect(at(&farm.balancer)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.set_read_timeout(Some(DEADLINE)).unwrap();
                stream
            })
            .collect();
        for stream in &some {
            let mut start = [0; 12];
            uninterrupted(|| stream.peek(&mut start)).unwrap();
            listening += usize::from(&start == b"HTTP/1.1 200");
        }
        silent.extend(some);
    }
    let is_dropped = |farm: &Farm| farm.log().matches("does not read: dropped").count();
    let set_weight = |weight: usize| {
        let server = format!("/api/v1/servers/{}", farm.servers[0].address);
        let body = json!({"weight": weight});
        let changed = http(&farm.balancer, "PATCH", &server, Some(&body));
        assert_eq!(changed.status, 200, "{changed:?}");
    };
    // On a slow machine some are dropped while others still come. Lines come in their order: behind
    // this one, the log has all of those.
    set_weight(9);
    wait_for_line(|| farm.log(), &["weight set", "weight=9"]);
    let most_ever = admin::MAX_LISTENERS + is_dropped(&farm);
    assert!((1..=most_ever).contains(&listening), "{listening}");
    let began = Instant::now();
    let mut most = 0;
    let mut sent = 1;
    while is_dropped(&farm) < listening {
        send(&farm, &folder);
        sent += 1;
        (1..=admin::LISTENER_EVENTS).for_each(set_weight);
        assert!(
            get(&farm.balancer, "/api/v1/overview")["accepting"]
                .as_bool()
                .unwrap()
        );
        most = most.max(farm.balancer.resident());
        assert!(
            began.elapsed() < 5 * DEADLINE,
            "{} of {listening} are dropped",
            is_dropped(&farm)
        );
    }
    assert_eq!(farm.all_stored().len(), sent * 50);
    let grown = most.saturating_sub(before) >> 20;
    // Each may hold a buffer of its own; the events are shared.
    assert!(grown < 256, "memory has grown by {grown} MiB");
    drop(silent);
    let mut fresh = wait_for("a place to listen", || {
        let mut stream = TcpStream::connect(at(&farm.balancer)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        (&start == b"HTTP/1.1 200").then_some(stream)
    });
    fresh.read_exact(&mut [0; 100]).unwrap();
}

// ---------------------------------------------------------------- monitoring

#[test]
fn ready_tells_why_it_is_not() {
    let mut farm = Farm::start(&[1]);
    let ready = |farm: &Farm| http(&farm.balancer, "GET", "/ready", None);
    assert_eq!((ready(&farm).status, ready(&farm).text()), (200, "ready\n"));
    farm.servers[0].kill();
    wait_until("the server to be seen down", || ready(&farm).status == 503);
    let response = ready(&farm);
    assert!(
        response.text().contains("no server may get files")
            && response.text().contains(&farm.servers[0].address),
        "{response:?}"
    );
    assert_eq!(http(&farm.balancer, "GET", "/live", None).status, 200);
    let overview = get(&farm.balancer, "/api/v1/overview");
    assert_eq!(
        (&overview["accepting"], &overview["servers"]),
        (&json!(true), &json!({"total": 1, "eligible": 0}))
    );
    assert_eq!(overview["reason"].as_str().unwrap(), response.text().trim());
    farm.servers[0].restart();
    wait_until("it to be ready again", || ready(&farm).status == 200);
}

#[test]
fn a_server_answers_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = start_server(dir.path(), 1, &["--admin", "127.0.0.1:0"]);
    assert_eq!(http(&server, "GET", "/live", None).text(), "live\n");
    assert_eq!(http(&server, "GET", "/ready", None).text(), "ready\n");
    refused(
        &http(&server, "GET", "/api/v1/overview", None),
        404,
        &["/api/v1/overview"],
    );
    let bad = http_raw(
        at(&server),
        b"GET /live HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n",
    );
    refused(&bad, 403, &["evil"]);
    let without = start_server(dir.path(), 2, &[]);
    assert_eq!(without.admin, None);
}

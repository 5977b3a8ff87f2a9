//! The routes about the members of the fleet: each answer is held against the `OpenAPI` document.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bilico::admin::AdminLimits;
use bilico::balancer::BalancerConfig;
use bilico::fleet_core::{Facts, Identity, MemberState, Source, Told, Trust};
use bilico_testkit::{Response, http_at, wait_until};
use serde_json::{Value, json};

use crate::admin::{Schemas, refused};
use crate::in_process::InProcess;

const LIST: (&str, &str) = ("GET", "/api/v1/fleet");
const AVERAGES: (&str, &str) = ("GET", "/api/v1/fleet/averages");
const MEMBER: (&str, &str) = ("GET", "/api/v1/fleet/{name}");
const PROTECT: (&str, &str) = ("PATCH", "/api/v1/fleet/{name}");
const FORGET: (&str, &str) = ("DELETE", "/api/v1/fleet/{name}");
const HISTORY: (&str, &str) = ("GET", "/api/v1/fleet/{name}/history");
const COMMANDS: (&str, &str) = ("GET", "/api/v1/fleet/{name}/commands");

/// The routes that are tested here.
pub const ROUTES: [(&str, &str); 7] = [LIST, AVERAGES, MEMBER, PROTECT, FORGET, HISTORY, COMMANDS];

/// What an agent tells.
pub fn agent(name: &str, every: Duration) -> Told {
    Told {
        who: Identity::Agent(name.into()),
        name: Some(name.into()),
        source: Source::Token,
        trust: Trust::Proved,
        peer: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        every,
        facts: Facts {
            cpu: Some(0.25),
            cores: [0.5, 0.0].into(),
            memory_used: Some(1 << 30),
            memory_total: Some(4 << 30),
            disk_used: Some(10 << 30),
            disk_total: Some(40 << 30),
            disk_free: Some(30 << 30),
            net_rx: Some(1000.0),
            net_tx: Some(500.0),
            net_dropped: Some(0.0),
            uptime_s: Some(3600),
            ..Facts::default()
        },
    }
}

struct Asked {
    balancer: InProcess,
    schemas: Schemas,
    answered: BTreeSet<(&'static str, &'static str)>,
}

impl Asked {
    #[track_caller]
    fn ask(
        &mut self,
        route: (&'static str, &'static str),
        name: &str,
        query: &str,
        body: Option<&Value>,
        status: u16,
    ) -> Response {
        let path = format!("{}{query}", route.1.replace("{name}", name));
        let response = http_at(&self.balancer.admin, route.0, &path, body);
        assert_eq!(response.status, status, "{} {path}: {response:?}", route.0);
        self.schemas.check(route, &response);
        if status == 200 {
            self.answered.insert(route);
        }
        response
    }
}

#[test]
fn every_route_about_members_answers_as_the_document_says() {
    let dir = tempfile::tempdir().unwrap();
    let balancer = InProcess::start(
        dir.path(),
        BalancerConfig::default(),
        AdminLimits::default(),
    );
    let every = Duration::from_mins(1);
    for name in ["host-a", "host-b"] {
        balancer.fleet.told(agent(name, every)).unwrap();
    }
    let mut asked = Asked {
        balancer,
        schemas: Schemas::parse(),
        answered: BTreeSet::new(),
    };
    let members = asked.ask(LIST, "", "", None, 200).json();
    let names: Vec<_> = members["members"].as_array().unwrap().iter().collect();
    assert_eq!(
        names
            .iter()
            .map(|member| &member["name"])
            .collect::<Vec<_>>(),
        ["host-a", "host-b"]
    );
    let none = asked.ask(LIST, "", "?state=gone", None, 200).json();
    assert_eq!(none, json!({"members": []}));
    let bad = asked.ask(LIST, "", "?state=ill", None, 400);
    refused(&bad, 400, &["unknown value `ill`", "joining"]);

    let member = asked.ask(MEMBER, "agent:host-a", "", None, 200).json();
    assert_eq!(
        [&member["id"], &member["state"], &member["facts"]["cpu"]],
        [&json!("agent:host-a"), &json!("active"), &json!(0.25)]
    );
    let unknown = asked.ask(MEMBER, "host-z", "", None, 404);
    refused(&unknown, 404, &["no member host-z", "GET /api/v1/fleet"]);
    let several = asked.ask(MEMBER, "host", "", None, 409);
    refused(&several, 409, &["host-a, host-b", "whole name"]);

    asked.ask(AVERAGES, "", "?over=1h", None, 200);
    let history = asked.ask(HISTORY, "host-a", "", None, 200).json();
    assert!(history["time"].is_array(), "{history}");
    let query = "?figures=cpu,net_rx&over=10m&step=5s";
    asked.ask(HISTORY, "host-a", query, None, 200);
    asked.ask(HISTORY, "host-z", query, None, 404);
    for bad in [
        "?figures=heat",
        "?over=10",
        "?over=0",
        "?over=400d",
        "?over=8d",
        "?over=2001s&step=1s",
        "?step=0",
        "?step=11m",
        "?over=7d&step=1s",
        "?since=1h",
    ] {
        asked.ask(HISTORY, "host-a", bad, None, 400);
    }
    asked.ask(AVERAGES, "", "?over=x", None, 400);
    asked.ask(AVERAGES, "", "?over=8d", None, 400);

    let typed = asked.ask(COMMANDS, "host-a", "", None, 200).json();
    assert_eq!(typed, json!({"id": "agent:host-a", "commands": []}));
    let commands = asked.balancer.fleet.commands();
    commands.keep(2);
    let who = Identity::Agent("host-a".into());
    for line in ["ls", "ls -la", "cat notes"] {
        commands
            .told(&who, "root", line, "2026-11-25 04:23:08")
            .unwrap();
    }
    let typed = asked.ask(COMMANDS, "host-a", "", None, 200).json();
    assert_eq!(
        typed["commands"],
        json!([
            {"time": "2026-11-25 04:23:08", "user": "root", "command": "ls -la"},
            {"time": "2026-11-25 04:23:08", "user": "root", "command": "cat notes"},
        ])
    );
    asked.ask(COMMANDS, "host-z", "", None, 404);

    let kept = json!({"protected": true});
    asked.ask(PROTECT, "host-a", "", Some(&kept), 200);
    asked.ask(PROTECT, "host-z", "", Some(&kept), 404);
    // A part of a name is enough to look, and not to give an order.
    asked.ask(MEMBER, "ost-a", "", None, 200);
    asked.ask(PROTECT, "ost-a", "", Some(&kept), 404);
    for bad in [json!({}), json!({"protected": 1}), json!({"weight": 1})] {
        asked.ask(PROTECT, "host-a", "", Some(&bad), 400);
    }

    // Once nothing is heard of it, it can be forgotten.
    for name in ["host-c", "host-c2"] {
        let told = agent(name, Duration::from_millis(10));
        asked.balancer.fleet.told(told).unwrap();
    }
    wait_until("nothing to be heard of the members", || {
        let silent = |name| asked.balancer.fleet.find(name).unwrap().state == MemberState::Unknown;
        silent("host-c") && silent("host-c2")
    });
    asked.ask(FORGET, "host-c", "", None, 200);
    // An order that is repeated forgets nobody else.
    asked.ask(FORGET, "host-c", "", None, 404);
    asked.ask(FORGET, "host", "", None, 404);
    asked.ask(FORGET, "host-a", "", None, 409);
    asked.ask(MEMBER, "host-c2", "", None, 200);
    assert_eq!(asked.answered, BTreeSet::from(ROUTES));
}

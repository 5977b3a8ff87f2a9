//! Where commands find their balancer: flags, the environment, contexts, one file for all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use bilico_testkit::{Ended, Role, Running, bilico, run, start_balancer, start_server};
use serde_json::Value;
use tempfile::TempDir;

/// A balancer with a server, and a user's configuration.
struct Place {
    dir: TempDir,
    balancer: Role,
    server: Role,
}

impl Place {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = start_server(dir.path(), 1, &[]);
        let servers = [format!("{}=1", server.address)];
        let balancer = start_balancer(dir.path(), &servers, &[]);
        Self {
            dir,
            balancer,
            server,
        }
    }

    fn admin(&self) -> &str {
        self.balancer.admin.as_deref().unwrap()
    }

    /// The file that the balancer might have been started with.
    fn write_file(&self) {
        let everywhere = self.balancer.address.replace("127.0.0.1", "0.0.0.0");
        let text = format!(
            "[balancer]\nservers = [\"{}=1\"]\nlisten = \"{everywhere}\"\nadmin = \"{}\"\n\
             [log]\ndir = \"logs\"\n",
            self.server.address,
            self.admin()
        );
        fs::write(self.dir.path().join("b.toml"), text).unwrap();
    }

    /// A command with no variable of a balancer.
    fn command(&self, line: &str) -> Command {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = bilico(&words);
        command
            .env_remove("BILICO_ADMIN")
            .env("XDG_CONFIG_HOME", self.dir.path().join("home"))
            .current_dir(self.dir.path());
        command
    }

    #[track_caller]
    fn run(&self, line: &str) -> Ended {
        run(&mut self.command(line), "")
    }

    #[track_caller]
    fn works(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        ended.stdout
    }
}

/// An operator on the balancer's machine names one file, or one variable, for all commands.
#[test]
fn one_file_serves_every_command() {
    let place = Place::start();
    place.write_file();
    fs::write(place.dir.path().join("x.txt"), "x").unwrap();
    let lines = [
        "status",
        "queue ls",
        &format!("weight {} 2", place.server.address),
        &format!("drain {} --no-wait", place.server.address),
        &format!("undrain {}", place.server.address),
        "servers",
        "fleet ls",
        "events",
        "send x.txt",
        "logs -n 1",
        "whoami",
    ];
    for line in lines {
        let with_flag = place.run(&format!("{line} --config b.toml"));
        assert_ne!(with_flag.code, Some(3), "{line}: {with_flag:?}");
        let mut command = place.command(line);
        let with_variable = run(command.env("BILICO_CONFIG", "b.toml"), "");
        assert_eq!(
            with_variable.code, with_flag.code,
            "{line}: {with_variable:?}"
        );
    }
    place.works("status --config b.toml");
    // A flag and a variable come before it.
    let ended = place.run("status --config b.toml --admin 127.0.0.1:1");
    assert_eq!(ended.code, Some(3));
    let mut command = place.command("status --config b.toml");
    let ended = run(command.env("BILICO_ADMIN", "127.0.0.1:1"), "");
    assert_eq!(ended.code, Some(3), "{ended:?}");
}

#[test]
fn a_context_serves_every_command_and_messages_name_it() {
    let place = Place::start();
    let (address, admin) = (&place.balancer.address, place.admin());
    let said = place.works(&format!(
        "context add here --balancer {address} --admin {admin}"
    ));
    assert!(said.contains("because it is the first one"), "{said}");
    place.works("status");
    fs::write(place.dir.path().join("x.txt"), "x").unwrap();
    place.works("send x.txt");

    // Of one address comes the other.
    let said = place.works("context add away --balancer 127.0.0.1:1");
    assert!(said.contains("admin       127.0.0.1:60080"), "{said}");
    place.works("context add away --admin 127.0.0.1:2");
    let ended = place.run("status --context away");
    assert_eq!(ended.code, Some(3));
    let wanted = "cannot reach the balancer's admin listener at 127.0.0.1:2 (context away): ";
    assert!(ended.stderr.contains(wanted), "{ended:?}");
    let ended = place.run("send x.txt --context away");
    let wanted = "cannot reach the balancer at 127.0.0.1:1 (context away): ";
    assert!(ended.stderr.contains(wanted), "{ended:?}");

    // What a context did not give is not called its own.
    let ended = place.run("status --admin 127.0.0.1:9");
    assert!(!ended.stderr.contains("context here"), "{ended:?}");

    let list = place.works("context ls");
    assert!(
        list.lines()
            .any(|line| line.trim_start().starts_with("*  here")),
        "{list}"
    );
    let list: Value = serde_json::from_str(&place.works("context ls --json")).unwrap();
    assert_eq!(list["in_use"], "here");
    assert_eq!(list["contexts"]["away"]["admin"], "127.0.0.1:2");

    place.works("context use away");
    assert_eq!(place.run("status").code, Some(3));
    let mut command = place.command("status");
    assert_eq!(run(command.env("BILICO_CONTEXT", "here"), "").code, Some(0));
    place.works("context rm away");
    let ended = place.run("status --context away");
    assert_eq!(ended.code, Some(2));
    let wanted = "error: there is no context \"away\": expected one of here, or none\n";
    assert_eq!(ended.stderr, wanted);
    let shown = place.works("context show");
    assert_eq!(
        shown,
        "no context is in use: choose one with `bilico context use NAME`\n"
    );
}

/// The order that the manual states: flag, environment, context, file, default.
#[test]
fn the_nearest_word_decides() {
    let place = Place::start();
    place.write_file();
    place.works("context add wrong --balancer 127.0.0.1:1 --admin 127.0.0.1:2");
    let reaches = |line: &str, variables: &[(&str, &str)]| {
        let mut command = place.command(line);
        for (name, value) in variables {
            command.env(name, value);
        }
        run(&mut command, "").code == Some(0)
    };
    let flag = format!("status --admin {}", place.admin());
    assert!(reaches(&flag, &[]), "a flag before the context");
    assert!(reaches("status", &[("BILICO_ADMIN", place.admin())]));
    // A context that is named on the command line is a flag.
    let variables = [("BILICO_ADMIN", place.admin())];
    assert!(!reaches("status --context wrong", &variables));
    assert!(!reaches("status", &[("BILICO_CONFIG", "b.toml")]));
    // So is a file: it sets aside a context that is only in use.
    assert!(reaches("status --config b.toml", &[]));
    assert!(!reaches("status --config b.toml --context wrong", &[]));
    assert!(reaches(
        "status --context none",
        &[("BILICO_CONFIG", "b.toml")]
    ));

    let origin = |line: &str, key: &str| {
        let shown: Value = serde_json::from_str(&place.works(line)).unwrap();
        let value = &shown["commands"]["client"]["client"][key];
        format!("{} {}", value["value"], value["from"])
    };
    let show = "config show client --json";
    assert_eq!(origin(show, "admin"), r#""127.0.0.1:2" "context""#);
    assert_eq!(
        origin(&format!("{show} --config b.toml"), "admin"),
        format!("{:?} \"file\"", place.admin())
    );
    assert_eq!(
        origin(&format!("{show} --context none"), "balancer"),
        r#""127.0.0.1:60002" "default""#
    );
}

#[test]
fn contexts_are_for_their_user_and_changed_one_after_the_other() {
    let place = Place::start();
    let adding: Vec<Running> = (0..8)
        .map(|n| {
            let line = format!("context add c{n} --balancer 127.0.0.1:{}", n + 1);
            Running::start(&mut place.command(&line))
        })
        .collect();
    for one in adding {
        let ended = one.wait();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let list: Value = serde_json::from_str(&place.works("context ls --json")).unwrap();
    assert_eq!(list["contexts"].as_object().unwrap().len(), 8);
    let home = place.dir.path().join("home/bilico");
    let file = home.join("contexts.toml");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&home)), (0o600, 0o700));

    for (line, part) in [
        ("context add none --balancer h:1", "stands for no context"),
        ("context add a/b --balancer h:1", "letters, digits"),
        ("context add x", "name the balancer: --balancer ADDR"),
        ("context use nobody", "there is no context \"nobody\""),
        ("context rm nobody", "expected one of c0, c1"),
    ] {
        let ended = place.run(line);
        assert!(
            ended.code != Some(0) && ended.stderr.contains(part),
            "{line}: {ended:?}"
        );
    }
    fs::write(&file, "[contexts.a]\nbalancr = \"x\"\n").unwrap();
    let ended = place.run("status");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("contexts.toml") && ended.stderr.contains("balancr"),
        "{ended:?}"
    );
    // A broken file does not keep a role from its start, nor an operator from naming the balancer.
    place.works(&format!("status --context none --admin {}", place.admin()));
}

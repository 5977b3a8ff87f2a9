//! The configuration at the start.

use bilico_testkit::{Role, bilico, run};
use serde_json::{Value, json};

use super::place::{Place, servers};

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let place = Place::new(
        "[balancer]\nservers = [\"127.0.0.1:1=1\"]\nfall = 11\nrise = 11\nqueue-files = 11\n",
    );
    let show = |arguments: &[&str]| -> Value {
        let mut command = bilico(&["config", "show", "balancer", "--json"]);
        command
            .current_dir(place.path())
            .env("BILICO_CONFIG", "bilico.toml")
            .args(arguments);
        let ended = run(
            command.env("BILICO_FALL", "12").env("BILICO_RISE", "12"),
            "",
        );
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    };
    let shown = show(&["--", "--rise", "13"]);
    let balancer = &shown["commands"]["balancer"]["balancer"];
    for (key, value, from) in [
        ("rise", "13", "flag"),
        ("fall", "12", "environment"),
        ("queue-files", "11", "file"),
        ("max-attempts", "16", "default"),
    ] {
        assert_eq!(
            (&balancer[key]["value"], &balancer[key]["from"]),
            (&value.into(), &from.into()),
            "{key}"
        );
    }
    assert_eq!(balancer["servers"]["value"], json!(["127.0.0.1:1=1"]));
    assert_eq!(shown["file"], "bilico.toml");

    // A role uses the settings that are shown.
    let start = |env: &[(&str, &str)], flags: &[&str]| {
        let mut command = bilico(&[]);
        command.envs(env.iter().copied());
        let mut args = vec![
            "balancer",
            "--listen",
            "127.0.0.1:0",
            "--config",
            "bilico.toml",
        ];
        args.extend(flags);
        let balancer = Role::launch(command, place.path(), &args).unwrap();
        servers(&balancer).swap_remove(0)
    };
    assert_eq!(start(&[], &[]), ("127.0.0.1:1".to_owned(), 1));
    let env = [("BILICO_SERVERS", "127.0.0.1:2=2,127.0.0.1:4=4")];
    assert_eq!(start(&env, &[]), ("127.0.0.1:2".to_owned(), 2));
    assert_eq!(
        start(&env, &["--server", "127.0.0.1:3=3"]),
        ("127.0.0.1:3".to_owned(), 3)
    );
}

#[test]
fn a_broken_file_prevents_the_start_and_check_names_every_mistake() {
    let place = Place::new(
        "[balancer]\nservers = [\"127.0.0.1:1\"]\nmax-jsn = 3\n\n[server]\nclean = \"yes\"\n",
    );
    let all = "error: bilico.toml:3: unknown key `max-jsn` in [balancer]; did you mean `max-json`?\n\
               error: bilico.toml:6: [server] clean: expected true or false, not a text\n";
    for args in [
        &["balancer", "--config", "bilico.toml"][..],
        &[
            "--config",
            "bilico.toml",
            "server",
            "--listen",
            "127.0.0.1:0",
        ],
        &["config", "check", "bilico.toml"],
        &["config", "check", "--config", "bilico.toml"],
        &["config", "show", "--config", "bilico.toml"],
    ] {
        let ended = run(bilico(args).current_dir(place.path()), "");
        assert_eq!(
            (ended.code, &*ended.stdout, &*ended.stderr),
            (Some(2), "", all),
            "{args:?}"
        );
    }
    assert!(!place.path().join("logs").exists(), "nothing was begun");

    place.write("[balancer]\nservers = [\"127.0.0.1:1\"]\n");
    let ended = run(
        bilico(&["config", "check", "bilico.toml"]).current_dir(place.path()),
        "",
    );
    assert_eq!(
        (ended.code, &*ended.stdout, &*ended.stderr),
        (Some(0), "bilico.toml is fine\n", "")
    );
    let ended = run(bilico(&["config", "check"]).env_remove("BILICO_CONFIG"), "");
    assert!(
        ended.code == Some(2)
            && ended
                .stderr
                .starts_with("error: no configuration file is named\nhint: "),
        "{ended:?}"
    );
    let ended = run(&mut bilico(&["balancer", "--config", "/no/such.toml"]), "");
    assert!(
        ended.code == Some(2) && ended.stderr.contains("/no/such.toml: cannot read the file"),
        "{ended:?}"
    );
}

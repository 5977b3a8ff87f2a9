//! The same commands at the prompt.

use std::fs;
use std::net::TcpListener;

use bilico_testkit::{
    DEMO_ON_FREE_PORTS, Farm, PROMPT, Running, Signal, Terminal, bilico, run, sample_files,
};

use super::helpers::{admin, port};

#[test]
fn the_prompt_of_the_demo_drains_and_weighs() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = bilico(&DEMO_ON_FREE_PORTS);
    let mut demo = Running::start(
        demo.args(["--files", sample_files()])
            .current_dir(dir.path()),
    );
    let banner = demo.wait_for_output("Each is a process");
    let page = banner
        .lines()
        .find_map(|line| line.strip_prefix("page "))
        .unwrap()
        .trim();
    let page = page
        .strip_prefix("http://")
        .and_then(|page| page.strip_suffix('/'))
        .unwrap();
    let live = bilico_testkit::http_at(page, "GET", "/live", None);
    assert_eq!(live.status, 200, "{live:?}");
    let servers: Vec<&str> = banner
        .lines()
        .filter_map(|line| line.strip_prefix("server "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    demo.write(&format!("weight {} 5\n", port(servers[2])));
    demo.wait_for_output(&format!(
        "{} has weight 5: 50.0 % of the files from now on",
        servers[2]
    ));
    demo.write(&format!("Drain {}\n", servers[0]));
    demo.wait_for_output(&format!("{} is drained", servers[0]));
    demo.write("FTP 70\nstatus\n");
    demo.wait_for_output("70 accepted, 70 delivered");
    let stored = |place: usize| {
        bilico_testkit::stored(&dir.path().join(format!("json_files_{place}"))).len()
    };
    assert_eq!(stored(1), 0, "it is drained");
    assert!(
        (18..=22).contains(&stored(2)) && (48..=52).contains(&stored(3)),
        "{} {}",
        stored(2),
        stored(3)
    );
    demo.write(&format!("undrain {}\nhelp\n", port(servers[0])));
    demo.wait_for_output(&format!(
        "{} is no longer drained: 30.0 % of the files from now on",
        servers[0]
    ));
    demo.wait_for_output("weight S N");
    demo.write(&format!(
        "weight {} -1\ndrain elsewhere\nweight\n",
        servers[0]
    ));
    demo.wait_for_error(r#"error: invalid weight "-1""#);
    demo.wait_for_error("error: there is no server \"elsewhere\"");
    demo.wait_for_error("error: unknown command \"weight\"");
    demo.write("exit\n");
    let ended = demo.end();
    assert_eq!(
        ended.code,
        Some(1),
        "a script is told of its failures: {}",
        ended.stderr
    );
}

#[test]
fn the_prompt_needs_the_admin_address() {
    let farm = Farm::start(&[1, 1]);
    let server = &*farm.servers[1].address;
    let args = [
        "client",
        "--balancer",
        &farm.balancer.address,
        "--files",
        sample_files(),
    ];
    let ended = run(
        bilico(&args).env_remove("BILICO_ADMIN"),
        &format!("drain {server}\n"),
    );
    assert!(
        ended.code == Some(1)
            && ended.stderr.contains("hint: ")
            && ended.stderr.contains("--admin"),
        "{ended:?}"
    );
    assert!(!farm.server_status(1).drained);
    let mut terminal = Terminal::start(
        farm.dir.path(),
        &[&args[..], &["--admin", admin(&farm.balancer)]].concat(),
    );
    terminal.expect(PROMPT);
    terminal.enter(&format!("drain {server}"));
    terminal.expect("is drained");
    terminal.expect(PROMPT);
    assert!(farm.server_status(1).drained);
    terminal.signal(Signal::SIGTERM);
    terminal.end();
}

#[test]
fn a_demo_whose_page_has_no_port_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let mut args = DEMO_ON_FREE_PORTS.to_vec();
    args[4] = &address;
    let ended = run(
        bilico(&args)
            .args(["--files", sample_files()])
            .current_dir(dir.path()),
        "exit\n",
    );
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .starts_with(&format!("error: port {} is in use", port(&address))),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("\nhint: ") && ended.stderr.contains("--admin"),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nothing was started"
    );
}

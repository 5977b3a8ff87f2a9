//! What was accepted, what was sent without a receipt and what was never sent are counted apart,
//! however a transfer ends; and the balancer's own count agrees.

use std::fs;

use bilico_testkit::{Farm, PROMPT, Running, Terminal, bilico, noise, run, wait_until};
use serde_json::Value;

use super::helpers::{command, make_pipe, objects, send};

/// The counts of a summary: accepted, sent without a receipt, not sent.
fn counts(text: &str) -> [u64; 3] {
    let summary = text
        .lines()
        .find(|line| line.contains(" accepted, ") && line.contains(" delivered"))
        .unwrap_or_else(|| panic!("no summary in {text}"));
    // A progress line may stand before it.
    let start = summary.find(" accepted, ").unwrap();
    let start = summary[..start]
        .rfind(|c: char| !c.is_ascii_digit() && c != ',')
        .map_or(0, |at| at + 1);
    let summary = &summary[start..];
    let number = |what: &str| {
        summary.split(", ").find_map(|part| {
            let (number, rest) = part.split_once(' ')?;
            rest.starts_with(what)
                .then(|| number.replace(',', "").parse().unwrap())
        })
    };
    let [accepted, unsure, unsent] = ["accepted", "sent without a receipt", "not sent"].map(number);
    [accepted.unwrap(), unsure.unwrap_or(0), unsent.unwrap_or(0)]
}

/// Checks a summary of `total` files against the balancer's count.
fn check(
    [accepted, unsure, unsent]: [u64; 3],
    total: u64,
    balancer: impl TryInto<u64>,
    said: &str,
) {
    assert_eq!(accepted + unsure + unsent, total, "{said}");
    let balancer = balancer.try_into().ok().unwrap();
    assert!(
        accepted <= balancer && balancer <= accepted + unsure,
        "{balancer} accepted by the balancer: {said}"
    );
}

/// The number of files that the balancer has accepted, once it takes no more.
fn accepted(farm: &Farm) -> u64 {
    let mut last = u64::MAX;
    wait_until("nothing more to be accepted", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = farm.status().accepted;
        std::mem::replace(&mut last, now) == now
    });
    last
}

fn many(farm: &Farm, files: usize) {
    for file in 0..files {
        farm.write(format!("many/{file}"), noise(file as u64, 20_000));
    }
}

const FILES: usize = 3000;

/// The summary once said nothing of what was never sent.
#[test]
fn an_interrupted_transfer_counts_each_file_once() {
    let farm = Farm::start(&[1]);
    many(&farm, FILES);
    for (round, flags) in [&[][..], &["--key-prefix", "k/"], &["--wait", "accepted"]]
        .into_iter()
        .enumerate()
    {
        let before = accepted(&farm);
        let running = Running::start(command(&farm, &["-r", "many"]).args(flags));
        wait_until("some to be accepted", || farm.status().accepted > before);
        running.signal("INT");
        let ended = running.wait();
        assert_eq!(ended.code, Some(130), "{ended:?}");
        let counts = counts(&ended.stdout);
        let said = format!("round {round}: {ended:?}");
        check(counts, FILES as u64, accepted(&farm) - before, &said);
        assert!(counts[2] > 0, "it was to end in the middle: {said}");
        assert!(
            ended.stderr.starts_with("error: interrupted\nhint: "),
            "{said}"
        );
        let remedy = if flags.contains(&"--key-prefix") {
            "run the same command again"
        } else {
            "a command with --key-prefix can be run again"
        };
        assert!(ended.stderr.contains(remedy), "{said}");
    }
    // Run again as the hint says, it sends only what is not there.
    let before = accepted(&farm);
    let keyed = ["-r", "many", "--key-prefix", "k/", "--json"];
    let ended = send(&farm, &keyed);
    assert_eq!(
        (ended.code, &*ended.stderr),
        (Some(0), ""),
        "{}",
        ended.stderr
    );
    assert!(accepted(&farm) - before < FILES as u64);
}

#[test]
fn json_and_receipts_tell_what_was_sent_without_a_receipt() {
    let farm = Farm::start(&[1]);
    many(&farm, FILES);
    let args = ["-r", "many", "--json", "--receipts", "receipts"];
    let running = Running::start(&mut command(&farm, &args));
    wait_until("some to be accepted", || farm.status().accepted > 0);
    running.signal("INT");
    let ended = running.wait();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    let lines = objects(&ended.stdout);
    let receipts = objects(&fs::read_to_string(farm.dir.path().join("receipts")).unwrap());
    for objects in [lines, receipts] {
        let count =
            |is: &dyn Fn(&Value) -> bool| objects.iter().filter(|object| is(object)).count();
        let unsure = count(&|object| object["state"] == "unknown" && object["sent"] == true);
        let unsent = count(&|object| object["state"] == "unknown" && object["sent"] == false);
        let known = count(&|object| object["state"] != "unknown" && object["sent"].is_null());
        let counts = [known, unsure, unsent].map(|count| count as u64);
        check(counts, FILES as u64, accepted(&farm), &ended.stderr);
    }
    // There is no summary: the error has the counts.
    assert!(
        ended.stderr.starts_with("error: interrupted: ") && ended.stderr.contains("were not sent"),
        "{}",
        ended.stderr
    );
}

/// When `--retry` is up, nothing was once said of the files that were never sent.
#[test]
fn a_balancer_that_stays_away_leaves_counts_that_agree_with_its_own() {
    let mut farm = Farm::without_servers(&[1]);
    many(&farm, FILES);
    let flags = ["-r", "many", "--wait", "accepted", "--retry", "300ms"];
    let running = Running::start(&mut command(&farm, &flags));
    wait_until("some to be accepted", || farm.status().accepted > 0);
    farm.balancer.kill();
    let ended = running.wait();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    farm.balancer.restart();
    let queue = farm.status().queue;
    let counts = counts(&ended.stdout);
    check(counts, FILES as u64, queue.files(), &format!("{ended:?}"));
    assert!(ended.stderr.contains("hint: "), "{ended:?}");
}

/// The prompt is a script here: its exit code is the last failure's.
#[test]
fn the_prompt_counts_in_the_same_way() {
    let mut farm = Farm::without_servers(&[1]);
    many(&farm, 300);
    let address = farm.balancer.address.clone();
    let flags = [
        "client",
        "--balancer",
        &address,
        "--files",
        "many",
        "--retry",
        "0",
    ];
    let mut client = bilico(&flags);
    client.current_dir(farm.dir.path());
    let mut running = Running::start(&mut client);
    running.write("FTP 5000\nexit\n");
    wait_until("some to be accepted", || farm.status().accepted > 0);
    farm.balancer.kill();
    let ended = running.end();
    assert_eq!(ended.code, Some(3), "{ended:?}");
    farm.balancer.restart();
    let queue = farm.status().queue.files();
    check(counts(&ended.stdout), 5000, queue, &format!("{ended:?}"));
}

#[test]
fn ctrl_c_at_the_prompt_tells_what_was_not_sent() {
    let farm = Farm::start(&[1]);
    many(&farm, 300);
    let address = &farm.balancer.address;
    let args = ["client", "--balancer", address, "--files", "many"];
    let mut terminal = Terminal::start(farm.dir.path(), &args);
    terminal.expect(PROMPT);
    terminal.enter("FTP 20000");
    wait_until("some to be accepted", || farm.status().accepted > 0);
    terminal.press("\x03");
    let shown = terminal.expect(PROMPT);
    let counts = counts(&shown);
    check(counts, 20_000, accepted(&farm), &shown);
    assert!(
        shown.contains("no longer waiting; ") && shown.contains("files were not sent"),
        "{shown}"
    );
}

/// `1 files are missing after 1s` was said of a file that was safe in the journal.
#[test]
fn a_file_that_is_not_delivered_yet_is_with_the_balancer_and_not_missing() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "a");
    farm.servers[0].signal("STOP");
    let mut said = String::new();
    // Once the balancer has noticed that its server is frozen, the code is 4.
    wait_until("the server to be seen down", || {
        let ended = send(&farm, &["a.txt", "--timeout", "300ms"]);
        assert!(matches!(ended.code, Some(4 | 5)), "{ended:?}");
        assert!(!ended.stderr.contains("missing"), "{ended:?}");
        let receipt = ended.stdout.lines().nth(1);
        let Some(number) = receipt.and_then(|line| line.strip_suffix("  a.txt with the balancer"))
        else {
            // On a busy machine it may take longer until it is accepted.
            return false;
        };
        let number = number.trim();
        let text =
            format!("1 file is with the balancer (number {number}), not delivered after 300 ms\n");
        assert!(ended.stderr.contains(&text), "{ended:?}");
        if ended.code == Some(5) {
            let hint = format!("see `bilico queue show {number}`\n");
            assert!(ended.stderr.ends_with(&hint), "{ended:?}");
        }
        said.clone_from(&ended.stderr);
        ended.code == Some(4)
    });
    assert!(
        said.starts_with("error: no server is available: 1 file is"),
        "{said}"
    );
    assert!(
        said.ends_with("hint: `bilico status` shows why\n"),
        "{said}"
    );
    farm.servers[0].signal("CONT");
}

/// Whoever sends one file wants its number, not its share of the servers.
#[test]
fn a_few_files_have_their_receipts_shown() {
    let farm = Farm::start(&[1]);
    let server = &farm.servers[0].address;
    farm.write("report.pdf", "r");
    make_pipe(&farm, "pipe");
    let ended = send(&farm, &["report.pdf", "pipe", "report.pdf"]);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].starts_with("2 accepted, 2 delivered, 1 unreadable in "),
        "{ended:?}"
    );
    let receipts = [1, 2].map(|number| format!("{number:>4}  report.pdf → {server}"));
    assert_eq!(lines[1..], receipts, "{ended:?}");
    let ended = send(&farm, &["report.pdf"; 6]);
    assert!(
        ended.stdout.contains("by weight") && !ended.stdout.contains('→'),
        "{ended:?}"
    );
    let waited = send(&farm, &["report.pdf", "--wait", "accepted"]);
    assert!(waited.stdout.contains("   9  report.pdf "), "{waited:?}");
}

/// The names of fields are the same, whatever tells of a file.
#[test]
fn fields_have_one_name_in_json_receipts_and_http_answers() {
    let farm = Farm::start(&[1]);
    farm.write("a.txt", "abc");
    let ended = run(
        &mut command(&farm, &["a.txt", "--json", "--receipts", "receipts"]),
        "",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = &objects(&ended.stdout)[0];
    let receipt = &objects(&fs::read_to_string(farm.dir.path().join("receipts")).unwrap())[0];
    for field in [
        "path",
        "title",
        "key",
        "size",
        "hash",
        "crc32c",
        "state",
        "number",
        "server",
        "confirmed",
    ] {
        assert!(
            !line[field].is_null() && line[field] == receipt[field],
            "{field}: {line} {receipt}"
        );
    }
    assert_eq!(
        (&line["bytes"], &line["request_number"]),
        (&line["size"], &line["number"])
    );
    assert_eq!(line["crc32c"], format!("{:08x}", crc32c::crc32c(b"abc")));
}

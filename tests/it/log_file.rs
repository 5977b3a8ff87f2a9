//! The log's file is moved, deleted, or on a full disk, and notices say so.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use bilico_testkit::{
    Role, Running, bilico, http_at, limit, start_balancer, start_server, wait_for_line, wait_until,
};

/// A balancer whose server does not exist. Each change of the server's weight is a line in its log.
struct Logging {
    dir: TempDir,
    balancer: Running,
    admin: String,
}

impl Logging {
    fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = [
            "balancer",
            "--server",
            "127.0.0.1:1=1",
            "--listen",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        let mut command = bilico(&args);
        let balancer = Running::start(command.args(flags).current_dir(dir.path()));
        wait_until("the whole line", || {
            balancer.wait_for_output("admin on ").ends_with('\n')
        });
        let said = balancer.wait_for_output("admin on ");
        let admin = said
            .lines()
            .find_map(|line| line.strip_prefix("admin on "))
            .unwrap()
            .to_owned();
        Self {
            dir,
            balancer,
            admin,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("logs/balancer.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path()).unwrap_or_default()
    }

    /// Makes the balancer log a line with this weight in it.
    fn line(&self, weight: u64) {
        let answer = http_at(
            &self.admin,
            "PATCH",
            "/api/v1/servers/127.0.0.1:1",
            Some(&json!({ "weight": weight })),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Makes the balancer log lines until a condition holds.
    #[track_caller]
    fn lines_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let mut weight = 1000;
        wait_until(what, || {
            weight += 1;
            self.line(weight);
            condition()
        });
    }

    /// The texts of the notices about the log, with their levels.
    fn notices(&self) -> Vec<(String, String)> {
        let found = http_at(&self.admin, "GET", "/api/v1/notices", None).json();
        let about_log = found["notices"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|notice| notice["kind"] == "log");
        let text = |notice: &Value, field: &str| notice[field].as_str().unwrap().to_owned();
        about_log
            .map(|notice| (text(notice, "level"), text(notice, "text")))
            .collect()
    }

    fn limit(&self, bytes: &str) {
        limit(self.balancer.pid(), "fsize", bytes);
    }
}

#[test]
fn a_log_that_is_deleted_or_moved_goes_on_under_its_name() {
    let log = Logging::start(&[]);
    log.line(2);
    wait_for_line(|| log.log(), &["weight=2"]);
    fs::remove_file(log.path()).unwrap();
    log.lines_until("a log under the old name", || {
        log.log().contains("weight=1")
    });

    let moved = log.path().with_extension("moved");
    fs::rename(log.path(), &moved).unwrap();
    log.lines_until("a log under the old name again", || {
        log.log().contains("weight=1")
    });
    wait_for_line(|| log.log(), &["log opened again"]);

    // Without its directory there is no file; then both are made again.
    fs::remove_dir_all(log.dir.path().join("logs")).unwrap();
    log.lines_until("the directory, too", || log.log().contains("weight=1"));
}

#[test]
fn a_hangup_opens_the_log_again_at_once_and_ends_nothing() {
    let place = tempfile::tempdir().unwrap();
    let server = start_server(place.path(), 1, &[]);
    let balancer = start_balancer(place.path(), &["127.0.0.1:1=1".to_owned()], &[]);
    let port = server.address.rsplit_once(':').unwrap().1;
    let logs: [(&Role, String); 2] = [
        (&server, format!("server-{port}.log")),
        (&balancer, "balancer.log".to_owned()),
    ];
    for (role, name) in &logs {
        let path = place.path().join("logs").join(name);
        let moved = path.with_extension("log.1");
        fs::rename(&path, &moved).unwrap();
        role.signal("HUP");
        wait_for_line(
            || fs::read_to_string(&path).unwrap_or_default(),
            &["SIGHUP"],
        );
        // Lines before the signal may still go there.
        let moved = fs::read_to_string(&moved).unwrap();
        assert!(
            !moved.contains("SIGHUP"),
            "the file that was moved gets no more lines: {moved}"
        );
    }
    let state = http_at(balancer.admin.as_ref().unwrap(), "GET", "/live", None);
    assert_eq!(state.text(), "live\n");
}

#[test]
fn lines_that_cannot_be_written_are_told_at_once_and_counted_in_the_log_afterwards() {
    let log = Logging::start(&["--log-level", "bilico=info"]);
    log.line(2);
    wait_for_line(|| log.log(), &["weight=2"]);
    // Only a part of the next line is written.
    log.limit(&(log.log().len() + 30).to_string());
    log.lines_until("a loss", || !log.notices().is_empty());
    let said = log.balancer.wait_for_error("lost so far");
    assert!(
        said.contains("balancer.log") && said.contains("too large"),
        "{said}"
    );
    for weight in 10..40 {
        log.line(weight);
    }
    let began = log.notices();
    assert_eq!(began.len(), 1, "told once, not for each line: {began:?}");
    assert!(
        began[0].0 == "error" && began[0].1.contains("lines cannot be written"),
        "{began:?}"
    );

    log.limit("unlimited");
    log.lines_until("its end", || log.notices().len() == 2);
    let (level, text) = log.notices().remove(1);
    assert!(
        level == "info" && text.contains("lines were lost between 20"),
        "{text}"
    );
    log.balancer.wait_for_error("again: ");
    let line = wait_for_line(
        || log.log(),
        &["WARN", "lines were lost between", "too large"],
    );
    let lost: usize = line
        .split("WARN ")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    // The last ones may have been written after the limit was gone.
    let weights: Vec<String> = (10..40).map(|weight| format!("weight={weight}")).collect();
    let is_one = |word: &&str| weights.iter().any(|weight| weight == word);
    let written = log.log().split_whitespace().filter(is_one).count();
    assert!(lost + written >= 31, "{line}");
    // The half line gets a line end of its own.
    let cut = log
        .log()
        .lines()
        .filter(|line| !line.starts_with("20"))
        .count();
    assert_eq!(cut, 0, "{}", log.log());
    let metrics = http_at(&log.admin, "GET", "/metrics", None);
    let counted = metrics
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("bilico_log_lines_lost_total "))
        .unwrap();
    assert!(
        counted.parse::<usize>().unwrap() >= lost,
        "{counted} < {lost}"
    );
}

#[test]
fn a_directory_in_place_of_the_log_is_told_and_left_alone() {
    let log = Logging::start(&[]);
    log.line(2);
    wait_for_line(|| log.log(), &["weight=2"]);
    let moved = log.path().with_extension("moved");
    fs::rename(log.path(), &moved).unwrap();
    fs::create_dir(log.path()).unwrap();
    log.lines_until("a notice", || !log.notices().is_empty());
    let (level, text) = log.notices().remove(0);
    assert!(
        level == "warn" && text.contains("cannot be opened again") && text.contains("old file"),
        "{text}"
    );
    log.line(77);
    wait_for_line(|| fs::read_to_string(&moved).unwrap(), &["weight=77"]);
    assert_eq!(fs::read_dir(log.path()).unwrap().count(), 0);
    fs::remove_dir(log.path()).unwrap();
    log.lines_until("the log", || log.log().contains("weight=1"));
}

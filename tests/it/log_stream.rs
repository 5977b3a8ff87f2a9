//! The log on standard output, in systemd's journal, and nowhere.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bilico_testkit::{Wire, bilico, frame, http_at, put, run, signal, wait_for_line, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A balancer whose server does not exist, with one pipe as its standard output, which nobody reads
/// yet. It is killed on drop.
struct Balancer {
    dir: TempDir,
    child: Child,
    pipe: Option<PipeReader>,
}

impl Balancer {
    fn command(flags: &[&str], dir: &TempDir) -> Command {
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
        command.args(flags).current_dir(dir.path());
        command
    }

    fn start(flags: &[&str], is_journal: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (pipe, end) = std::io::pipe().unwrap();
        let mut command = Self::command(flags, &dir);
        if is_journal {
            let found = fs::metadata(format!("/proc/self/fd/{}", end.as_raw_fd())).unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
        }
        let child = command
            .stdout(end)
            .stderr(File::create(dir.path().join("stderr")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            dir,
            child,
            pipe: Some(pipe),
        }
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// The next lines up to one with this text, whose end is returned.
    fn read_until(pipe: &mut impl BufRead, text: &str) -> (Vec<String>, String) {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(pipe.read_line(&mut line).unwrap(), 0, "{lines:?}");
            lines.push(line.trim_end().to_owned());
            if let Some((_, end)) = line.split_once(text) {
                let end = end.trim_end().trim_end_matches("\"}").to_owned();
                return (lines, end);
            }
        }
    }

    fn end(mut self, pipe: impl Read + Send + 'static) -> (String, String) {
        let text = Arc::new(Mutex::new(String::new()));
        let all = text.clone();
        let reader = std::thread::spawn(move || {
            let mut pipe = pipe;
            pipe.read_to_string(&mut all.lock().unwrap()).unwrap();
        });
        signal(self.child.id(), "TERM");
        wait_until("its end", || self.child.try_wait().unwrap().is_some());
        reader.join().unwrap();
        let text = text.lock().unwrap().clone();
        (text, self.stderr())
    }

    fn has(&self, name: &str) -> bool {
        self.dir.path().join(name).exists()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_dash_logs_to_standard_output_for_people_and_for_machines() {
    for format in ["human", "json"] {
        let flags = ["--log-dir", "-", "--log-format", format];
        let mut balancer = Balancer::start(&flags, false);
        let mut pipe = BufReader::new(balancer.pipe.take().unwrap());
        let (mut lines, admin) = Balancer::read_until(&mut pipe, "admin on ");
        assert_eq!(
            http_at(&admin, "GET", "/live", None).status,
            200,
            "{format}"
        );
        assert!(!balancer.has("-"), "no directory of that name is made");
        assert!(!balancer.has("logs"));
        let (rest, stderr) = balancer.end(pipe);
        lines.extend(rest.lines().map(str::to_owned));
        assert!(lines.len() > 3, "{lines:?}");
        for line in &lines {
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap();
                assert!(line["time"].is_string() && line["level"].is_string());
            } else {
                assert!(line.starts_with("20") && line.contains('Z'), "{line:?}");
            }
        }
        // The dead server is no error. An error would be in the log, and nowhere else.
        assert_eq!(stderr, "", "{format}");
    }
}

#[test]
fn the_journal_gets_levels_as_it_reads_them_and_no_second_time() {
    for (format, start) in [("human", "<6>INFO "), ("json", "<6>{\"time\":\"2")] {
        let flags = ["--log-dir", "-", "--log-format", format];
        let mut balancer = Balancer::start(&flags, true);
        let mut pipe = BufReader::new(balancer.pipe.take().unwrap());
        let (lines, _) = Balancer::read_until(&mut pipe, "admin on ");
        assert!(
            lines.iter().any(|line| line.starts_with(start)),
            "{lines:?}"
        );
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("<6>") || line.starts_with("<4>")),
            "{lines:?}"
        );
    }
}

/// A container's runtime that no longer reads must not hold up files: the lines are lost, counted,
/// and the log says so when it is read again.
#[test]
fn a_reader_that_stalls_costs_lines_and_no_time() {
    let mut balancer = Balancer::start(&["--log-dir", "-", "--durability", "os"], false);
    let mut pipe = BufReader::with_capacity(1, balancer.pipe.take().unwrap());
    let (lines, admin) = Balancer::read_until(&mut pipe, "admin on ");
    let listen = lines
        .iter()
        .find_map(|line| line.split_once("listening on "))
        .unwrap()
        .1;
    // More than fits into the pipe and the queue before it: a line has its file's title.
    let title = "t".repeat(4096);
    let mut client = Wire::native(listen);
    for id in 0..3000 {
        client.write(&frame(&put(id, &title), b"x"));
        client.frame_of("accepted");
    }
    let lost = || {
        let metrics = http_at(&admin, "GET", "/metrics", None).text().to_owned();
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("bilico_log_lines_lost_total "));
        count.unwrap().parse::<u64>().unwrap()
    };
    assert!(lost() > 100);
    let read = Arc::new(Mutex::new(Vec::new()));
    let collected = read.clone();
    let mut inner = pipe.into_inner();
    let reader = std::thread::spawn(move || {
        let mut some = [0; 8192];
        while let Ok(count @ 1..) = inner.read(&mut some) {
            collected.lock().unwrap().extend_from_slice(&some[..count]);
        }
    });
    let text = || String::from_utf8(read.lock().unwrap().clone()).unwrap();
    let mut weight = 1;
    wait_until("a line about the lost ones", || {
        weight += 1;
        let body = json!({ "weight": weight });
        let path = "/api/v1/servers/127.0.0.1:1";
        http_at(&admin, "PATCH", path, Some(&body));
        text().contains("lines were lost between")
    });
    wait_for_line(
        text,
        &[
            "lines were lost between",
            "its reader is slower than lines come",
        ],
    );
    assert!(
        balancer
            .stderr()
            .contains("lines cannot be written to standard output"),
        "{}",
        balancer.stderr()
    );
    drop(balancer);
    reader.join().unwrap();
}

#[test]
fn none_writes_no_log_and_says_so() {
    let mut balancer = Balancer::start(&["--log-dir", "none"], false);
    let mut pipe = BufReader::new(balancer.pipe.take().unwrap());
    let (lines, _) = Balancer::read_until(&mut pipe, "admin on ");
    assert!(lines[0].starts_with("listening on "), "{lines:?}");
    assert!(!balancer.has("none") && !balancer.has("logs"));
    let (_, stderr) = balancer.end(pipe);
    assert!(
        stderr.contains("no log is written (--log-dir none)"),
        "{stderr}"
    );
}

#[test]
fn what_is_no_directory_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for (name, named) in [
        ("/dev/stdout", "/dev/stdout"),
        ("/dev/null", "/dev/null"),
        ("file", "file"),
        ("file/logs", "file"),
    ] {
        let ended = run(&mut Balancer::command(&["--log-dir", name], &dir), "");
        assert_eq!(ended.code, Some(2), "{name}: {ended:?}");
        assert_eq!(
            ended.stderr,
            format!(
                "error: the log directory {named} is not a directory\n\
                 hint: name a directory that this user may write to with --log-dir; `--log-dir -` \
                 logs to standard output, `--log-dir none` nowhere\n"
            )
        );
    }
    let ended = run(
        bilico(&["demo", "--log-dir", "-"]).current_dir(dir.path()),
        "",
    );
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("is for one role"), "{ended:?}");
}

#[test]
fn the_reader_of_logs_says_where_they_are() {
    for (dir, parts) in [
        ("-", ["standard output", "journalctl -u"]),
        ("none", ["no log", "--log-dir DIR"]),
    ] {
        let ended = run(&mut bilico(&["logs", "--dir", dir]), "");
        assert_eq!(ended.code, Some(1));
        for part in parts {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    }
}

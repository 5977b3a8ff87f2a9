//! Files that change: before they are sent again under their key, and while they are sent.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use bilico_testkit::{Ended, Farm, bilico, noise, run};

const MIB: usize = 1024 * 1024;

/// The size of a file that is changed while it is read.
const BUSY: usize = 32 * MIB;

fn write(farm: &Farm, name: &str, content: &[u8]) {
    fs::write(farm.dir.path().join(name), content).unwrap();
}

fn command(farm: &Farm, subcommand: &str, args: &[&str]) -> Command {
    let mut command = bilico(&[subcommand, "--balancer", &farm.balancer.address]);
    command.args(args).current_dir(farm.dir.path());
    command
}

fn send(farm: &Farm, args: &[&str]) -> Ended {
    run(&mut command(farm, "send", args), "")
}

/// The last receipt in the file.
fn last_receipt(farm: &Farm) -> Value {
    let lines = fs::read_to_string(farm.dir.path().join("receipts")).unwrap();
    serde_json::from_str(lines.lines().last().unwrap()).unwrap()
}

/// A file of more than 1 MiB is offered before it is sent again. One that had changed and kept its
/// size was once taken for the same: it was reported as delivered, and never sent.
#[test]
fn content_tells_whether_a_file_is_the_same_and_its_size_does_not() {
    for size in [100, 2 * MIB] {
        let mut farm = Farm::start(&[1]);
        let (first, second) = (noise(1, size), noise(2, size));
        write(&farm, "file", &first);
        let args = ["file", "--key-prefix", "p/", "--receipts", "receipts"];
        assert_eq!(send(&farm, &args).code, Some(0));
        for state in ["delivered", "delivered, after a restart"] {
            if state != "delivered" {
                farm.balancer.kill();
                farm.balancer.restart();
                farm.wait_until_up();
            }
            write(&farm, "file", &second);
            let ended = send(&farm, &args);
            assert_eq!(ended.code, Some(1), "{size} {state}: {ended:?}");
            assert!(
                ended
                    .stderr
                    .contains("error: file: refused: the key names another file already"),
                "{ended:?}"
            );
            let receipt = last_receipt(&farm);
            assert_eq!(
                (&receipt["state"], &receipt["hash"]),
                (&"refused".into(), &hash(&second)),
                "{receipt}"
            );
            write(&farm, "file", &first);
            let ended = send(&farm, &args);
            assert_eq!(ended.code, Some(0), "{size} {state}: {ended:?}");
            let receipt = last_receipt(&farm);
            assert_eq!(
                (&receipt["state"], &receipt["hash"]),
                (&"delivered".into(), &hash(&first)),
                "{receipt}"
            );
            assert_eq!(receipt["number"], 1, "{receipt}");
        }
        let ended = run(
            bilico(&["verify", "--receipts", "receipts", "json_files_1"])
                .current_dir(farm.dir.path()),
            "",
        );
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(farm.all_stored().into_values().eq([first]));
    }
}

fn hash(content: &[u8]) -> Value {
    blake3::hash(content).to_string().into()
}

/// A file that a thread changes again and again until this is dropped. It is in memory, because a
/// disk may hold the thread up, and a file that stops changing is sent.
struct Busy {
    dir: TempDir,
    ended: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

impl Busy {
    fn start(size: usize, write: impl Fn(&File, u64) + Send + 'static) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        }
        .unwrap();
        let path = dir.path().join("busy.log");
        fs::write(&path, noise(3, size)).unwrap();
        let (file, ended) = (
            File::options().write(true).open(path).unwrap(),
            Arc::new(AtomicBool::new(false)),
        );
        let is_over = Arc::clone(&ended);
        let writer = thread::spawn(move || {
            for round in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                write(&file, round);
                thread::sleep(Duration::from_millis(1));
            }
        });
        Self {
            dir,
            ended,
            writer: Some(writer),
        }
    }

    fn path(&self) -> String {
        self.dir.path().join("busy.log").display().to_string()
    }

    /// Ends the changes and returns the content.
    fn end(&mut self) -> Vec<u8> {
        self.ended.store(true, Ordering::Relaxed);
        self.writer.take().map(JoinHandle::join);
        fs::read(self.path()).unwrap()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.end();
    }
}

fn append(file: &File, _: u64) {
    let size = file.metadata().unwrap().len();
    file.write_all_at(b"one line more\n", size).unwrap();
}

fn overwrite(file: &File, round: u64) {
    file.write_all_at(&round.to_le_bytes(), 0).unwrap();
}

/// A file that changed while it was read was once delivered as a mixture, with exit code 0.
#[test]
fn a_file_that_never_stands_still_is_not_sent_and_is_named() {
    for (how, changed) in [
        (append as fn(&File, u64), "fail"),
        (append, "retry"),
        (overwrite, "retry"),
    ] {
        let farm = Farm::start(&[1]);
        let busy = Busy::start(BUSY, how);
        write(&farm, "quiet", b"quiet");
        let path = busy.path();
        let ended = send(
            &farm,
            &[
                &path,
                "quiet",
                "--receipts",
                "receipts",
                "--changed",
                changed,
            ],
        );
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended
                .stderr
                .contains(&format!("error: {path}: not sent: it ")),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("while it was read"), "{ended:?}");
        assert_eq!(
            ended.stderr.contains("6 times in a row"),
            changed == "retry",
            "{ended:?}"
        );
        assert!(
            ended
                .stdout
                .contains("1 accepted, 1 delivered, 1 changed while they were read"),
            "{ended:?}"
        );
        assert!(farm.all_stored().into_values().eq([b"quiet"]));
        let lines = fs::read_to_string(farm.dir.path().join("receipts")).unwrap();
        assert!(lines.contains(r#""state":"changed""#), "{lines}");
    }
}

#[test]
fn a_file_that_comes_to_rest_is_sent_whole() {
    for size in [1000, BUSY] {
        let farm = Farm::start(&[1]);
        let mut busy = Busy::start(size, |file, round| {
            if round < 150 {
                append(file, round);
            }
        });
        let ended = send(&farm, &[&busy.path()]);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        let stored = farm.all_stored().into_values().next().unwrap();
        assert!(
            busy.end().starts_with(&stored),
            "{} bytes of {size}",
            stored.len()
        );
    }
}

#[test]
fn a_file_that_never_stands_still_is_sent_when_that_is_wanted_and_it_is_told() {
    for how in [append as fn(&File, u64), overwrite] {
        let farm = Farm::start(&[1]);
        let mut busy = Busy::start(BUSY, how);
        let path = busy.path();
        let ended = send(
            &farm,
            &[&path, "--receipts", "receipts", "--changed", "send"],
        );
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(
            ended.stderr.starts_with(&format!("warning: {path}: it ")),
            "{ended:?}"
        );
        assert!(
            ended
                .stderr
                .ends_with("; the content that was read was sent\n"),
            "{ended:?}"
        );
        let stored = farm.all_stored().into_values().next().unwrap();
        let receipt = last_receipt(&farm);
        assert_eq!(
            (&receipt["state"], &receipt["size"]),
            (&"delivered".into(), &stored.len().into())
        );
        assert_eq!(receipt["hash"], hash(&stored));
        assert!(
            receipt["change"]
                .as_str()
                .unwrap()
                .contains("while it was read"),
            "{receipt}"
        );
        assert!(
            busy.end()[8..].starts_with(&stored[8..]),
            "it is the beginning of the file"
        );
    }
}

/// The prompt uses the same client.
#[test]
fn the_prompt_tells_that_a_file_changed() {
    let farm = Farm::start(&[1]);
    let busy = Busy::start(BUSY, append);
    let files = busy.dir.path().display().to_string();
    for order in ["send busy.log", "FTP 1"] {
        let mut client = command(&farm, "client", &["--files", &files, "--changed", "fail"]);
        let ended = run(&mut client, &format!("{order}\nexit\n"));
        assert!(
            ended.stderr.contains("not sent: it ") && ended.stderr.contains("while it was read"),
            "{ended:?}"
        );
    }
    assert_eq!(farm.status().accepted, 0);
}

//! Headless Chromium, driven over a pipe by its `DevTools` protocol as a person would use the page.
//!
//! It ends with the pipe, so that it does not outlive the test.

mod input;
mod seen;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use bilico_testkit::{DEADLINE, wait_until};

/// Each browser is a dozen processes: only one runs at a time.
static ONE: Mutex<()> = Mutex::new(());

/// The names of the browser's program.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

const FLAGS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-crash-reporter",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    /// Requests of the page, and messages on its console.
    events: Vec<Value>,
    session: Option<String>,
    calls: u64,
    profile: TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// The path of the browser. Without one it prints a line and returns `None`, or fails if `CI` is
/// set.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|dir| NAMES.map(|name| dir.join(name)))
        .find(|path| path.exists());
    if found.is_none() {
        let why =
            "no Chromium here: install the package `chromium` (Debian: `apt-get install chromium`)";
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci.is_empty()),
            "{why}"
        );
        // Not by a macro, whose output is captured.
        let _ = writeln!(
            std::io::stderr(),
            "\nskipped {:?}: {why}",
            std::thread::current().name().unwrap_or_default()
        );
    }
    found
}

impl Browser {
    /// Starts a browser with an empty page of a desktop's size. `None` if it is not installed.
    pub fn start() -> Option<Self> {
        Self::trusting(None)
    }

    /// The same, which trusts certificates of the key with this hash: SHA-256 of its public part, as
    /// base64.
    pub fn trusting(key: Option<&str>) -> Option<Self> {
        let program = program()?;
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let profile = tempfile::Builder::new()
            .prefix("bilico-page-")
            .tempdir()
            .unwrap();
        // The browser reads from descriptor 3 and writes to 4.
        let mut shell = Command::new("sh");
        shell
            .args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "sh"])
            .arg(program)
            .args(FLAGS);
        // What it leaves in the directory for temporary files goes with the profile.
        shell
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(key.map(|key| format!("--ignore-certificate-errors-spki-list={key}")))
            .arg("about:blank")
            .env("TMPDIR", profile.path());
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = shell.spawn().unwrap();
        let (to, mut stdout) = (
            child.stdin.take(),
            BufReader::new(child.stdout.take().unwrap()),
        );
        let (send, from) = mpsc::channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while stdout
                .read_until(0, &mut message)
                .is_ok_and(|read| read > 0)
            {
                message.pop();
                if send
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            events: Vec::new(),
            session: None,
            calls: 0,
            profile,
            _alone: alone,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(1280, 900);
        Some(browser)
    }

    /// Calls a method of the protocol and returns its result.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "it is made in the call")]
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.as_mut().unwrap().write_all(&bytes).unwrap();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = self
                .from
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// Gives the page a size in pixels.
    pub fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Lets the system prefer `light` or `dark`.
    pub fn prefer(&mut self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// The value of an expression in the page; promises are awaited.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {result}"
        );
        result["result"]["value"].take()
    }

    /// Whether an expression is true in the page.
    #[track_caller]
    pub fn holds(&mut self, expression: &str) -> bool {
        self.value(&format!("Boolean({expression})")) == true
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let started = Instant::now();
        while !self.holds(expression) {
            if started.elapsed() > DEADLINE {
                let seen = self.value("document.body.innerText");
                panic!(
                    "waited {DEADLINE:?} in vain for {expression}; the page shows:\n{}",
                    seen.as_str().unwrap_or("")
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The visible text of an element, without the space around it.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!(
            "document.querySelector({}).innerText",
            json!(selector)
        ));
        text.as_str().unwrap_or_default().trim().to_owned()
    }

    /// Writes a picture of the page into a file. Returns its number of colours and its mean
    /// lightness from 0 to 1.
    pub fn screenshot(&mut self, path: &Path) -> (u64, f64) {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let encoded = shot["data"].as_str().unwrap().to_owned();
        let measure = format!(
            "(async () => {{ const image = new Image(); image.src = 'data:image/png;base64,{encoded}'; await image.decode(); \
             const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height; \
             const context = canvas.getContext('2d'); context.drawImage(image, 0, 0); \
             const {{data}} = context.getImageData(0, 0, image.width, image.height); const colours = new Set(); let sum = 0; \
             for (let at = 0; at < data.length; at += 4) {{ \
               colours.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]); sum += data[at] + data[at + 1] + data[at + 2]; }} \
             const bytes = Uint8Array.from(atob('{encoded}'), (byte) => byte.charCodeAt(0)); \
             return [colours.size, sum / (data.length / 4 * 765), Array.from(bytes)]; }})()"
        );
        let measured = self.value(&measure);
        let bytes: Vec<u8> = serde_json::from_value(measured[2].clone()).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        (measured[0].as_u64().unwrap(), measured[1].as_f64().unwrap())
    }

    fn events_of(&mut self, method: &'static str) -> impl Iterator<Item = &Value> {
        self.events.extend(self.from.try_iter());
        self.events
            .iter()
            .filter(move |event| event["method"] == method)
            .map(|event| &event["params"])
    }
}

impl Drop for Browser {
    /// Ends the browser and all of its processes, so that none writes into the profile while it is
    /// removed.
    fn drop(&mut self) {
        drop(self.to.take());
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
        let profile = self.profile.path().to_owned();
        let all_ended = || {
            let left = processes_with(profile.as_os_str());
            for pid in &left {
                let _ = Command::new("kill")
                    .args(["-KILL", pid])
                    .stderr(Stdio::null())
                    .status();
            }
            left.is_empty()
        };
        if std::thread::panicking() {
            // A second panic would hide the first.
            let started = Instant::now();
            while !all_ended() && started.elapsed() < DEADLINE {
                std::thread::sleep(Duration::from_millis(10));
            }
        } else {
            wait_until("the browser's processes to end", all_ended);
        }
    }
}

/// The running processes that have a text in their command line.
fn processes_with(text: &OsStr) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = pids.filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()));
    let text = text.to_string_lossy().into_owned();
    let has = |pid: &String| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&text)
    };
    pids.filter(has).collect()
}

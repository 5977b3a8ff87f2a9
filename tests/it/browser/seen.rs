//! What the browser has seen of the page: its requests, its complaints, and the work that it was.

use serde_json::{Value, json};

use super::Browser;

impl Browser {
    /// The addresses that the page has requested so far.
    pub fn requests(&mut self) -> Vec<String> {
        self.events_of("Network.requestWillBeSent")
            .map(|event| event["request"]["url"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The cookies that the page's host has set.
    pub fn cookies(&mut self) -> Vec<Value> {
        let got = self.call("Network.getCookies", json!({}));
        got["cookies"].as_array().unwrap().clone()
    }

    /// Exceptions and errors on the console so far, without those of failed requests where requests
    /// may fail.
    pub fn complaints(&mut self, requests_may_fail: bool) -> Vec<Value> {
        let mut complaints: Vec<Value> =
            self.events_of("Runtime.exceptionThrown").cloned().collect();
        let said = self
            .events_of("Runtime.consoleAPICalled")
            .filter(|event| event["type"] != "log");
        complaints.extend(said.cloned());
        let entries = self
            .events_of("Log.entryAdded")
            .map(|event| &event["entry"]);
        complaints.extend(
            entries
                .filter(|entry| !(requests_may_fail && entry["source"] == "network"))
                .cloned(),
        );
        complaints
    }

    /// Counts the time that the page takes of a processor from now on.
    pub fn count_work(&mut self) {
        // Of the processor and not of the clock: others use this machine, too.
        let thread = json!({"timeDomain": "threadTicks"});
        self.call("Performance.enable", thread);
    }

    /// The seconds of a processor that the page has taken.
    #[track_caller]
    pub fn work(&mut self) -> f64 {
        let all = self.call("Performance.getMetrics", json!({}));
        let metrics = all["metrics"].as_array().unwrap();
        let task = metrics.iter().find(|one| one["name"] == "TaskDuration");
        task.unwrap()["value"].as_f64().unwrap()
    }
}

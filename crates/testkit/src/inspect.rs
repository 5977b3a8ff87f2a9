//! What a farm's queue, journal and directories tell of its files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::client::Client;
use crate::farm::{Farm, names_with};
use crate::process::{Ended, bilico, run};
use crate::wait::wait_until;

impl Farm {
    /// A native client of the balancer.
    pub fn client(&self) -> Client {
        Client::connect(&self.balancer.address)
    }

    /// Kills the balancer, as a crash would, and starts it again.
    pub fn crash_balancer(&mut self) {
        self.balancer.kill();
        self.balancer.restart();
    }

    /// The directory of the balancer's journal.
    pub fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    /// The parts of unfinished uploads in the journal's directory.
    pub fn parts(&self) -> Vec<String> {
        names_with(&self.journal(), "part-")
    }

    /// The files of large content in the journal's directory.
    pub fn contents(&self) -> Vec<String> {
        names_with(&self.journal(), "content-")
    }

    /// Waits until the journal's directory holds no part of an upload.
    #[track_caller]
    pub fn wait_until_no_part_is_left(&self) {
        wait_until("no part to be left", || self.parts().is_empty());
    }

    /// Runs `bilico queue` with these arguments against this balancer.
    pub fn queue(&self, args: &[&str]) -> Ended {
        let mut all = vec!["queue"];
        all.extend(args);
        all.extend(["--admin", self.balancer.admin.as_deref().unwrap()]);
        run(bilico(&all).current_dir(self.dir.path()), "")
    }

    /// The history of a file, as `bilico queue show` prints it.
    #[track_caller]
    pub fn history(&self, number: u64) -> String {
        self.shown(&["show", &number.to_string()])
    }

    /// The report of a file, as `bilico queue show --json` prints it.
    #[track_caller]
    pub fn show(&self, number: u64) -> Value {
        serde_json::from_str(&self.shown(&["show", &number.to_string(), "--json"])).unwrap()
    }

    #[track_caller]
    fn shown(&self, args: &[&str]) -> String {
        let ended = self.queue(args);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
        ended.stdout
    }

    /// Waits until nothing queues.
    #[track_caller]
    pub fn wait_until_delivered(&self) {
        wait_until("all to be delivered", || self.status().queue.files() == 0);
    }

    /// Waits until so many files are delivered in all.
    #[track_caller]
    pub fn wait_for_delivered(&self, files: u64) {
        wait_until(&format!("{files} files to be delivered"), || {
            self.status().delivered == files
        });
    }

    /// Waits until there are so many dead letters.
    #[track_caller]
    pub fn wait_for_dead(&self, files: usize) {
        wait_until("dead letters", || self.status().queue.dead == files);
    }

    /// All stored files by request number. The test fails if a number is there twice.
    #[track_caller]
    pub fn by_number(&self) -> BTreeMap<u64, Vec<u8>> {
        let mut found = BTreeMap::new();
        for place in 0..self.servers.len() {
            for (name, content) in self.stored(place) {
                let number = name.split_once('_').unwrap().0.parse().unwrap();
                assert!(
                    found.insert(number, content).is_none(),
                    "{number} is there twice"
                );
            }
        }
        found
    }

    /// The request numbers of the files in a server's directory. It reads names only, because a
    /// second copy may be removed meanwhile.
    pub fn numbers_in(&self, place: usize) -> Vec<u64> {
        let names = names_with(&self.server_dir(place), "").into_iter();
        // The server's own files begin with a dot.
        names
            .filter(|name| !name.starts_with('.'))
            .map(|name| name.split_once('_').unwrap().0.parse().unwrap())
            .collect()
    }

    /// Waits until each of the files 1 to `count` is on exactly one server.
    #[track_caller]
    pub fn wait_until_each_is_there_once(&self, count: u64) {
        wait_until("each file to be there exactly once", || {
            let mut numbers: Vec<u64> = (0..self.servers.len())
                .flat_map(|place| self.numbers_in(place))
                .collect();
            numbers.sort_unstable();
            numbers.into_iter().eq(1..=count)
        });
    }
}

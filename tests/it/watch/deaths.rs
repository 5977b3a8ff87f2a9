//! Kills: no file is lost, none is stored twice.

use std::collections::BTreeMap;
use std::time::Duration;

use bilico_testkit::{Farm, is_full_proof as is_full, noise, wait_until};

use super::helpers::{drop_in, folder, names, once, titles, watch};

/// A generator of numbers that seem random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// Watchers are killed at any moment while files drop in, and now and then a balancer and a server.
/// Ten kills, and fifty with `BILICO_PROOF=full`.
#[test]
fn kills_neither_lose_nor_double_a_file() {
    let kills = if is_full() { 50 } else { 10 };
    for after in ["move", "delete"] {
        let mut farm = Farm::start(&[1, 1]);
        let mut dice = Dice(kills + after.len() as u64);
        let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let args = ["-r", "--settle", "50ms", "--after", after];
        for kill in 0..kills {
            let watcher = watch(&farm, &args);
            for file in 0..dice.roll(60) {
                let name = format!("k{kill}-f{file}");
                let size = if dice.roll(30) == 0 {
                    2_000_000
                } else {
                    dice.roll(5000)
                };
                let content = noise(kill * 1000 + file, usize::try_from(size).unwrap());
                drop_in(&farm, &name, &content);
                expected.insert(name, content);
                if dice.roll(10) == 0 {
                    std::thread::sleep(Duration::from_millis(dice.roll(20)));
                }
            }
            match dice.roll(8) {
                0 => {
                    farm.balancer.kill();
                    farm.balancer.restart();
                }
                1 => {
                    farm.servers[1].kill();
                    farm.servers[1].restart();
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(dice.roll(400)));
            watcher.signal("KILL");
            assert_eq!(watcher.wait().code, None);
        }
        farm.wait_until_up();
        let ended = once(
            &farm,
            &args[..1]
                .iter()
                .chain(&args[3..])
                .copied()
                .collect::<Vec<_>>(),
        );
        assert_eq!(ended.code, Some(0), "{ended:?}");
        wait_until("everything to be delivered", || {
            farm.status().queue.files() == 0
        });
        let stored = titles(&farm);
        for (name, content) in &expected {
            let copies = stored.get(name).map_or(&[][..], Vec::as_slice);
            assert_eq!(
                copies.len(),
                1,
                "{after}: {name} is stored {} times",
                copies.len()
            );
            assert!(copies[0] == *content, "{after}: {name} has other content");
        }
        assert_eq!(stored.len(), expected.len());
        let left = names(&folder(&farm));
        let moved = if after == "move" { expected.len() } else { 0 };
        assert_eq!(left.len(), moved, "{after}: {left:?}");
        assert!(
            left.iter().all(|name| name.starts_with("done/")),
            "{left:?}"
        );
    }
}

/// What was handed over so long ago that the balancer may have forgotten it is not sent again.
#[test]
fn what_nobody_can_tell_is_set_aside() {
    let mut farm = Farm::with(&[1], &[], &["--remember", "100ms"]);
    drop_in(&farm, "known", "known");
    drop_in(&farm, "forgotten", "forgotten");
    // Its servers are away, so that the watcher waits for a delivery when it is killed.
    farm.servers[0].kill();
    let watcher = watch(&farm, &["--settle", "0s"]);
    wait_until("both to be accepted", || farm.status().queue.files() == 2);
    watcher.signal("KILL");
    watcher.wait();
    farm.servers[0].restart();
    wait_until("both to be delivered", || farm.status().queue.files() == 0);
    std::thread::sleep(Duration::from_millis(1500));
    // The balancer forgets when others come.
    for round in 0..5 {
        farm.write("filler", format!("{round}"));
        assert!(farm.send(&["filler"]).status.success());
        std::thread::sleep(Duration::from_millis(120));
    }
    let ended = once(&farm, &["--remembered", "1s"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let stored = titles(&farm);
    assert_eq!((stored["known"].len(), stored["forgotten"].len()), (1, 1));
    let there = names(&folder(&farm));
    let expected = [
        "failed/forgotten",
        "failed/forgotten.reason",
        "failed/known",
        "failed/known.reason",
    ];
    assert_eq!(there, expected, "{ended:?}");
}

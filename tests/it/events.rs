//! Events in words for operators: one for one death, one for "no server can take files".

use std::time::Duration;

use bilico_testkit::{Farm, bilico, http, run, wait_until};

fn events(farm: &Farm, args: &[&str]) -> Vec<String> {
    let admin = farm.balancer.admin.clone().unwrap();
    let mut all = vec!["events", "--admin", &admin];
    all.extend(args);
    let ended = run(&mut bilico(&all), "");
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout.lines().map(str::to_owned).collect()
}

fn order(farm: &Farm, args: &[&str]) {
    let admin = farm.balancer.admin.clone().unwrap();
    let ended = run(bilico(args).args(["--admin", &admin]), "");
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn a_death_is_one_event_a_return_is_one_and_no_server_is_one() {
    let mut farm = Farm::start(&[1, 1]);
    farm.wait_until_up();
    let names: Vec<String> = farm
        .servers
        .iter()
        .map(|server| server.address.clone())
        .collect();
    assert_eq!(events(&farm, &["--server", &names[0]]).len(), 1, "up");
    farm.servers[0].kill();
    wait_until("it to be down", || !farm.server_status(0).eligible);
    std::thread::sleep(Duration::from_secs(2));
    let told = events(&farm, &["--server", &names[0]]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].contains("down: "), "{told:?}");
    farm.servers[0].restart();
    wait_until("it to be up again", || {
        events(&farm, &["--server", &names[0]]).len() == 3
    });
    let told = events(&farm, &["--server", &names[0]]);
    assert!(told[2].contains("up again after "), "{told:?}");

    let nobody = "no server can take files: ";
    for server in &mut farm.servers {
        server.kill();
    }
    wait_until("the outage to be told", || {
        events(&farm, &["--level", "error"])
            .iter()
            .any(|event| event.contains(nobody))
    });
    farm.servers[1].restart();
    wait_until("the end of the outage", || {
        events(&farm, &[])
            .iter()
            .any(|event| event.contains("servers can take files again, after "))
    });
    let errors = events(&farm, &["--level", "error"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        names.iter().all(|name| errors[0].contains(name)),
        "{errors:?}"
    );

    order(&farm, &["drain", &names[1]]);
    wait_until("a drain of the last one to be told", || {
        let errors = events(&farm, &["--level", "error"]);
        let drained = format!("{} (drained)", names[1]);
        errors.len() == 2 && errors[1].contains(&drained)
    });
    order(&farm, &["undrain", &names[1]]);
    wait_until("its end", || {
        let all = events(&farm, &[]);
        all.iter()
            .filter(|event| event.contains("servers can take files again"))
            .count()
            == 2
    });

    // Many events of one kind leave the others where they are.
    let before = events(&farm, &["--level", "warn"]);
    let path = format!("/api/v1/servers/{}", names[1]);
    for weight in 1..300 {
        let change = serde_json::json!({ "weight": weight });
        let answer = http(&farm.balancer, "PATCH", &path, Some(&change));
        assert_eq!(answer.status, 200);
    }
    assert_eq!(events(&farm, &[]).len(), 256);
    assert_eq!(events(&farm, &["--level", "warn"]), before);

    let all = events(&farm, &[]);
    assert_eq!(events(&farm, &["-n", "2"]), all[all.len() - 2..]);
    assert_eq!(events(&farm, &["--since", "1h"]), all);
    assert_eq!(events(&farm, &["--since", "2100-01-01"]), [""; 0]);
    let port = names[1].rsplit_once(':').unwrap().1;
    assert_eq!(
        events(&farm, &["--server", port]),
        events(&farm, &["--server", &names[1]])
    );
}

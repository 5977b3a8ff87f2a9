use super::*;

#[test]
fn what_is_reserved_and_what_clients_get_is_never_more_than_there_is() {
    for limit in [100, 150, 256, 1024, 4096, 20_000, 1 << 20] {
        for (servers, admin, wanted) in [
            (1, 0, 16_384),
            (3, 32, 20),
            (10, 128, 16_384),
            (100, 2048, 1),
        ] {
            let reserved = FIXED + HEAD_STARTS + PER_SERVER * servers as u64 + admin as u64;
            match Openings::of_balancer(limit, servers, admin, wanted) {
                Ok(openings) => {
                    let Openings {
                        connections,
                        large,
                        spare,
                        ..
                    } = openings;
                    assert_eq!(reserved + (connections + large + spare) as u64, limit);
                    assert!(
                        connections <= wanted && connections >= wanted.min(16) && large >= 8,
                        "{openings:?}"
                    );
                }
                Err(TooFew { needed, .. }) => assert!(limit < needed, "{limit}: {needed}"),
            }
        }
    }
    let many = Openings::of_balancer(20_000, 3, 2048, 16_384).unwrap();
    assert_eq!(
        many.connections, 16_384,
        "a common limit is enough for the default"
    );
}

#[test]
fn a_server_counts_a_file_for_each_connection() {
    assert_eq!(
        Openings::of_server(20_000, 512, 0, 1024)
            .unwrap()
            .connections,
        1024
    );
    assert_eq!(
        Openings::of_server(1024, 512, 0, 1024).unwrap().connections,
        232
    );
    assert!(Openings::of_server(64, 32, 0, 1024).is_err());
}

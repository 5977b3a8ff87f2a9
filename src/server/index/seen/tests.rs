use super::*;

#[test]
fn the_highest_number_stays_and_nothing_is_said_of_what_is_not_known() {
    let mut seen = Seen::complete();
    for number in [3, 9, 4] {
        seen.raise("a", number);
    }
    assert_eq!((seen.of("a"), seen.of("b")), (Some(9), Some(0)));
    assert_eq!(Seen::default().of("b"), None);
}

#[test]
fn journals_without_end_are_not_kept_and_the_one_in_use_is() {
    let mut seen = Seen::complete();
    let mut forgot = 0;
    for n in 0..3 * MAX_JOURNALS {
        forgot += usize::from(seen.raise(&n.to_string(), 7));
        seen.raise("in use", 7);
    }
    assert!(
        seen.journals.len() <= MAX_JOURNALS && forgot <= 400,
        "{forgot}"
    );
    assert_eq!(
        (seen.of("in use"), seen.of("0"), seen.of("never")),
        (Some(7), None, None)
    );
    let oldest_first = seen.oldest_first();
    assert_eq!(
        oldest_first.last().map(|(journal, _)| &***journal),
        Some("in use")
    );
}

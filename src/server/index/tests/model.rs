//! The index against a map as its model: whatever is done, in whatever order, with restarts in
//! between, the index lists what the map has.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Store(Vec<u64>),
    Confirm(Vec<u64>),
    Remove(u64),
    Rewrite,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let numbers = || proptest::collection::vec(0..10u64, 1..5);
    prop_oneof![
        numbers().prop_map(Step::Store),
        numbers().prop_map(Step::Confirm),
        (0..10u64).prop_map(Step::Remove),
        Just(Step::Rewrite),
        Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_index_says_what_a_map_does(steps in proptest::collection::vec(step(), 1..30)) {
        let dir = quick_dir();
        let mut index = open(dir.path());
        let mut map = BTreeMap::new();
        for step in steps {
            match step {
                Step::Store(numbers) => {
                    let new: Vec<_> = numbers.into_iter().filter(|number| !map.contains_key(number)).collect();
                    map.extend(new.iter().map(|number| (*number, held(*number))));
                    store(&mut index, JOURNAL, &new);
                }
                Step::Confirm(numbers) => {
                    map.retain(|number, _| !numbers.contains(number));
                    index.confirm(&JOURNAL.into(), numbers).unwrap();
                }
                Step::Remove(number) => {
                    map.remove(&number);
                    index.remove(&[key(JOURNAL, number)]).unwrap();
                }
                Step::Rewrite => index.rewrite().unwrap(),
                Step::Reopen => index = reopen(index),
            }
            prop_assert!(index.files_of(JOURNAL).iter().eq(map.values()));
        }
    }
}

//! What a history says of its memory is what it has allocated: the allocator is asked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bilico_core::fleet::{Facts, History, Identity};

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator's trait is unsafe; all is left to the system's"
)]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

const EVERY: Duration = Duration::from_secs(5);
const START: u64 = 1_790_000_000;

/// One test: the allocator is that of the whole process.
#[test]
fn memory_is_what_the_allocator_gave_out() {
    let members: Vec<Identity> = (0..500)
        .map(|n| Identity::Agent(format!("agent-{n:03}").into()))
        .collect();
    // The text of an identity is shared with whoever tells.
    let texts = 500 * (2 * size_of::<usize>() + "agent-000".len());
    let facts: Facts = serde_json::from_str(
        r#"{"cpu":0.5,"memory_used":1000,"disk_used":5,"disk_read":1.5,"disk_write":2.5,"net_rx":1,
            "net_tx":2,"net_dropped":0,"load":0.25,"process_memory":77,"held_bytes":12}"#,
    )
    .unwrap();
    let few = Facts {
        cpu: Some(0.5),
        ..Facts::default()
    };
    let before = allocated();
    let mut history = History::new(8 << 20, true);
    let check = |history: &History, what: &str| {
        let (told, found) = (history.memory(), allocated() - before);
        let apart = (found + texts).abs_diff(told.max(texts));
        assert!(
            apart * 50 < found + texts || told < 100_000,
            "{what}: it says {told}, the allocator {found}, and {texts} of names"
        );
        assert!(told <= 8 << 20, "{what}: {told}");
    };
    for word in 0..2_000 {
        for (number, member) in members.iter().enumerate() {
            let facts = if number % 2 == 0 { &facts } else { &few };
            history.told(member, EVERY, facts, START + word * 5);
        }
        if word % 97 == 0 {
            check(&history, "while it grows");
        }
    }
    check(&history, "at its limit");
    assert!(history.given_up().long > 0);
    let now = START + 10_000;
    for member in &members[..20] {
        history
            .columns(member, &[], Duration::from_mins(10), None, now)
            .unwrap();
    }
    for (old, new) in members[100..200].iter().zip(&members[200..]) {
        history.rename(old, new);
    }
    for member in &members[300..] {
        history.forget(member);
    }
    drop(history.finished(now, true));
    check(&history, "after changes");
    drop(history);
    // The harness allocates a little beside it.
    let left = allocated().abs_diff(before);
    assert!(left < 10_000, "{left} bytes are not given back");
}

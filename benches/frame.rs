//! The native frame codec, with the messages that each file costs.

use std::hint::black_box;

use bilico::protocol::{Message, frame};
use bytes::BytesMut;
use criterion::{Criterion, criterion_group, criterion_main};

/// What is said of one file, and how much content is declared behind it.
fn messages() -> [(&'static str, Message, u64); 5] {
    let (id, number) = (123_456, 1_234_567);
    let title = "invoice-0017.json";
    let key = Some("42e25c8639a358e3121ca897585f3ccb-123456".into());
    [
        (
            "put",
            Message::Put {
                id,
                title: title.into(),
                key,
                resumed: None,
            },
            1024,
        ),
        ("accepted", Message::Accepted { id, number }, 0),
        (
            "delivered",
            Message::Delivered {
                id,
                number,
                server: "127.0.0.1:5001".into(),
                confirmed: true,
            },
            0,
        ),
        (
            "store",
            Message::Store {
                number,
                title: title.into(),
            },
            1024,
        ),
        ("stored", Message::Stored { number }, 0),
    ]
}

/// One iteration is one frame, without content, written to a buffer that has the room.
fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, message, content_len) in messages() {
        let mut out = Vec::with_capacity(1024);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                frame::encode(black_box(&message), content_len, &mut out);
                black_box(out.len())
            });
        });
    }
}

/// One iteration is one frame, without content, taken from a buffer that holds many, and dropped.
fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for (name, message, content_len) in messages() {
        let mut wire = Vec::new();
        for _ in 0..1000 {
            frame::encode(&message, content_len, &mut wire);
        }
        let mut input = BytesMut::new();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                if input.is_empty() {
                    input = BytesMut::from(&*wire);
                }
                black_box(frame::decode(&mut input))
            });
        });
    }
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);

//! What leaves a queue is what came, in runs that the system can split again; by property.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn peer(number: u8) -> Option<Address> {
    let address = |port: u8| Address::from(SocketAddr::from(([127, 0, 0, 1], port.into())));
    (number > 0).then(|| address(number))
}

/// As the system splits what it is given to send.
fn split(batch: &Batch<'_>) -> Vec<Vec<u8>> {
    match batch.data {
        [] => vec![Vec::new()],
        data => data.chunks(batch.size).map(<[u8]>::to_vec).collect(),
    }
}

/// What a test does to a queue.
#[derive(Clone, Debug)]
enum Deed {
    Push(usize, u8),
    Leave(usize),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let sizes = prop_oneof![4 => Just(10_usize), 1 => 0..20_usize, 1 => Just(0), 1 => Just(700)];
    let push = (sizes, 0..3_u8).prop_map(|(size, to)| Deed::Push(size, to));
    vec(prop_oneof![3 => push, 1 => (1..9_usize).prop_map(Deed::Leave)], 1..200)
}

proptest! {
    #[test]
    fn what_leaves_is_what_came(deeds in deeds()) {
        let (mut queue, mut model) = (Queue::default(), VecDeque::new());
        let mut fill = 0_u8;
        for deed in deeds {
            match deed {
                Deed::Push(size, to) => {
                    fill = fill.wrapping_add(1);
                    queue.push(&vec![fill; size], peer(to).as_ref());
                    model.push_back((vec![fill; size], peer(to)));
                }
                Deed::Leave(most) => {
                    let Some(batch) = queue.first(most, 50) else {
                        prop_assert!(model.is_empty());
                        continue;
                    };
                    prop_assert!(batch.count == 1 || batch.data.len() <= 50 && batch.count <= most);
                    let parts = split(&batch);
                    prop_assert_eq!(parts.len(), batch.count, "the system must split it so");
                    let to = batch.to.cloned();
                    let count = batch.count;
                    for part in parts {
                        prop_assert_eq!(model.pop_front(), Some((part, to.clone())));
                    }
                    queue.advance(count);
                }
            }
            // G-09
            let size: usize = model.iter().map(|(data, _)| data.len() + 8).sum();
            prop_assert_eq!(queue.size(), size);
            prop_assert_eq!(queue.datagrams(), model.len());
            prop_assert_eq!(queue.is_empty(), model.is_empty());
        }
    }
}

#[test]
fn equal_ones_leave_together_and_a_shorter_one_is_their_last() {
    let mut queue = Queue::default();
    for size in [100, 100, 40, 40, 100, 0, 0, 200] {
        queue.push(&vec![1; size], None);
    }
    let mut batches = Vec::new();
    while let Some(batch) = queue.first(64, 65_507) {
        let (size, count) = (batch.size, batch.count);
        batches.push((size, count));
        queue.advance(count);
    }
    assert_eq!(batches, [(100, 3), (40, 1), (100, 1), (0, 1), (0, 1), (200, 1)]);
}

#[test]
fn eleven_that_came_and_went_leave_a_size_of_nothing() {
    let mut queue = Queue::default();
    for _ in 0..11 {
        queue.push(b"12345", None);
    }
    // G-09
    assert_eq!(queue.size(), 11 * 13);
    for _ in 0..11 {
        queue.advance(1);
    }
    // G-10
    assert_eq!((queue.size(), queue.bytes.len()), (0, 0));
}

#[test]
fn memory_is_used_again_and_much_of_it_is_given_back() {
    let mut queue = Queue::default();
    for _ in 0..10_000 {
        queue.push(&[1; 100], None);
        queue.push(&[1; 100], None);
        queue.advance(1);
        queue.advance(1);
    }
    assert!(queue.bytes.capacity() < 1000, "{}", queue.bytes.capacity());
    for _ in 0..1000 {
        queue.push(&[1; 1000], None);
    }
    for _ in 0..1000 {
        queue.advance(1);
    }
    assert!(queue.bytes.capacity() <= KEPT, "{}", queue.bytes.capacity());
}

//! The queue alone on made-up times; the thread only for what does not depend on how fast it runs.

use super::*;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// Reports its number, and when it was released.
#[derive(Debug)]
struct Numbered {
    number: usize,
    bytes: usize,
    released: Sender<(usize, Instant)>,
}

impl Parcel for Numbered {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn release(self) {
        self.released.send((self.number, Instant::now())).expect("the test listens");
    }
}

fn parcel(number: usize, released: &Sender<(usize, Instant)>) -> Numbered {
    Numbered { number, bytes: 1, released: released.clone() }
}

#[test]
fn parcels_leave_the_queue_when_due_in_order_of_time_then_arrival() {
    let (released, _) = channel();
    let mut queue = Queue::new();
    let start = Instant::now();
    for (number, millis) in [20, 5, 5, 0, 10].into_iter().enumerate() {
        queue.insert(start + Duration::from_millis(millis), parcel(number, &released)).unwrap();
    }
    let mut take = |millis| {
        let mut due = Vec::new();
        queue.take_due(start + Duration::from_millis(millis), &mut due);
        due.iter().map(|parcel| parcel.number).collect::<Vec<_>>()
    };
    assert_eq!(take(0), [3]);
    assert!(take(4).is_empty());
    assert_eq!(take(10), [1, 2, 4]);
    assert_eq!(take(1000), [0]);
}

#[test]
fn a_full_queue_gives_the_parcel_back_and_has_room_again_later() {
    let (released, _) = channel();
    let mut queue = Queue::new();
    let now = Instant::now();
    let large = Numbered { bytes: BYTES_MAX, ..parcel(0, &released) };
    assert!(queue.insert(now, large).is_ok());
    assert_eq!(queue.insert(now, parcel(1, &released)).unwrap_err().number, 1);
    let mut due = Vec::new();
    queue.take_due(now, &mut due);
    assert!(queue.insert(now, parcel(2, &released)).is_ok());
}

#[test]
fn a_batch_has_a_maximum() {
    let (released, _) = channel();
    let mut queue = Queue::new();
    let now = Instant::now();
    for number in 0..=BATCH_MAX {
        queue.insert(now, parcel(number, &released)).unwrap();
    }
    let mut due = Vec::new();
    queue.take_due(now, &mut due);
    assert_eq!(due.len(), BATCH_MAX);
}

#[test]
fn the_thread_releases_nothing_early_and_wakes_for_an_earlier_parcel() {
    let (released, receiver) = channel();
    let line = DelayLine::start().unwrap();
    let start = Instant::now();
    line.push(start + DAY, parcel(0, &released)).unwrap();
    for (number, millis) in [(1, 9), (2, 3), (3, 0)] {
        line.push(start + Duration::from_millis(millis), parcel(number, &released)).unwrap();
        let (first, at) = receiver.recv().unwrap();
        assert_eq!(first, number);
        assert!(at >= start + Duration::from_millis(millis));
    }
}

#[test]
fn dropping_the_line_stops_its_thread_and_loses_what_is_under_way() {
    let (released, receiver) = channel();
    let line = DelayLine::start().unwrap();
    line.push(Instant::now() + DAY, parcel(0, &released)).unwrap();
    drop(released);
    let shared = Arc::downgrade(&line.shared);
    drop(line);
    assert!(shared.upgrade().is_none(), "the thread still holds the queue");
    assert!(receiver.recv().is_err());
}

#[test]
fn users_share_a_line_while_one_of_them_holds_it() {
    let shared = SharedLine::<Numbered>::new();
    let (a, b) = (shared.get_or_start().unwrap(), shared.get_or_start().unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    let queue = Arc::downgrade(&a.shared);
    drop(a);
    assert!(queue.upgrade().is_some());
    drop(b);
    assert!(queue.upgrade().is_none(), "the thread outlived its last user");
    assert!(shared.get_or_start().is_ok());
}

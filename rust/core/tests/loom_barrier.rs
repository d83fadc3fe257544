//! Loom models of the barrier: every interleaving, every value a weak memory may show.
//!
//! `RUSTFLAGS="--cfg celerant_loom" LOOM_MAX_PREEMPTIONS=3 cargo test --release
//! -p celerant-core --test loom_barrier`; with `--cfg celerant_loom_mutant` too, each must fail.

#![cfg(celerant_loom)]

use celerant_core::barrier::{Arrival, Barrier, State};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// A member's value, written before its arrival; `Relaxed`, so that only the barrier orders it.
type Values = [AtomicUsize; 2];

fn setup(members: u32) -> (Arc<Barrier>, Arc<Values>) {
    let barrier = Barrier::new();
    barrier.grow(members).expect("room");
    (
        Arc::new(barrier),
        Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]),
    )
}

fn read(values: &Values) -> [usize; 2] {
    [
        values[0].load(Ordering::Relaxed),
        values[1].load(Ordering::Relaxed),
    ]
}

#[test]
fn one_call_completes_and_sees_all_values() {
    loom::model(|| {
        let (barrier, values) = setup(2);
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let (barrier, values) = (barrier.clone(), values.clone());
                thread::spawn(move || {
                    values[index as usize].store(1, Ordering::Relaxed);
                    let arrival = barrier.arrive(index, State::Success).expect("known");
                    if arrival == Arrival::Completed {
                        assert_eq!(read(&values), [1, 1]);
                    }
                    arrival
                })
            })
            .collect();
        let sealed = barrier.seal(2).expect("first seal");
        if sealed == Arrival::Completed {
            assert_eq!(read(&values), [1, 1]);
        }
        let mut completed = usize::from(sealed == Arrival::Completed);
        for thread in threads {
            completed += usize::from(thread.join().expect("no panic") == Arrival::Completed);
        }
        assert_eq!(completed, 1);
    });
}

#[test]
fn a_member_is_counted_once() {
    loom::model(|| {
        let (barrier, _) = setup(1);
        let other = {
            let barrier = barrier.clone();
            thread::spawn(move || barrier.arrive(0, State::Success).expect("known"))
        };
        let mine = barrier.arrive(0, State::Failure).expect("known");
        let theirs = other.join().expect("no panic");
        let duplicates = [mine, theirs]
            .into_iter()
            .filter(|&arrival| arrival == Arrival::Duplicate)
            .count();
        assert_eq!(duplicates, 1);
        assert_eq!(barrier.seal(1), Ok(Arrival::Completed));
    });
}

#[test]
fn who_sees_it_complete_sees_the_values() {
    loom::model(|| {
        let (barrier, values) = setup(1);
        // Looks once: a loop would have to yield, and loom shows no old values after a yield.
        let looking = {
            let (barrier, values) = (barrier.clone(), values.clone());
            thread::spawn(move || {
                if barrier.is_complete() {
                    assert_eq!(read(&values), [1, 1]);
                }
            })
        };
        let arriving = {
            let (barrier, values) = (barrier.clone(), values.clone());
            thread::spawn(move || {
                values[0].store(1, Ordering::Relaxed);
                barrier.arrive(0, State::Success).expect("known");
            })
        };
        barrier.grow(1).expect("not sealed");
        values[1].store(1, Ordering::Relaxed);
        barrier.arrive(1, State::Success).expect("grown");
        barrier.seal(2).expect("first seal");
        looking.join().expect("no panic");
        arriving.join().expect("no panic");
        assert!(barrier.is_complete());
    });
}

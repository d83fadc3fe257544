//! Loom models of the barrier: every interleaving, every value a weak memory may show.
//!
//! `RUSTFLAGS="--cfg celerant_loom" LOOM_MAX_PREEMPTIONS=3 cargo test --release
//! -p celerant-core --test loom_barrier`. Each access of the barrier that publishes something has a
//! model that fails once that access alone is weakened.

#![cfg(celerant_loom)]

use celerant_core::barrier::ordering::{Access, weaken};
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

/// A thread of its own for `act`.
fn spawn<T: 'static>(
    (barrier, values): (&Arc<Barrier>, &Arc<Values>),
    act: impl FnOnce(&Barrier, &Values) -> T + 'static,
) -> thread::JoinHandle<T> {
    let (barrier, values) = (barrier.clone(), values.clone());
    thread::spawn(move || act(&barrier, &values))
}

/// Both members arrive in threads of their own while the barrier is sealed.
fn one_call_completes_and_sees_all_values() {
    let (barrier, values) = setup(2);
    let threads: Vec<_> = (0..2)
        .map(|index| {
            spawn((&barrier, &values), move |barrier, values| {
                values[index as usize].store(1, Ordering::Relaxed);
                let arrival = barrier.arrive(index, State::Success).expect("known");
                if arrival == Arrival::Completed {
                    assert_eq!(read(values), [1, 1]);
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
}

/// The same without a seal in between, which would pass on what was written before.
fn the_last_arrival_sees_the_value_of_the_first() {
    let (barrier, values) = setup(2);
    barrier.seal(2).expect("first seal");
    let other = spawn((&barrier, &values), |barrier, values| {
        values[0].store(1, Ordering::Relaxed);
        if barrier.arrive(0, State::Success) == Ok(Arrival::Completed) {
            assert_eq!(read(values), [1, 1]);
        }
    });
    values[1].store(1, Ordering::Relaxed);
    if barrier.arrive(1, State::Success) == Ok(Arrival::Completed) {
        assert_eq!(read(&values), [1, 1]);
    }
    other.join().expect("no panic");
}

fn the_seal_that_completes_sees_the_values() {
    let (barrier, values) = setup(1);
    let other = spawn((&barrier, &values), |barrier, values| {
        values[0].store(1, Ordering::Relaxed);
        barrier.arrive(0, State::Success).expect("known");
    });
    if barrier.seal(1) == Ok(Arrival::Completed) {
        assert_eq!(read(&values), [1, 0]);
    }
    other.join().expect("no panic");
}

/// The member that arrived was not there at first; two threads claim another.
fn a_member_is_counted_once() {
    let (barrier, values) = setup(1);
    let other = spawn((&barrier, &values), |barrier, _| {
        barrier.arrive(0, State::Success).expect("known")
    });
    let mine = barrier.arrive(0, State::Failure).expect("known");
    let theirs = other.join().expect("no panic");
    let duplicates = [mine, theirs]
        .into_iter()
        .filter(|&arrival| arrival == Arrival::Duplicate)
        .count();
    assert_eq!(duplicates, 1);
    assert_eq!(barrier.seal(1), Ok(Arrival::Completed));
}

/// What the seal's own thread wrote belongs to it: a report, say.
fn whoever_finds_it_complete_sees_what_was_written_before_the_seal() {
    let (barrier, values) = setup(0);
    // Looks once: a loop would have to yield, and loom shows no old values after a yield.
    let looking = spawn((&barrier, &values), |barrier, values| {
        if barrier.is_complete() {
            assert_eq!(read(values), [1, 0]);
        }
    });
    values[0].store(1, Ordering::Relaxed);
    barrier.seal(0).expect("first seal");
    looking.join().expect("no panic");
}

fn whoever_finds_it_complete_sees_the_values_while_it_grows() {
    let (barrier, values) = setup(1);
    let looking = spawn((&barrier, &values), |barrier, values| {
        if barrier.is_complete() {
            assert_eq!(read(values), [1, 1]);
        }
    });
    let arriving = spawn((&barrier, &values), |barrier, values| {
        values[0].store(1, Ordering::Relaxed);
        barrier.arrive(0, State::Success).expect("known");
    });
    barrier.grow(1).expect("not sealed");
    values[1].store(1, Ordering::Relaxed);
    barrier.arrive(1, State::Success).expect("grown");
    barrier.seal(2).expect("first seal");
    looking.join().expect("no panic");
    arriving.join().expect("no panic");
    assert!(barrier.is_complete());
}

fn whoever_finds_a_member_there_sees_what_was_written_before_it_was_added() {
    let (barrier, values) = setup(0);
    let looking = spawn((&barrier, &values), |barrier, values| {
        if barrier.size() == 1 {
            assert_eq!(read(values), [1, 0]);
        }
    });
    values[0].store(1, Ordering::Relaxed);
    barrier.grow(1).expect("room");
    looking.join().expect("no panic");
}

fn whoever_finds_a_member_done_sees_its_value() {
    let (barrier, values) = setup(1);
    let looking = spawn((&barrier, &values), |barrier, values| {
        if barrier.state(0) == Ok(State::Success) {
            assert_eq!(read(values), [1, 0]);
        }
    });
    values[0].store(1, Ordering::Relaxed);
    barrier.arrive(0, State::Success).expect("known");
    looking.join().expect("no panic");
}

fn whoever_finds_a_failure_sees_its_value() {
    let (barrier, values) = setup(1);
    let looking = spawn((&barrier, &values), |barrier, values| {
        if let Some(index) = barrier.first_failure() {
            assert_eq!(barrier.state(index), Ok(State::Failure));
            assert_eq!(read(values), [1, 0]);
        }
    });
    values[0].store(1, Ordering::Relaxed);
    barrier.arrive(0, State::Failure).expect("known");
    looking.join().expect("no panic");
}

/// Two write the same slot, the second one because the first one gave up.
fn a_claim_after_another_sees_what_that_one_wrote() {
    let (barrier, values) = setup(1);
    let failing = spawn((&barrier, &values), |barrier, values| {
        if let Some(claim) = barrier.claim(0, State::Success).expect("known") {
            values[0].store(1, Ordering::Relaxed);
            drop(claim);
            return true;
        }
        false
    });
    let mine = barrier.claim(0, State::Success).expect("known");
    let seen = read(&values)[0];
    let is_mine = mine.is_some();
    if let Some(claim) = mine {
        values[0].store(2, Ordering::Relaxed);
        let _ = claim.settle();
        // Ours was the last write, whoever came first.
        assert_eq!(read(&values)[0], 2, "after {seen}");
    }
    failing.join().expect("no panic");
    if is_mine {
        assert_eq!(read(&values)[0], 2);
    }
}

/// The model that shows of an access that it needs to be what it is.
fn model_of(access: Access) -> fn() {
    match access {
        Access::CountAcquire | Access::CountRelease => the_last_arrival_sees_the_value_of_the_first,
        Access::SealAcquire => the_seal_that_completes_sees_the_values,
        Access::SealRelease => whoever_finds_it_complete_sees_what_was_written_before_the_seal,
        Access::Grow => whoever_finds_a_member_there_sees_what_was_written_before_it_was_added,
        Access::Word => whoever_finds_it_complete_sees_the_values_while_it_grows,
        Access::Take | Access::GiveUp => a_claim_after_another_sees_what_that_one_wrote,
        Access::TakeAtOnce => a_member_is_counted_once,
        Access::Settle | Access::State => whoever_finds_a_member_done_sees_its_value,
        Access::Fail | Access::Failed => whoever_finds_a_failure_sees_its_value,
    }
}

/// A test of each model as it is.
macro_rules! models {
    ($($model:ident),* $(,)?) => {
        mod model { $(#[test] fn $model() { loom::model(super::$model); })* }
    };
}

/// A test of each access: its model fails once it is weakened.
macro_rules! weakened {
    ($($name:ident: $access:ident),* $(,)?) => {
        mod weakened {
            $(
                #[test]
                #[should_panic]
                fn $name() {
                    super::weaken(super::Access::$access);
                    loom::model(super::model_of(super::Access::$access));
                }
            )*
        }
    };
}

models!(
    one_call_completes_and_sees_all_values,
    the_last_arrival_sees_the_value_of_the_first,
    the_seal_that_completes_sees_the_values,
    a_member_is_counted_once,
    whoever_finds_it_complete_sees_what_was_written_before_the_seal,
    whoever_finds_it_complete_sees_the_values_while_it_grows,
    whoever_finds_a_member_there_sees_what_was_written_before_it_was_added,
    whoever_finds_a_member_done_sees_its_value,
    whoever_finds_a_failure_sees_its_value,
    a_claim_after_another_sees_what_that_one_wrote,
);

weakened!(
    count_acquire: CountAcquire,
    count_release: CountRelease,
    seal_acquire: SealAcquire,
    seal_release: SealRelease,
    grow: Grow,
    word: Word,
    take: Take,
    take_at_once: TakeAtOnce,
    give_up: GiveUp,
    settle: Settle,
    state: State,
    fail: Fail,
    failed: Failed,
);

use super::*;

fn grown(n: u32) -> Barrier {
    let barrier = Barrier::new();
    assert_eq!(barrier.grow(n), Ok(n));
    barrier
}

#[test]
fn last_arrival_is_reported_once() {
    let barrier = grown(3);
    assert_eq!(barrier.seal(3), Ok(Arrival::Pending));
    assert_eq!(barrier.arrive(2, State::Success), Ok(Arrival::Pending));
    assert_eq!(barrier.arrive(2, State::Failure), Ok(Arrival::Duplicate));
    assert_eq!(barrier.arrive(0, State::Failure), Ok(Arrival::Pending));
    assert!(!barrier.is_complete());
    assert_eq!(barrier.arrive(1, State::Success), Ok(Arrival::Completed));
    assert_eq!(barrier.arrive(1, State::Success), Ok(Arrival::Duplicate));
    assert!(barrier.is_complete());
    assert_eq!(barrier.counts(), [0, 2, 1, 0, 0, 0, 0]);
    assert_eq!(barrier.state(2), Ok(State::Success));
}

#[test]
fn the_seal_completes_where_all_were_there_before() {
    let barrier = grown(1);
    assert_eq!(barrier.arrive(0, State::Ignored), Ok(Arrival::Pending));
    assert_eq!(barrier.seal(1), Ok(Arrival::Completed));
}

#[test]
fn an_empty_barrier_completes_at_its_seal() {
    assert_eq!(Barrier::new().seal(0), Ok(Arrival::Completed));
}

#[test]
fn misuse_is_an_error_and_changes_nothing() {
    let barrier = grown(2);
    assert_eq!(
        barrier.arrive(2, State::Success),
        Err(BarrierError::Unknown { index: 2, size: 2 })
    );
    assert_eq!(
        barrier.state(9),
        Err(BarrierError::Unknown { index: 9, size: 2 })
    );
    assert_eq!(
        barrier.arrive(0, State::Pending),
        Err(BarrierError::NotAnArrival { index: 0 })
    );
    assert_eq!(
        barrier.seal(3),
        Err(BarrierError::WrongSize { wanted: 3, size: 2 })
    );
    assert_eq!(barrier.seal(2), Ok(Arrival::Pending));
    assert_eq!(barrier.seal(2), Err(BarrierError::Sealed { size: 2 }));
    assert_eq!(barrier.grow(1), Err(BarrierError::Sealed { size: 2 }));
    assert_eq!(barrier.remaining(), 2);
}

#[test]
fn more_than_31_bits_of_members_are_refused() {
    let barrier = grown(1);
    let wanted = u64::from(MAX_MEMBERS) + 1;
    assert_eq!(
        barrier.grow(MAX_MEMBERS),
        Err(BarrierError::TooLarge { wanted })
    );
    assert_eq!(barrier.size(), 1);
}

#[test]
fn pending_members_are_found_across_buckets() {
    let barrier = grown(1000);
    for index in (0..1000).filter(|index| index % 7 != 0) {
        assert!(barrier.arrive(index, State::Success).is_ok());
    }
    let expected: Vec<u32> = (0..1000).filter(|index| index % 7 == 0).collect();
    assert_eq!(barrier.pending(0, usize::MAX), expected);
    assert_eq!(barrier.pending(8, 2), [14, 21]);
    assert_eq!(barrier.pending(1000, 5), [0; 0]);
}

#[test]
fn codes_are_the_states_positions() {
    for (code, state) in State::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(state.code()), code);
    }
    assert_eq!(State::from_code(7), None);
}

#[test]
fn a_claim_that_is_dropped_leaves_its_member_pending() {
    let barrier = grown(1);
    assert_eq!(barrier.seal(1), Ok(Arrival::Pending));
    let claim = barrier.claim(0, State::Success).expect("known");
    assert!(claim.is_some());
    assert_eq!(barrier.state(0), Ok(State::Pending));
    assert_eq!(barrier.arrive(0, State::Failure), Ok(Arrival::Duplicate));
    assert_eq!(barrier.pending(0, 1), [0; 0]);
    drop(claim);
    assert_eq!(barrier.pending(0, 1), [0]);
    assert_eq!(barrier.first_failure(), None);
    assert_eq!(barrier.arrive(0, State::Revoked), Ok(Arrival::Completed));
    assert_eq!(barrier.first_failure(), Some(0));
}

#[test]
fn the_first_failure_stays_the_first() {
    let barrier = grown(4);
    for (index, state) in [
        (3, State::Success),
        (2, State::NotSent),
        (1, State::Failure),
        (0, State::Revoked),
    ] {
        assert!(barrier.arrive(index, state).is_ok());
    }
    assert_eq!(barrier.first_failure(), Some(1));
    barrier.fail_early(3);
    assert_eq!(barrier.first_failure(), Some(1));
}

//! Laws of the walk over nested groups.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use celerant_core::error::Error;
use celerant_core::unroll::{Failure, Frame, MAX_DEPTH, Step, Unroll};
use proptest::collection::vec;
use proptest::prelude::*;

/// A canvas of the tests.
#[derive(Clone, Debug)]
enum Canvas {
    Leaf(u32),
    Group(Vec<Canvas>),
    Broken,
}

struct Items {
    items: VecDeque<Canvas>,
    identity: usize,
}

impl Items {
    fn new(items: Vec<Canvas>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let identity = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            items: items.into(),
            identity,
        }
    }
}

impl Frame for Items {
    type Leaf = u32;
    type Error = &'static str;

    fn next(&mut self) -> Result<Option<Step<u32, Self>>, &'static str> {
        Ok(match self.items.pop_front() {
            None => None,
            Some(Canvas::Leaf(leaf)) => Some(Step::Leaf(leaf)),
            Some(Canvas::Group(items)) => Some(Step::Group(Self::new(items))),
            Some(Canvas::Broken) => return Err("broken"),
        })
    }

    fn identity(&self) -> usize {
        self.identity
    }
}

/// Members given, and the failure that ended the walk.
type Drained<F> = (
    Vec<(u32, <F as Frame>::Leaf)>,
    Option<Failure<<F as Frame>::Error>>,
);

/// What `walk` gives before it ends or fails.
fn drain<F: Frame>(walk: &mut Unroll<F>) -> Drained<F> {
    let mut given = Vec::new();
    loop {
        match walk.next() {
            Ok(Some(member)) => given.push(member),
            Ok(None) => return (given, None),
            Err(failure) => return (given, Some(failure)),
        }
    }
}

/// Leaves by plain recursion, with their paths.
fn leaves(items: &[Canvas], path: &str, into: &mut Vec<(u32, String)>) {
    for (at, item) in items.iter().enumerate() {
        let path = format!("{path}[{at}]");
        match item {
            Canvas::Leaf(leaf) => into.push((*leaf, path)),
            Canvas::Group(items) => leaves(items, &path, into),
            Canvas::Broken => {}
        }
    }
}

fn groups() -> impl Strategy<Value = Vec<Canvas>> {
    let leaf = any::<u32>().prop_map(Canvas::Leaf);
    let canvas = leaf.prop_recursive(6, 60, 6, |inner| vec(inner, 0..6).prop_map(Canvas::Group));
    vec(canvas, 0..8)
}

proptest! {
    #[test]
    fn leaves_and_their_order_are_preserved(items in groups()) {
        let mut expected = Vec::new();
        leaves(&items, "group", &mut expected);
        let mut walk = Unroll::new(Items::new(items));
        for (at, (leaf, path)) in (0..).zip(expected) {
            prop_assert_eq!(walk.len(), at);
            prop_assert_eq!(walk.next(), Ok(Some((at, leaf))), "indices count from 0");
            prop_assert_eq!(walk.path(), path);
        }
        prop_assert_eq!(walk.next(), Ok(None));
        prop_assert_eq!(walk.next(), Ok(None), "the end is the end");
    }
}

#[test]
fn an_error_of_the_group_comes_through_with_its_path() {
    let items = vec![
        Canvas::Leaf(1),
        Canvas::Group(vec![Canvas::Leaf(2), Canvas::Broken, Canvas::Leaf(3)]),
    ];
    let mut walk = Unroll::new(Items::new(items));
    let (given, failure) = drain(&mut walk);
    assert_eq!(given, [(0, 1), (1, 2)]);
    assert_eq!(failure, Some(Failure::Frame("broken")));
    assert_eq!(walk.path(), "group[1][1]");
    assert_eq!(walk.next(), Ok(None), "a walk that failed is over");
}

/// A group that holds one group, that many times, then one member.
struct Nest {
    left: usize,
    identity: usize,
    is_taken: bool,
}

impl Nest {
    fn new(depth: usize) -> Self {
        Self {
            left: depth,
            identity: depth,
            is_taken: false,
        }
    }
}

impl Frame for Nest {
    type Leaf = &'static str;
    type Error = ();

    fn next(&mut self) -> Result<Option<Step<&'static str, Self>>, ()> {
        if std::mem::replace(&mut self.is_taken, true) {
            return Ok(None);
        }
        Ok(Some(match self.left {
            1 => Step::Leaf("deep"),
            left => Step::Group(Self::new(left - 1)),
        }))
    }

    fn identity(&self) -> usize {
        self.identity
    }
}

#[test]
fn ten_thousand_levels_unroll() {
    let mut walk = Unroll::new(Nest::new(10_000));
    assert_eq!(walk.next(), Ok(Some((0, "deep"))));
    assert_eq!(
        walk.path(),
        format!("group{0} ... 9984 levels ... {0}", "[0]".repeat(8)),
        "the middle is left out"
    );
    assert_eq!(walk.next(), Ok(None));
}

#[test]
fn the_depth_is_limited() {
    assert!(drain(&mut Unroll::new(Nest::new(MAX_DEPTH))).1.is_none());
    let (given, failure) = drain(&mut Unroll::new(Nest::new(MAX_DEPTH + 1)));
    assert!(given.is_empty());
    let Some(Failure::Canvas(error @ Error::TooDeep { .. })) = failure else {
        panic!("{failure:?}");
    };
    assert!(error.path().is_some_and(|path| path.contains("levels")));
}

#[test]
fn members_are_limited() {
    let items = (0..5).map(Canvas::Leaf).collect();
    let (given, failure) = drain(&mut Unroll::with_limits(Items::new(items), 10, 3));
    assert_eq!(given.len(), 3);
    let path = "group[3]".to_owned();
    assert_eq!(
        failure,
        Some(Failure::Canvas(Error::TooManyMembers { path, limit: 3 }))
    );
}

/// A group whose second item is a group that is already open, or was.
struct Looped {
    identity: usize,
    items: VecDeque<usize>,
}

impl Frame for Looped {
    type Leaf = usize;
    type Error = ();

    fn next(&mut self) -> Result<Option<Step<usize, Self>>, ()> {
        Ok(self.items.pop_front().map(|identity| {
            let items = if identity == 7 {
                [8, 1].into()
            } else {
                VecDeque::new()
            };
            Step::Group(Self { identity, items })
        }))
    }

    fn identity(&self) -> usize {
        self.identity
    }
}

#[test]
fn a_group_inside_itself_is_a_cycle() {
    let root = Looped {
        identity: 1,
        items: [5, 7].into(),
    };
    let path = "group[1][1]".to_owned();
    assert_eq!(
        drain(&mut Unroll::new(root)).1,
        Some(Failure::Canvas(Error::Cycle { path }))
    );
}

#[test]
fn a_group_that_is_used_twice_in_turn_is_no_cycle() {
    let root = Looped {
        identity: 1,
        items: [5, 5, 8, 5].into(),
    };
    assert_eq!(drain(&mut Unroll::new(root)), (vec![], None));
}

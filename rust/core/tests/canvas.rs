//! Laws of lowering: which messages a canvas becomes, and what travels with them.

mod lowering;

use std::collections::HashSet;

use celerant_core::canvas::{
    Call, Given, Id, Item, Kind, Lowered, NodeId, Options, Place, Setting, Tree,
};
use celerant_core::error::Error;
use proptest::prelude::*;

use self::lowering::Canvas::{Chain, Group, Task};
use self::lowering::{NO_RESULTS, canvases, chord, lines, lower, messages, plant};

#[test]
fn a_chain_sends_its_first_step_with_the_others() {
    assert_eq!(
        lines(&Chain(vec![Task(1), Task(2), Task(3)])),
        ["1 > 2 > 3"]
    );
}

#[test]
fn the_whole_is_the_last_step() {
    let (tree, lowered) = lower(&Chain(vec![Task(1), Task(2)]));
    let promise = tree.promise(lowered.promise.expect("a chain with steps has a result"));
    assert_eq!(promise.id, Id::Whole);
    let parent = tree.promise(promise.parent.expect("the first step"));
    assert_eq!(
        Some(&Setting::Id(parent.id)),
        lowered.messages[0].options.get("task_id")
    );
}

#[test]
fn a_group_that_something_follows_is_a_chord() {
    let canvas = Chain(vec![Task(1), Group(vec![Task(2), Task(3)]), Task(4)]);
    assert_eq!(lines(&canvas), ["1 > (2 3)4"]);
    let canvas = Chain(vec![Group(vec![Task(2), Task(3)]), Task(4), Task(5)]);
    assert_eq!(
        lines(&canvas),
        ["2 ! 4", "3 ! 4"],
        "what follows the body travels in its options"
    );
}

#[test]
fn a_lone_group_is_its_member() {
    let canvas = Chain(vec![Task(1), Group(vec![Task(2)]), Task(3)]);
    assert_eq!(lines(&canvas), ["1 > 2 > 3"]);
}

#[test]
fn what_follows_a_chord_does_not_travel_with_its_header() {
    let body = Chain(vec![Task(3), Task(4)]);
    let canvas = Chain(vec![Task(1), chord(vec![Task(2)], body)]);
    assert_eq!(lines(&canvas), ["1 > (2)3 > 4"]);
}

#[test]
fn nested_groups_are_members_from_left_to_right() {
    let header = vec![Task(1), Group(vec![Task(2), Group(vec![Task(3)])]), Task(4)];
    let (tree, lowered) = lower(&chord(header, Task(5)));
    assert_eq!(
        messages(&tree, &lowered),
        ["1 ! 5", "2 ! 5", "3 ! 5", "4 ! 5"]
    );
    let indices: Vec<_> = lowered
        .messages
        .iter()
        .map(|m| m.options.get("group_index"))
        .collect();
    let expected: Vec<_> = (0..4).map(Setting::Index).collect();
    assert_eq!(indices, expected.iter().map(Some).collect::<Vec<_>>());
}

#[test]
fn empty_groups_and_chains_are_nothing() {
    let canvas = Chain(vec![Group(vec![]), Task(1), Group(vec![]), Task(2)]);
    assert_eq!(lines(&canvas), ["1 > 2"]);
    let canvas = Group(vec![Chain(vec![]), Task(1), Group(vec![])]);
    assert_eq!(lines(&canvas), ["1"]);
    assert_eq!(lines(&Chain(vec![])), [""; 0]);
}

#[test]
fn an_empty_header_sends_the_body_at_once() {
    let (tree, lowered) = lower(&chord(vec![], Task(1)));
    assert_eq!(messages(&tree, &lowered), ["1"]);
    assert_eq!(lowered.messages[0].args, [NO_RESULTS]);
    assert!(lowered.chord_sizes.is_empty());
}

#[test]
fn a_header_without_results_sends_the_body_at_once() {
    let nothing = || Chain(vec![Group(vec![])]);
    let (tree, lowered) = lower(&chord(vec![nothing(), nothing()], Task(1)));
    assert_eq!(messages(&tree, &lowered), ["1"]);
    assert_eq!(lowered.messages[0].args, [NO_RESULTS]);
    assert!(lowered.chord_sizes.is_empty());
    // What is in it runs all the same.
    let fruitless = chord(vec![Task(1)], Group(vec![]));
    let (tree, lowered) = lower(&chord(vec![fruitless], Task(2)));
    assert_eq!(messages(&tree, &lowered), ["1", "2"]);
    assert!(lowered.chord_sizes.is_empty());
}

#[test]
fn a_body_without_steps_is_refused() {
    let mut tree = Tree::new();
    let root = plant(&mut tree, &chord(vec![Task(1)], Chain(vec![])));
    let refused = tree.lower(root, None, &Call::default(), NO_RESULTS);
    assert_eq!(refused.map(|_| ()), Err(Error::EmptyChain));
}

#[test]
fn a_member_keeps_its_place_in_the_group() {
    let mut tree = Tree::new();
    let root = plant(&mut tree, &Chain(vec![Task(1), Task(2)]));
    let group_id = Setting::Given(Given(77));
    let place = Place {
        id: Some(Id::Whole),
        group_id: Some(group_id.clone()),
        group_index: Some(5),
        ..Place::default()
    };
    let lowered = tree
        .lower(root, Some(&place), &Call::default(), NO_RESULTS)
        .expect("it has steps");
    let first = &lowered.messages[0];
    assert!(
        !first.options.has("group_id"),
        "the first step is no member"
    );
    let [Item::Canvas(last)] = first.options.list("chain")[..] else {
        panic!("one step follows");
    };
    let options = &tree.node(last).options;
    assert_eq!(options.get("group_id"), Some(&group_id));
    assert_eq!(options.get("group_index"), Some(&Setting::Index(5)));
    assert_eq!(options.get("task_id"), Some(&Setting::Id(Id::Whole)));
}

#[test]
fn errbacks_of_a_chain_are_those_of_every_step() {
    let mut tree = Tree::new();
    let root = plant(
        &mut tree,
        &Chain(vec![Task(1), chord(vec![Task(2)], Task(3)), Task(4)]),
    );
    let errback = Item::Given(Given(9));
    let call = Call {
        options: [("link_error".into(), Setting::List(vec![errback]))]
            .into_iter()
            .collect(),
        ..Call::default()
    };
    let lowered = tree
        .lower(root, None, &call, NO_RESULTS)
        .expect("it has steps");
    let first = &lowered.messages[0];
    assert_eq!(first.options.list("link_error"), [errback]);
    for item in first.options.list("chain") {
        let Item::Canvas(step) = item else {
            panic!("steps are parts of the canvas");
        };
        let linked = match tree.node(step).kind {
            Kind::Chord { body, .. } => body,
            _ => step,
        };
        assert_eq!(tree.node(linked).options.list("link_error"), [errback]);
    }
}

/// Tasks in what leaves: as messages, as steps and as bodies, each chord's body once.
fn tasks_in(tree: &Tree, lowered: &Lowered) -> Vec<u32> {
    fn walk(tree: &Tree, id: NodeId, seen: &mut HashSet<NodeId>, found: &mut Vec<u32>) {
        if !seen.insert(id) {
            return;
        }
        match tree.node(id).kind {
            Kind::Task => found.extend(tree.node(id).origin.map(|given| given.0)),
            Kind::Group(_) | Kind::Chain(_) => {
                for &part in tree.members(id) {
                    walk(tree, part, seen, found);
                }
            }
            Kind::Chord { header, body } => {
                for &part in tree.header(header) {
                    walk(tree, part, seen, found);
                }
                walk(tree, body, seen, found);
            }
        }
        follow(tree, &tree.node(id).options, seen, found);
    }
    fn follow(tree: &Tree, options: &Options, seen: &mut HashSet<NodeId>, found: &mut Vec<u32>) {
        for item in options.list("chain") {
            if let Item::Canvas(step) = item {
                walk(tree, step, seen, found);
            }
        }
        if let Some(Setting::Canvas(body)) = options.get("chord") {
            walk(tree, *body, seen, found);
        }
    }
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for message in &lowered.messages {
        walk(tree, message.node, &mut seen, &mut found);
        follow(tree, &message.options, &mut seen, &mut found);
    }
    found.sort_unstable();
    found
}

proptest! {
    #[test]
    fn no_task_is_lost_or_doubled((canvas, count) in canvases()) {
        let (tree, lowered) = lower(&canvas);
        prop_assert_eq!(tasks_in(&tree, &lowered), (1..=count).collect::<Vec<_>>());
    }

    #[test]
    fn what_leaves_has_ids_of_its_own((canvas, _) in canvases()) {
        let (_, lowered) = lower(&canvas);
        let mut seen = HashSet::new();
        for message in &lowered.messages {
            let Some(Setting::Id(id)) = message.options.get("task_id") else {
                return Err(TestCaseError::fail("a message without an id"));
            };
            prop_assert!(seen.insert(*id), "{:?} twice", id);
        }
    }

    #[test]
    fn a_chord_waits_for_as_many_as_will_tell((canvas, _) in canvases()) {
        // What leaves at once and is not followed by anything tells its chord itself.
        let (tree, lowered) = lower(&canvas);
        for chord in &lowered.chord_sizes {
            let members = lowered.messages.iter().filter(|message| {
                message.options.get("group_id") == Some(&chord.group_id)
                    && message.options.some("chord").is_some()
            });
            prop_assert!(members.count() <= chord.size as usize);
            prop_assert!(chord.size > 0);
        }
        let sizes = lowered.chord_sizes.len();
        let groups: HashSet<_> = lowered.chord_sizes.iter().map(|c| format!("{:?}", c.group_id)).collect();
        prop_assert_eq!(groups.len(), sizes, "each group is told once");
        prop_assert!(tree.drawn() < 10_000);
    }
}

#[test]
fn a_chain_of_groups_grows_linearly() {
    // Celery's chord of chords of chords would hold the rest at every level.
    let size = |length: u32| {
        let pair = |n| Group(vec![Task(2 * n + 1), Task(2 * n + 2)]);
        let (tree, lowered) = lower(&Chain((0..length).map(pair).collect()));
        messages(&tree, &lowered)
            .iter()
            .map(String::len)
            .sum::<usize>()
    };
    let (short, long) = (size(20), size(200));
    assert!(
        long < 16 * short,
        "{short} characters for 20 groups, {long} for 200"
    );
}

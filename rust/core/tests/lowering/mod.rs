//! Canvases for the tests of lowering: how they are planted, lowered, shown and generated.

use celerant_core::canvas::{
    Call, Given, Header, Item, Kind, Lowered, Node, NodeId, Options, Setting, Tree,
};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const NO_RESULTS: Given = Given(u32::MAX);

/// A canvas of the tests; a task is told by its number.
#[derive(Clone, Debug)]
pub(crate) enum Canvas {
    Task(u32),
    Group(Vec<Canvas>),
    Chain(Vec<Canvas>),
    Chord(Vec<Canvas>, Box<Canvas>),
}

use self::Canvas::{Chain, Chord, Group, Task};

pub(crate) fn chord(header: Vec<Canvas>, body: Canvas) -> Canvas {
    Chord(header, Box::new(body))
}

pub(crate) fn node(origin: Option<Given>, kind: Kind) -> Node {
    Node {
        origin,
        kind,
        args: Vec::new(),
        kwargs: Vec::new(),
        options: Options::new(),
        is_immutable: false,
    }
}

pub(crate) fn plant(tree: &mut Tree, canvas: &Canvas) -> NodeId {
    let several = |tree: &mut Tree, parts: &[Canvas]| {
        let nodes = parts.iter().map(|part| plant(tree, part)).collect();
        tree.list(nodes)
    };
    let planted = match canvas {
        Task(number) => node(Some(Given(*number)), Kind::Task),
        Group(parts) => node(None, Kind::Group(several(tree, parts))),
        Chain(parts) => node(None, Kind::Chain(several(tree, parts))),
        Chord(parts, body) => {
            let header = Header::List(several(tree, parts));
            let body = plant(tree, body);
            node(None, Kind::Chord { header, body })
        }
    };
    tree.add(planted)
}

pub(crate) fn lower(canvas: &Canvas) -> (Tree, Lowered) {
    let mut tree = Tree::new();
    let root = plant(&mut tree, canvas);
    let lowered = tree
        .lower(root, None, &Call::default(), NO_RESULTS)
        .expect("no chain without steps stands where a result is needed");
    (tree, lowered)
}

/// What a node is, in a line: `1`, `[1 2]` for a group, `1>2` for a chain, `(1 2)3` for a chord.
pub(crate) fn shown(tree: &Tree, id: NodeId) -> String {
    let several = |ids: &[NodeId], by: &str| {
        let parts: Vec<_> = ids.iter().map(|&id| shown(tree, id)).collect();
        parts.join(by)
    };
    match tree.node(id).kind {
        Kind::Task => tree.node(id).origin.map_or(0, |given| given.0).to_string(),
        Kind::Group(list) => format!("[{}]", several(tree.nodes(list), " ")),
        Kind::Chain(list) => format!("<{}>", several(tree.nodes(list), ">")),
        Kind::Chord { header, body } => {
            format!(
                "({}){}",
                several(tree.header(header), " "),
                shown(tree, body)
            )
        }
    }
}

/// Messages in a line each: the task, then what follows it, then the body of its chord.
pub(crate) fn messages(tree: &Tree, lowered: &Lowered) -> Vec<String> {
    let line = |message: &celerant_core::canvas::Message| {
        let mut line = shown(tree, message.node);
        for item in message.options.list("chain").iter().rev() {
            if let Item::Canvas(step) = item {
                line.push_str(" > ");
                line.push_str(&shown(tree, *step));
            }
        }
        if let Some(Setting::Canvas(body)) = message.options.get("chord") {
            line.push_str(" ! ");
            line.push_str(&shown(tree, *body));
        }
        line
    };
    lowered.messages.iter().map(line).collect()
}

pub(crate) fn lines(canvas: &Canvas) -> Vec<String> {
    let (tree, lowered) = lower(canvas);
    messages(&tree, &lowered)
}

fn number(canvas: &mut Canvas, next: &mut u32) {
    match canvas {
        Task(number) => {
            *number = *next;
            *next += 1;
        }
        Group(parts) | Chain(parts) => {
            for part in parts {
                number(part, next);
            }
        }
        Chord(parts, body) => {
            for part in parts {
                number(part, next);
            }
            number(body, next);
        }
    }
}

/// Canvases whose tasks are numbered from 1, none without steps or members.
pub(crate) fn canvases() -> impl Strategy<Value = (Canvas, u32)> {
    let task = Just(Task(0));
    let any = task.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Group),
            vec(inner.clone(), 1..4).prop_map(Chain),
            (vec(inner.clone(), 1..4), inner).prop_map(|(header, body)| chord(header, body)),
        ]
    });
    any.prop_map(|mut canvas| {
        let mut next = 1;
        number(&mut canvas, &mut next);
        (canvas, next - 1)
    })
}

//! One canvas as nodes that refer to each other by number.

use super::options::{Given, Id, Options, Setting};

/// How deep the user may nest canvases. Messages may be nested less deep, since the bodies of
/// chords in a chain become its steps.
pub const MAX_WRITTEN_DEPTH: usize = 1024;

/// How deep canvases may be nested in one message. Each takes three levels of JSON, and the
/// workers' decoders take a thousand.
pub const MAX_DEPTH: usize = 256;

/// The stack that one level may take, and the stack that is added if less is left: levels recurse,
/// and a thread may have as little as 512 KiB.
const LEVEL_BYTES: usize = 64 << 10;
const MORE_BYTES: usize = 1 << 20;

/// Goes a level deeper, with more stack if little is left.
pub fn deeper<T>(work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(LEVEL_BYTES, MORE_BYTES, work)
}

/// Number of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// Number of a list of nodes. A group and the chord it became share theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListId(pub(super) u32);

/// Number of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromiseId(pub(super) u32);

/// The tasks before a chord's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// As written.
    List(ListId),
    /// Frozen: a group with an id.
    Group(NodeId),
}

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One task.
    Task,
    /// Tasks at the same time.
    Group(ListId),
    /// One after the other.
    Chain(ListId),
    /// A group, and the canvas that gets its results.
    Chord {
        /// The group.
        header: Header,
        /// The canvas that gets its results.
        body: NodeId,
    },
}

/// A signature.
#[derive(Clone, Debug)]
pub struct Node {
    /// As the caller gave it; [`None`] if it was made here.
    pub origin: Option<Given>,
    /// Its kind.
    pub kind: Kind,
    /// Sequences of positional arguments, one after the other.
    pub args: Vec<Given>,
    /// Mappings of keyword arguments; later ones override.
    pub kwargs: Vec<Given>,
    /// How it is sent.
    pub options: Options,
    /// Whether it keeps its arguments to itself.
    pub is_immutable: bool,
}

/// The result that a task or group will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The result's id.
    pub id: Id,
    /// The promise before it.
    pub parent: Option<PromiseId>,
    /// The promises of a group's members.
    pub members: Option<Vec<PromiseId>>,
}

/// A canvas, with the ids and promises that it has so far.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    lists: Vec<Vec<NodeId>>,
    promises: Vec<Promise>,
    drawn: u32,
    /// Celery's `task_allow_error_cb_on_chord_header`.
    pub links_errors_to_headers: bool,
}

impl Tree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node.
    pub fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(number(self.nodes.len() - 1))
    }

    /// Adds a list of nodes.
    pub fn list(&mut self, nodes: Vec<NodeId>) -> ListId {
        self.lists.push(nodes);
        ListId(number(self.lists.len() - 1))
    }

    /// A node of this tree.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The nodes of a list.
    #[must_use]
    pub fn nodes(&self, id: ListId) -> &[NodeId] {
        &self.lists[id.0 as usize]
    }

    /// A promise of this tree.
    #[must_use]
    pub fn promise(&self, id: PromiseId) -> &Promise {
        &self.promises[id.0 as usize]
    }

    /// How many ids were drawn so far for the canvases inside.
    #[must_use]
    pub const fn drawn(&self) -> u32 {
        self.drawn
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    pub(super) fn options_mut(&mut self, id: NodeId) -> &mut Options {
        &mut self.nodes[id.0 as usize].options
    }

    pub(super) fn set_nodes(&mut self, list: ListId, nodes: Vec<NodeId>) {
        self.lists[list.0 as usize] = nodes;
    }

    pub(super) fn promise_mut(&mut self, id: PromiseId) -> &mut Promise {
        &mut self.promises[id.0 as usize]
    }

    pub(super) fn expect(&mut self, id: Id, members: Option<Vec<PromiseId>>) -> PromiseId {
        self.promises.push(Promise {
            id,
            parent: None,
            members,
        });
        PromiseId(number(self.promises.len() - 1))
    }

    pub(super) fn draw(&mut self) -> Id {
        self.drawn += 1;
        Id::Inner(self.drawn - 1)
    }

    pub(super) fn is_group(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, Kind::Group(_))
    }

    pub(super) fn is_chord(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, Kind::Chord { .. })
    }

    /// The members of a group or steps of a chain; none of anything else.
    #[must_use]
    pub fn members(&self, id: NodeId) -> &[NodeId] {
        match self.node(id).kind {
            Kind::Group(list) | Kind::Chain(list) => self.nodes(list),
            Kind::Task | Kind::Chord { .. } => &[],
        }
    }

    /// The tasks of a chord's header.
    #[must_use]
    pub fn header(&self, header: Header) -> &[NodeId] {
        match header {
            Header::List(list) => self.nodes(list),
            Header::Group(group) => self.members(group),
        }
    }

    pub(super) fn is_empty_group(&self, id: NodeId) -> bool {
        self.is_group(id) && self.members(id).is_empty()
    }

    pub(super) fn is_empty_chain(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, Kind::Chain(_)) && self.members(id).is_empty()
    }

    /// Whether it is a chain whose first step is no group: such a body runs step by step.
    pub(super) fn is_chain_led_by_task(&self, id: NodeId) -> bool {
        match self.node(id).kind {
            Kind::Chain(list) => self
                .nodes(list)
                .first()
                .is_some_and(|&first| !self.is_group(first)),
            _ => false,
        }
    }

    /// A group of one member is as good as the member.
    pub(super) fn without_lone_group(&self, id: NodeId) -> NodeId {
        match (self.is_group(id), self.members(id)) {
            (true, &[only]) => only,
            _ => id,
        }
    }

    /// A copy with its own options. A chain's steps, a chord's body and the tasks of a header as
    /// written are copied too; a group's members are shared until they are frozen.
    pub(super) fn copy(&mut self, id: NodeId) -> NodeId {
        deeper(|| self.copy_here(id))
    }

    fn copy_here(&mut self, id: NodeId) -> NodeId {
        let mut node = self.node(id).clone();
        node.kind = match node.kind {
            Kind::Task => Kind::Task,
            Kind::Group(list) => Kind::Group(self.list(self.nodes(list).to_vec())),
            Kind::Chain(list) => {
                let steps = self.nodes(list).to_vec();
                let copies = steps.into_iter().map(|step| self.copy(step)).collect();
                Kind::Chain(self.list(copies))
            }
            Kind::Chord { header, body } => {
                let tasks = self.header(header).to_vec();
                let tasks = match header {
                    Header::Group(_) => tasks,
                    Header::List(_) => tasks.into_iter().map(|task| self.copy(task)).collect(),
                };
                let header = Header::List(self.list(tasks));
                let body = self.copy(body);
                Kind::Chord { header, body }
            }
        };
        if matches!(node.kind, Kind::Group(_) | Kind::Chain(_)) {
            // They have no place for a call's arguments.
            node.args.clear();
            node.kwargs.clear();
        }
        self.add(node)
    }

    /// A copy, with a call's arguments and options merged in.
    pub(super) fn copy_with(
        &mut self,
        id: NodeId,
        args: &[Given],
        kwargs: &[Given],
        options: &Options,
    ) -> NodeId {
        let copy = self.copy(id);
        let node = self.node_mut(copy);
        node.options = node.options.merged(options);
        if !node.is_immutable && !matches!(node.kind, Kind::Group(_) | Kind::Chain(_)) {
            node.args.splice(0..0, args.iter().copied());
            // A chord keeps no place for a call's keywords.
            if node.kind == Kind::Task {
                node.kwargs.extend_from_slice(kwargs);
            }
        }
        copy
    }

    /// How many results a chord waits for that has this in its header.
    #[must_use]
    pub fn count_results(&self, id: NodeId) -> u32 {
        match self.node(id).kind {
            Kind::Task => 1,
            Kind::Group(list) => self
                .nodes(list)
                .iter()
                .map(|&m| self.count_results(m))
                .sum(),
            // Its last step that has any.
            Kind::Chain(list) => {
                let counts = self
                    .nodes(list)
                    .iter()
                    .rev()
                    .map(|&s| self.count_results(s));
                counts.into_iter().find(|&count| count > 0).unwrap_or(0)
            }
            Kind::Chord { body, .. } => deeper(|| self.count_results(body)),
        }
    }

    /// Whether there is a chord in it, written by the user or made here.
    #[must_use]
    pub fn has_chords(&self) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|node| matches!(node.kind, Kind::Chord { .. }))
    }

    /// The id in option `task_id`, if any.
    pub(super) fn own_id(options: &Options) -> Option<Id> {
        match options.get("task_id") {
            Some(Setting::Id(id)) => Some(*id),
            Some(Setting::Given(given)) => Some(Id::Given(*given)),
            _ => None,
        }
    }
}

/// A tree of 2^32 nodes does not fit into memory.
fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

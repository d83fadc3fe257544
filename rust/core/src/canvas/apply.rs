//! From a canvas and a call to the messages that leave now.

use super::freeze::Place;
use super::options::{Given, Id, Item, Options, Setting};
use super::steps::Steps;
use super::tree::{Kind, ListId, NodeId, PromiseId, Tree, deeper};
use crate::error::Result;

/// How a canvas is applied.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Sequences of positional arguments for the first task or tasks.
    pub args: Vec<Given>,
    /// Mappings of keyword arguments for the same tasks; later ones override.
    pub kwargs: Vec<Given>,
    /// Over the canvas's own.
    pub options: Options,
}

/// A task that leaves now.
#[derive(Clone, Debug)]
pub struct Message {
    /// The task.
    pub node: NodeId,
    /// Its positional arguments: these sequences, one after the other.
    pub args: Vec<Given>,
    /// Its keyword arguments; later ones override.
    pub kwargs: Vec<Given>,
    /// Options of the send, among them `chain`, `chord`, `link` and `link_error`.
    pub options: Options,
}

/// How many results a group's chord waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChordSize {
    /// The group.
    pub group_id: Setting,
    /// The number of results.
    pub size: u32,
    /// The promises of its members, if some are groups: the values that the body gets have that
    /// form.
    pub members: Option<Vec<PromiseId>>,
}

/// A canvas as messages.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// The messages that leave now, in this order.
    pub messages: Vec<Message>,
    /// The result backend needs them before any message leaves.
    pub chord_sizes: Vec<ChordSize>,
    /// The promise of the whole canvas; a chain without steps has none.
    pub promise: Option<PromiseId>,
}

/// A canvas that is being applied.
pub(super) struct Applying<'a> {
    pub(super) tree: &'a mut Tree,
    lowered: Lowered,
    /// The arguments of a body if its header is empty: one empty list.
    pub(super) no_results: Given,
}

impl Tree {
    /// Applies a canvas.
    ///
    /// `place`: given by the group around it, if it is a member; it is then frozen first.
    /// `no_results`: positional arguments that are one empty list.
    ///
    /// # Errors
    /// [`crate::error::Error::EmptyChain`] if a chain without steps needs a promise.
    pub fn lower(
        &mut self,
        root: NodeId,
        place: Option<&Place>,
        call: &Call,
        no_results: Given,
    ) -> Result<Lowered> {
        let mut promise = None;
        if let Some(place) = place {
            promise = Some(self.freeze(root, place)?);
        }
        let mut applying = Applying {
            tree: self,
            lowered: Lowered::default(),
            no_results,
        };
        let id = place.is_none().then_some(Id::Whole);
        let applied = applying.apply(root, call, id)?;
        let mut lowered = applying.lowered;
        lowered.promise = promise.or(applied);
        Ok(lowered)
    }
}

impl Applying<'_> {
    /// Applies a node; it gets the id `whole` if it has none.
    pub(super) fn apply(
        &mut self,
        id: NodeId,
        call: &Call,
        whole: Option<Id>,
    ) -> Result<Option<PromiseId>> {
        deeper(|| self.apply_here(id, call, whole))
    }

    fn apply_here(
        &mut self,
        id: NodeId,
        call: &Call,
        whole: Option<Id>,
    ) -> Result<Option<PromiseId>> {
        match self.tree.node(id).kind {
            Kind::Task => Ok(Some(self.task(id, call, whole))),
            Kind::Group(list) => self.group(id, list, call).map(Some),
            Kind::Chain(list) => self.chain(id, list, call, whole),
            Kind::Chord { header, body } => self.chord(id, header, body, call, whole).map(Some),
        }
    }

    fn task(&mut self, id: NodeId, call: &Call, whole: Option<Id>) -> PromiseId {
        let node = self.tree.node(id);
        let mut options = node.options.merged(&call.options.without_null());
        let (mut args, mut kwargs) = (node.args.clone(), node.kwargs.clone());
        if !node.is_immutable {
            args.splice(0..0, call.args.iter().copied());
            kwargs.extend_from_slice(&call.kwargs);
        }
        let own = Tree::own_id(&options);
        let task_id = own.or(whole).unwrap_or_else(|| self.tree.draw());
        if own.is_none() {
            options.set("task_id", Setting::Id(task_id));
        }
        self.lowered.messages.push(Message {
            node: id,
            args,
            kwargs,
            options,
        });
        self.tree.expect(task_id, None)
    }

    pub(super) fn group(&mut self, id: NodeId, list: ListId, call: &Call) -> Result<PromiseId> {
        if self.tree.nodes(list).is_empty() {
            return self.tree.freeze(id, &Place::default());
        }
        let mut options = self.tree.node(id).options.merged(&call.options);
        let group_id = match options.take("task_id") {
            Some(given) if given != Setting::Null => given,
            _ => Setting::Id(self.tree.draw()),
        };
        options.set("group_id", group_id.clone());
        options.take("group_index");
        let chord = options
            .take("chord")
            .filter(|chord| *chord != Setting::Null);
        let root_id = options.some("root_id").cloned();
        let mut members = Vec::new();
        let mut promises = Vec::new();
        for task in self.tree.unrolled(self.tree.nodes(list).to_vec()) {
            let copy = self.tree.copy(task);
            let place = Place {
                group_id: Some(group_id.clone()),
                group_index: u32::try_from(members.len()).ok(),
                root_id: root_id.clone(),
                ..Place::default()
            };
            promises.push(self.tree.freeze(copy, &place)?);
            members.push(copy);
        }
        let size = members.iter().map(|&m| self.tree.count_results(m)).sum();
        let of = |tree: &Tree, member| {
            chord
                .clone()
                .or(tree.node(member).options.some("chord").cloned())
        };
        if let Some(&last) = members.last()
            && of(self.tree, last).is_some()
            && size > 0
        {
            let is_nested = |&member: &PromiseId| self.tree.promise(member).members.is_some();
            let members = promises.iter().any(is_nested).then(|| promises.clone());
            self.lowered.chord_sizes.push(ChordSize {
                group_id: group_id.clone(),
                size,
                members,
            });
        }
        for &member in &members {
            let mut options = options.clone();
            options.set("add_to_parent", Setting::No);
            options.set("chord", of(self.tree, member).unwrap_or(Setting::Null));
            let call = Call {
                args: call.args.clone(),
                kwargs: call.kwargs.clone(),
                options,
            };
            self.apply(member, &call, None)?;
        }
        if let [only] = promises[..]
            && self.tree.promise(only).members.is_some()
        {
            return Ok(only);
        }
        let id = match group_id {
            Setting::Id(id) => id,
            Setting::Given(given) => Id::Given(given),
            _ => self.tree.draw(),
        };
        Ok(self.tree.expect(id, Some(promises)))
    }

    fn chain(
        &mut self,
        id: NodeId,
        list: ListId,
        call: &Call,
        whole: Option<Id>,
    ) -> Result<Option<PromiseId>> {
        let node = self.tree.node(id);
        let mut options = node.options.clone();
        options.update(&call.options);
        let mut args = node.args.clone();
        if !node.is_immutable {
            args.splice(0..0, call.args.iter().copied());
        }
        let link = options.list("link");
        let steps = Steps {
            tasks: self.tree.nodes(list).to_vec(),
            args,
            kwargs: call.kwargs.clone(),
            link_error: options.list("link_error"),
            place: Place {
                id: Tree::own_id(&options).or(whole),
                group_id: options.some("group_id").cloned(),
                group_index: match options.some("group_index") {
                    Some(Setting::Index(index)) => Some(*index),
                    _ => None,
                },
                chord: options.some("chord").cloned(),
                root_id: options.some("root_id").cloned(),
                parent_id: options.some("parent_id").cloned(),
            },
            is_copy: true,
        };
        let mut options = options.without(&super::steps::RUN_OPTIONS);
        let mut prepared = self.tree.prepare(id, steps)?;
        let (Some(&final_step), Some(&promise)) =
            (prepared.tasks.first(), prepared.promises.first())
        else {
            return Ok(None);
        };
        if !link.is_empty() {
            self.tree.options_mut(final_step).extend("link", &link);
        }
        let Some(first) = prepared.tasks.pop() else {
            return Ok(None);
        };
        let rest: Vec<_> = prepared.tasks.into_iter().map(Item::Canvas).collect();
        let is_lone = rest.is_empty();
        let mut chain = options.list("chain");
        chain.extend(rest);
        options.set("chain", Setting::List(chain));
        let call = Call {
            options,
            ..Call::default()
        };
        let applied = self.apply(first, &call, None)?;
        Ok(if is_lone { applied } else { Some(promise) })
    }
}

//! Ids for everything in a canvas, before any of it leaves.

use super::options::{Id, Options, Setting};
use super::steps::Steps;
use super::tree::{Header, Kind, ListId, Node, NodeId, PromiseId, Tree, deeper};
use crate::error::{Error, Result};

/// What a frozen canvas gets from the canvas around it.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its id, unless it has one.
    pub id: Option<Id>,
    /// The group it belongs to.
    pub group_id: Option<Setting>,
    /// Its position in that group.
    pub group_index: Option<u32>,
    /// The body that follows that group.
    pub chord: Option<Setting>,
    /// The first task of all.
    pub root_id: Option<Setting>,
    /// The task that sends it.
    pub parent_id: Option<Setting>,
}

impl Tree {
    /// Gives a canvas and all in it their ids; those that have one keep it.
    ///
    /// # Errors
    /// [`Error::EmptyChain`] if a chain without steps needs a promise.
    pub fn freeze(&mut self, id: NodeId, place: &Place) -> Result<PromiseId> {
        deeper(|| self.freeze_here(id, place))
    }

    fn freeze_here(&mut self, id: NodeId, place: &Place) -> Result<PromiseId> {
        match self.node(id).kind {
            Kind::Task => Ok(self.freeze_task(id, place)),
            Kind::Group(list) => self.freeze_group(id, list, place),
            Kind::Chain(list) => {
                let node = self.node(id);
                let steps = Steps {
                    tasks: self.nodes(list).to_vec(),
                    args: node.args.clone(),
                    kwargs: Vec::new(),
                    link_error: Vec::new(),
                    place: place.clone(),
                    is_copy: false,
                };
                let prepared = self.prepare(id, steps)?;
                prepared.promises.first().copied().ok_or(Error::EmptyChain)
            }
            Kind::Chord { header, body } => self.freeze_chord(id, header, body, place),
        }
    }

    fn freeze_task(&mut self, id: NodeId, place: &Place) -> PromiseId {
        let own = Self::own_id(&self.node(id).options);
        let task_id = own.or(place.id).unwrap_or_else(|| self.draw());
        let options = self.options_mut(id);
        if own.is_none() {
            options.set("task_id", Setting::Id(task_id));
        }
        set_some(options, "root_id", place.root_id.as_ref());
        set_some(options, "parent_id", place.parent_id.as_ref());
        options.set_default("reply_to", Setting::ReplyTo);
        if let Some(group_id) = &place.group_id {
            options.set_default("group_id", group_id.clone());
        }
        set_some(options, "chord", place.chord.as_ref());
        if let Some(index) = place.group_index {
            options.set("group_index", Setting::Index(index));
        }
        self.expect(task_id, None)
    }

    fn freeze_group(&mut self, id: NodeId, list: ListId, place: &Place) -> Result<PromiseId> {
        let own = Self::own_id(&self.node(id).options);
        let group_id = own.unwrap_or_else(|| self.draw());
        let options = self.options_mut(id);
        if own.is_none() {
            options.set("task_id", Setting::Id(group_id));
        }
        set_some(options, "group_id", place.group_id.as_ref());
        set_some(options, "chord", place.chord.as_ref());
        if let Some(index) = place.group_index {
            options.set("group_index", Setting::Index(index));
        }
        // Null is written too, and stays.
        let lineage = |options: &mut Options, key, given: &Option<Setting>| {
            options.set_default(key, given.clone().unwrap_or(Setting::Null));
            options.some(key).cloned()
        };
        let member = Place {
            id: None,
            group_id: place.group_id.clone(),
            group_index: None,
            chord: place.chord.clone(),
            root_id: lineage(options, "root_id", &place.root_id),
            parent_id: lineage(options, "parent_id", &place.parent_id),
        };
        let mut frozen = Vec::new();
        let mut promises = Vec::new();
        for task in self.unrolled(self.nodes(list).to_vec()) {
            let copy = self.copy(task);
            let place = Place {
                group_index: u32::try_from(frozen.len()).ok(),
                ..member.clone()
            };
            promises.push(self.freeze(copy, &place)?);
            frozen.push(copy);
        }
        self.set_nodes(list, frozen);
        Ok(self.expect(group_id, Some(promises)))
    }

    fn freeze_chord(
        &mut self,
        id: NodeId,
        header: Header,
        body: NodeId,
        place: &Place,
    ) -> Result<PromiseId> {
        let group = match header {
            Header::Group(group) => group,
            Header::List(list) => {
                let group = self.add(Node {
                    origin: None,
                    kind: Kind::Group(list),
                    args: Vec::new(),
                    kwargs: Vec::new(),
                    options: Options::new(),
                    is_immutable: false,
                });
                self.node_mut(id).kind = Kind::Chord {
                    header: Header::Group(group),
                    body,
                };
                group
            }
        };
        let before = self.freeze(
            group,
            &Place {
                chord: self.callback(body),
                root_id: place.root_id.clone(),
                parent_id: place.parent_id.clone(),
                ..Place::default()
            },
        )?;
        let group_id = self.promise(before).id;
        self.options_mut(id).set("task_id", Setting::Id(group_id));
        let after = self.freeze(
            body,
            &Place {
                parent_id: None,
                ..place.clone()
            },
        )?;
        let first = self.first_of(after);
        self.promise_mut(first).parent = Some(before);
        Ok(after)
    }

    /// The body as its header's tasks carry it; they carry none if it is an empty group.
    pub(super) fn callback(&self, body: NodeId) -> Option<Setting> {
        (!self.is_empty_group(body)).then_some(Setting::Canvas(body))
    }

    /// The members of nested groups, left to right; chains without steps are none.
    pub(super) fn unrolled(&self, tasks: Vec<NodeId>) -> Vec<NodeId> {
        let mut flat = Vec::with_capacity(tasks.len());
        let mut pending = tasks;
        pending.reverse();
        while let Some(task) = pending.pop() {
            if self.is_group(task) {
                pending.extend(self.members(task).iter().rev());
            } else if !self.is_empty_chain(task) {
                flat.push(task);
            }
        }
        flat
    }

    /// The promise without a parent that this one follows, through others.
    pub(super) fn first_of(&self, promise: PromiseId) -> PromiseId {
        let mut first = promise;
        while let Some(parent) = self.promise(first).parent {
            first = parent;
        }
        first
    }
}

fn set_some(options: &mut Options, key: &'static str, setting: Option<&Setting>) {
    if let Some(setting) = setting.filter(|setting| **setting != Setting::Null) {
        options.set(key, setting.clone());
    }
}

//! The steps of a chain, frozen from the last to the first.

use super::freeze::Place;
use super::options::{Given, Item, Options, Setting};
use super::tree::{Header, Kind, MAX_DEPTH, Node, NodeId, PromiseId, Tree, deeper};
use crate::error::{Error, Result};

/// A chain before it is prepared.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub(super) tasks: Vec<NodeId>,
    /// For the first step.
    pub(super) args: Vec<Given>,
    pub(super) kwargs: Vec<Given>,
    /// Errbacks of every step.
    pub(super) link_error: Vec<Item>,
    /// The chain's place: its last step gets the id, the group and the chord.
    pub(super) place: Place,
    /// Whether the steps are copied, to be sent; else they are frozen themselves.
    pub(super) is_copy: bool,
}

/// Steps and their promises, in reverse: a worker takes the next step from the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    pub(super) tasks: Vec<NodeId>,
    pub(super) promises: Vec<PromiseId>,
}

/// The step before, which is the next to run.
#[derive(Clone, Copy, Debug)]
struct Next {
    task: Option<NodeId>,
    promise: Option<PromiseId>,
}

impl Tree {
    /// Freezes the steps of chain `id`, and upgrades and unrolls the canvases inside.
    pub(super) fn prepare(&mut self, id: NodeId, steps: Steps) -> Result<Prepared> {
        let Steps {
            tasks,
            args,
            kwargs,
            link_error,
            place,
            is_copy,
        } = steps;
        let mut steps = self.with_real_head(tasks, is_copy);
        let mut done = Prepared::default();
        let mut next = Next {
            task: None,
            promise: None,
        };
        let mut is_last = true;
        // Groups in a row become chords in the bodies of chords.
        let mut levels = 0;
        while let Some(step) = steps.pop() {
            let is_first = steps.is_empty();
            let mut task = self.without_lone_group(step);
            if self.is_empty_group(task) && (!is_first || next.task.is_some()) {
                continue;
            }
            if is_copy && self.has_splittable_body(task) {
                steps.extend(self.split_body(task));
                continue;
            }
            if is_copy {
                let (args, kwargs): (&[_], &[_]) = if is_first {
                    (&args, &kwargs)
                } else {
                    (&[], &[])
                };
                task = self.copy_with(task, args, kwargs, &Options::new());
            } else if is_first {
                self.node_mut(task).args.splice(0..0, args.iter().copied());
            }
            if let Kind::Chain(list) = self.node(task).kind {
                steps.extend_from_slice(self.nodes(list));
                continue;
            }
            if self.is_group(task)
                && let Some(body) = next.task
            {
                levels += 1;
                if levels > MAX_DEPTH {
                    return Err(Error::TooDeep {
                        path: "chain".to_owned(),
                        limit: MAX_DEPTH,
                    });
                }
                task = self.upgrade(task, body, &mut next, &mut done, &place);
            } else {
                levels = 0;
            }
            let around = if is_last {
                Place {
                    parent_id: None,
                    ..place.clone()
                }
            } else {
                Place {
                    root_id: place.root_id.clone(),
                    ..Place::default()
                }
            };
            let promise = self.freeze(task, &around)?;
            is_last = false;
            if let (Some(_), Some(after)) = (next.task, next.promise)
                && self.promise(after).parent.is_none()
            {
                self.promise_mut(after).parent = Some(promise);
            }
            self.link_errors(task, &link_error);
            done.tasks.push(task);
            done.promises.push(promise);
            // The step before a chord comes before its header.
            let reached = if self.is_chord(task) {
                self.first_of(promise)
            } else {
                promise
            };
            next = Next {
                task: Some(task),
                promise: Some(reached),
            };
        }
        let own = match done.promises.first() {
            Some(&last) => Some(Setting::Id(self.promise(last).id)),
            None => place.id.map(Setting::Id),
        };
        self.options_mut(id)
            .set("task_id", own.unwrap_or(Setting::Null));
        if is_copy {
            for &task in &done.tasks {
                self.drop_header_links(task);
            }
        }
        Ok(done)
    }

    /// Links a chain's errbacks to a step.
    fn link_errors(&mut self, task: NodeId, errbacks: &[Item]) {
        for &errback in errbacks {
            self.link_error(task, errback);
            if let Kind::Chord { body, .. } = self.node(task).kind {
                self.link_error(body, errback);
            }
        }
    }

    /// Unrolls chains and drops empty groups at the head, so that the first step is a real one:
    /// it gets the arguments.
    fn with_real_head(&mut self, tasks: Vec<NodeId>, is_copy: bool) -> Vec<NodeId> {
        let mut steps = tasks;
        steps.reverse();
        let mut dropped = None;
        while let Some(&head) = steps.last() {
            if let Kind::Chain(_) = self.node(head).kind {
                steps.pop();
                let chain = if is_copy { self.copy(head) } else { head };
                steps.extend(self.members(chain).iter().rev());
                continue;
            }
            let unrolled = self.without_lone_group(head);
            if let Some(last) = steps.last_mut() {
                *last = unrolled;
            }
            if steps.len() > 1 && self.is_empty_group(unrolled) {
                dropped = steps.pop();
                continue;
            }
            break;
        }
        if steps.is_empty() {
            steps.extend(dropped);
        }
        steps.reverse();
        steps
    }

    /// A group that something follows is the header of a chord.
    fn upgrade(
        &mut self,
        group: NodeId,
        body: NodeId,
        next: &mut Next,
        done: &mut Prepared,
        place: &Place,
    ) -> NodeId {
        done.tasks.pop();
        let replaced = done.promises.pop();
        let mut options = Options::new();
        // A group has no task id of its own.
        if let Some(promise) = next.promise.map(|promise| self.promise(promise).clone())
            && promise.members.is_none()
        {
            options.set("task_id", Setting::Id(promise.id));
        }
        options.set("root_id", place.root_id.clone().unwrap_or(Setting::Null));
        let members = self.members(group).to_vec();
        let header = Header::List(self.list(members));
        let chord = self.add(Node {
            origin: None,
            kind: Kind::Chord { header, body },
            args: Vec::new(),
            kwargs: Vec::new(),
            options,
            is_immutable: false,
        });
        next.task = done.tasks.last().copied();
        // The steps after the body now follow the chord.
        let mut node = done.promises.last().copied();
        while let Some(found) = node {
            let parent = self.promise(found).parent;
            if parent == replaced {
                self.promise_mut(found).parent = None;
                next.promise = Some(found);
                break;
            }
            node = parent;
        }
        chord
    }

    fn has_splittable_body(&self, task: NodeId) -> bool {
        match self.node(task).kind {
            Kind::Chord { body, .. } => self.is_chain_led_by_task(body),
            _ => false,
        }
    }

    /// `chord(header, chain(a, b, c))` as `chord(header, a), b, c`: the later steps need not travel
    /// with every task of the header.
    fn split_body(&mut self, chord: NodeId) -> Vec<NodeId> {
        let chord = self.copy(chord);
        let Kind::Chord { header, body } = self.node(chord).kind else {
            return vec![chord];
        };
        let first_options = self.node(body).options.without(&RUN_OPTIONS);
        let mut tasks = self.unchained(body);
        if tasks.is_empty() {
            return vec![chord];
        }
        let first = self.copy_with(tasks[0], &[], &[], &first_options);
        self.node_mut(chord).kind = Kind::Chord {
            header,
            body: first,
        };
        tasks[0] = chord;
        tasks
    }

    /// Copies of a chain's steps that carry the chain's callbacks.
    pub(super) fn unchained(&mut self, chain: NodeId) -> Vec<NodeId> {
        let options = self.node(chain).options.clone();
        let steps = self.members(chain).to_vec();
        let copies: Vec<_> = steps.into_iter().map(|step| self.copy(step)).collect();
        if let Some(&last) = copies.last() {
            for callback in options.list("link") {
                self.link(last, callback);
            }
        }
        for errback in options.list("link_error") {
            for &step in &copies {
                self.link_error(step, errback);
            }
        }
        copies
    }

    /// Splits the bodies of chords in a chain, so that none holds the rest of the chain.
    pub(super) fn split_bodies(&mut self, chain: NodeId) {
        let Kind::Chain(list) = self.node(chain).kind else {
            return;
        };
        let mut pending: Vec<_> = self.nodes(list).iter().rev().copied().collect();
        let mut steps = Vec::with_capacity(pending.len());
        while let Some(mut step) = pending.pop() {
            if let Kind::Chain(_) = self.node(step).kind {
                step = self.copy(step);
                self.split_bodies(step);
            }
            if self.has_splittable_body(step) {
                let split = self.split_body(step);
                pending.extend(split.into_iter().rev());
            } else {
                steps.push(step);
            }
        }
        self.set_nodes(list, steps);
    }

    /// Takes a waiting chord's body off the tasks of its header: it stands in the chord, and is
    /// put there again when the header is sent.
    pub(super) fn drop_header_links(&mut self, id: NodeId) {
        deeper(|| self.drop_header_links_here(id));
    }

    fn drop_header_links_here(&mut self, id: NodeId) {
        match self.node(id).kind {
            Kind::Task => {}
            Kind::Group(list) | Kind::Chain(list) => {
                for task in self.nodes(list).to_vec() {
                    self.drop_header_links(task);
                }
            }
            Kind::Chord { header, body } => {
                if let Header::Group(group) = header {
                    self.drop_chord(group);
                }
                for task in self.header(header).to_vec() {
                    self.drop_header_links(task);
                }
                self.drop_header_links(body);
            }
        }
    }

    fn drop_chord(&mut self, id: NodeId) {
        self.options_mut(id).take("chord");
        match self.node(id).kind {
            Kind::Task => {}
            Kind::Group(list) => {
                for task in self.nodes(list).to_vec() {
                    self.drop_chord(task);
                }
            }
            Kind::Chain(list) => {
                if let Some(&last) = self.nodes(list).last() {
                    self.drop_chord(last);
                }
            }
            Kind::Chord { body, .. } => self.drop_chord(body),
        }
    }
}

/// Options that a chain keeps to itself when it runs.
pub(super) const RUN_OPTIONS: [&str; 8] = [
    "chord",
    "group_id",
    "group_index",
    "link",
    "link_error",
    "parent_id",
    "root_id",
    "task_id",
];

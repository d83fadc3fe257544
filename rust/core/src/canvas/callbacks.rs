//! `link` and `link_error` on canvases of every kind.

use super::options::{Item, Options};
use super::tree::{Header, Kind, NodeId, Tree, deeper};

impl Tree {
    /// Links a callback: to a chord's body, or immutable to a group's first member.
    pub(super) fn link(&mut self, id: NodeId, callback: Item) {
        match self.node(id).kind {
            Kind::Group(list) => match self.nodes(list).first() {
                Some(&first) => self.link(first, callback.immutable()),
                None => self.options_mut(id).append("link", callback),
            },
            Kind::Chord { body, .. } => self.link(body, callback),
            Kind::Task | Kind::Chain(_) => self.options_mut(id).append("link", callback),
        }
    }

    /// Links an errback: to all members of a group, or to a chord's body and, if the settings say
    /// so, its header.
    pub(super) fn link_error(&mut self, id: NodeId, errback: Item) {
        deeper(|| self.link_error_here(id, errback));
    }

    fn link_error_here(&mut self, id: NodeId, errback: Item) {
        match self.node(id).kind {
            Kind::Group(list) => {
                for member in self.nodes(list).to_vec() {
                    self.link_error(member, errback);
                }
            }
            Kind::Chord { header, body } => {
                self.link_header_error(header, errback);
                self.link_error(body, errback);
            }
            Kind::Task | Kind::Chain(_) => self.options_mut(id).append("link_error", errback),
        }
    }

    fn link_header_error(&mut self, header: Header, errback: Item) {
        let tasks = match header {
            Header::List(list) => self.nodes(list).to_vec(),
            Header::Group(group) => vec![group],
        };
        if self.links_errors_to_headers {
            for &task in &tasks {
                self.link_error(task, errback);
            }
        }
        for task in tasks {
            if self.is_chord(task) {
                self.link_error(task, errback);
            }
        }
    }

    /// Moves the callbacks in `options` to a chord's body; returns the body, copied if it changed.
    pub(super) fn add_body_callbacks(&mut self, body: NodeId, options: &mut Options) -> NodeId {
        let callbacks = options.list("link");
        let errbacks = options.list("link_error");
        options.take("link");
        options.take("link_error");
        if callbacks.is_empty() && errbacks.is_empty() {
            return body;
        }
        let body = self.copy_with_members(body);
        for callback in callbacks {
            if self.is_empty_group(body) {
                self.options_mut(body).append("link", callback);
            } else {
                self.link(body, callback);
            }
        }
        for errback in errbacks {
            if self.is_group(body) {
                self.link_body_error(body, errback, true);
            } else {
                self.options_mut(body).append("link_error", errback);
            }
        }
        body
    }

    /// Links an errback to each task of a group that is a chord's body. A group with errbacks of
    /// its own gets it too: when it is sent, its errbacks replace its members' errbacks.
    fn link_body_error(&mut self, id: NodeId, errback: Item, runs_as_group: bool) {
        match self.node(id).kind {
            Kind::Group(list) => {
                if runs_as_group && self.node(id).options.some("link_error").is_some() {
                    self.options_mut(id).append("link_error", errback);
                    return;
                }
                for member in self.nodes(list).to_vec() {
                    self.link_body_error(member, errback, false);
                }
            }
            Kind::Chord { body, .. } => self.link_body_error(body, errback, true),
            Kind::Task | Kind::Chain(_) => self.link_error(id, errback),
        }
    }

    /// A copy that shares nothing that linking changes.
    fn copy_with_members(&mut self, id: NodeId) -> NodeId {
        let copy = self.copy(id);
        match self.node(copy).kind {
            Kind::Group(list) => {
                let members = self.nodes(list).to_vec();
                let copies = members.into_iter().map(|m| self.copy_with_members(m));
                let copies = copies.collect();
                self.set_nodes(list, copies);
            }
            Kind::Chord { header, body } => {
                let body = self.copy_with_members(body);
                self.node_mut(copy).kind = Kind::Chord { header, body };
            }
            Kind::Task | Kind::Chain(_) => {}
        }
        copy
    }
}

//! Chords that leave now: their headers as groups, each task with the body.

use super::apply::{Applying, Call};
use super::freeze::Place;
use super::options::{Id, Options, Setting};
use super::tree::{Header, Kind, Node, NodeId, PromiseId, Tree};
use crate::error::Result;

impl Applying<'_> {
    pub(super) fn chord(
        &mut self,
        id: NodeId,
        header: Header,
        body: NodeId,
        call: &Call,
        whole: Option<Id>,
    ) -> Result<PromiseId> {
        let own = self.tree.node(id).options.clone();
        let mut args = self.tree.node(id).args.clone();
        if !self.tree.node(id).is_immutable {
            args.splice(0..0, call.args.iter().copied());
        }
        let mut kwargs = self.tree.node(id).kwargs.clone();
        kwargs.extend_from_slice(&call.kwargs);

        let mut options = call.options.clone();
        let task_id = Tree::own_id(&options);
        options.take("task_id");
        let mut delay = take_delay(&mut options);
        let callbacks = take_some(&mut options, &["link", "link_error"]);
        let body_options = options.without(&["parent_id"]);
        let body = self.tree.copy_with(body, &[], &[], &body_options);
        let header = self.header(header, &own);

        let mut merged = own.clone();
        merged.update(&options);
        merged.update(&callbacks);
        let task_id = task_id.or(Tree::own_id(&merged));
        // The chord's own and the call's; neither delays the body.
        for (key, setting) in take_delay(&mut merged).iter() {
            if !delay.has(key) {
                delay.set(key.clone(), setting.clone());
            }
        }
        merged.take("task_id");
        self.run_chord(
            header,
            body,
            merged,
            &delay,
            task_id.or(whole),
            Call {
                args,
                kwargs,
                options: Options::new(),
            },
        )
    }

    /// The header as a group of its own, under the chord's id if it has one.
    fn header(&mut self, header: Header, own: &Options) -> NodeId {
        match header {
            Header::Group(group) => self.tree.copy(group),
            Header::List(list) => {
                let group_id = Tree::own_id(own).unwrap_or_else(|| self.tree.draw());
                let options = [("task_id".into(), Setting::Id(group_id))];
                let list = self.tree.list(self.tree.nodes(list).to_vec());
                self.tree.add(Node {
                    origin: None,
                    kind: Kind::Group(list),
                    args: Vec::new(),
                    kwargs: Vec::new(),
                    options: options.into_iter().collect(),
                    is_immutable: false,
                })
            }
        }
    }

    fn run_chord(
        &mut self,
        header: NodeId,
        body: NodeId,
        mut options: Options,
        delay: &Options,
        whole: Option<Id>,
        call: Call,
    ) -> Result<PromiseId> {
        let tree = &mut *self.tree;
        let group_id = Tree::own_id(&tree.node(header).options).unwrap_or_else(|| tree.draw());
        let root_id = tree.node(body).options.some("root_id").cloned();
        let body = tree.add_body_callbacks(body, &mut options);
        tree.options_mut(body)
            .update(&options.without(&["parent_id"]));
        // If it were frozen first, a chord in the body would carry all that follows it.
        tree.split_bodies(body);
        let place = Place {
            id: whole,
            group_id: Some(Setting::Id(group_id)),
            root_id: root_id.clone(),
            ..Place::default()
        };
        let promise = tree.freeze(body, &place)?;
        tree.drop_header_links(body);
        options.take("chain");
        options.take("chord");
        tree.options_mut(header)
            .set("task_id", Setting::Id(group_id));
        let place = Place {
            group_id: Some(Setting::Id(group_id)),
            chord: tree.callback(body),
            root_id,
            ..Place::default()
        };
        let frozen = tree.freeze(header, &place)?;
        // No task of such a header would send the body: it is empty, or has empty groups alone.
        let is_silent = tree.count_results(header) == 0;
        let before = if tree.members(header).is_empty() {
            frozen
        } else {
            options.update(delay);
            options.set("task_id", Setting::Id(group_id));
            let Kind::Group(list) = self.tree.node(header).kind else {
                return Ok(promise);
            };
            self.group(header, list, &Call { options, ..call })?
        };
        if is_silent {
            let nothing = Call {
                args: vec![self.no_results],
                ..Call::default()
            };
            self.apply(body, &nothing, None)?;
        }
        self.tree.promise_mut(promise).parent = Some(before);
        Ok(promise)
    }
}

/// Takes out `countdown` and `eta`.
fn take_delay(options: &mut Options) -> Options {
    take_some(options, &["countdown", "eta"]).without_null()
}

fn take_some(options: &mut Options, keys: &[&'static str]) -> Options {
    let mut taken = Options::new();
    for &key in keys {
        if let Some(setting) = options.take(key) {
            taken.set(key, setting);
        }
    }
    taken
}

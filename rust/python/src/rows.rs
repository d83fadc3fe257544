//! Rows of tables into the chunk, without a Python object for any value.

use std::sync::Arc;

use celerant_arrow::fault::Fault;
use celerant_arrow::rows::Rows;
use celerant_core::message::{Body, Member};
use celerant_core::value::ValueRef;
use pyo3::prelude::*;

use crate::chunk::extend;
use crate::error::{Raised, canvas_error};
use crate::frames::{Leaf, Mapped, Row};
use crate::plan::failed;
use crate::reading::Reading;

/// The part of a chunk that its rows share.
pub(crate) struct Shared {
    /// Their task and options; one for each table that is walked.
    mapped: Arc<Mapped>,
    is_wired: bool,
    /// The number of the template in that part.
    template: u32,
    is_ignored: bool,
    /// No keywords.
    kwargs: ValueRef,
}

impl Reading<'_, '_> {
    /// Puts a row into the chunk, with the arguments and options of its group's call.
    pub(crate) fn row(&mut self, index: u32, row: &Row) -> PyResult<()> {
        let Row {
            rows, at, mapped, ..
        } = row;
        if self.shared_by_rows(rows, mapped)?.is_none() {
            // Looked at by Python: a route that depends on arguments, another serializer, a
            // listener, or arguments that do not fit.
            let table = row.table.bind(self.py).get();
            let args = table.arguments(self.py, rows, *at);
            let args = args.map_err(|error| self.named(index, mapped.task.bind(self.py), error))?;
            return self.item(index, args.into_any(), mapped);
        }
        self.push_row(index, rows, *at)
    }

    /// The rows after this one that may be read with it, if it is one.
    pub(crate) fn next_rows(&self, leaf: &Leaf) -> Option<(Arc<Rows>, usize)> {
        match leaf {
            Leaf::Row(row) if self.plan.wants_all() && row.at + 1 < row.rows.len() => {
                Some((Arc::clone(&row.rows), row.at + 1))
            }
            _ => None,
        }
    }

    /// Puts rows into the chunk from `at` on, for as long as it has room, once it is known what
    /// they share: one call for all of them.
    pub(crate) fn rows_from(
        &mut self,
        rows: &Rows,
        at: usize,
        members: usize,
        bytes: usize,
    ) -> PyResult<()> {
        if self.by_rows.is_none() {
            return Ok(());
        }
        for at in at..rows.len() {
            if self.len() >= members || self.len_bytes() >= bytes {
                break;
            }
            let unroll = &mut self.progress.unroll;
            let counted = unroll.count_one();
            if let Some(walk) = unroll.innermost() {
                walk.pass_row();
            }
            let index =
                counted.map_err(|failure| failed(self.py, &self.progress.unroll, failure))?;
            self.results += 1;
            self.push_row(index, rows, at)?;
            self.progress.read = index + 1;
        }
        Ok(())
    }

    fn push_row(&mut self, index: u32, rows: &Rows, at: usize) -> PyResult<()> {
        let Some(shared) = &self.by_rows else {
            return Ok(());
        };
        let (template, kwargs) = (shared.template, shared.kwargs);
        let (is_wired, is_ignored) = (shared.is_wired, shared.is_ignored);
        let position = self.plan.position(index);
        let chunk = self.part(is_wired);
        let args = match rows.push(at, &mut chunk.arena) {
            Ok(args) => args,
            Err(Fault::Core(error)) => return Err(Raised::from(error).into()),
            Err(Fault::Refused(reason)) => {
                let path = self.path();
                return Err(canvas_error(self.py, &format!("{path}: {reason}"), &path));
            }
        };
        chunk.members.push(Member {
            template,
            index,
            position,
            args,
            kwargs,
            own_id: None,
            body: Body::Plain {
                args,
                kwargs,
                embed: None,
            },
        });
        if is_ignored {
            extend(&mut self.ignored, index);
        }
        Ok(())
    }

    /// Finds out what rows of a table share; None if each has to be looked at.
    ///
    /// It is known once the first row of a chunk was read as any other member.
    fn shared_by_rows(&mut self, rows: &Rows, mapped: &Arc<Mapped>) -> PyResult<Option<()>> {
        let task = mapped.task.bind(self.py);
        if let Some(shared) = &self.by_rows
            && Arc::ptr_eq(&shared.mapped, mapped)
        {
            return Ok(Some(()));
        }
        // Of another table.
        self.by_rows = None;
        let Some((known, number)) = &self.plainest else {
            return Ok(None);
        };
        let number = *number;
        let is_bare = self.plan.args.bind(self.py).is_empty()
            && self.plan.kwargs.bind(self.py).is_empty()
            && mapped.options.bind(self.py).is_empty();
        if !is_bare || !known.is(task) {
            return Ok(None);
        }
        let known = self.progress.templates.get(number);
        let template = known.python.get();
        if template.embed.is_none() || template.heard.is_some() {
            return Ok(None);
        }
        if let Some(parameters) = &template.parameters
            && !parameters.fit(rows.width(), self.plan.kwargs.bind(self.py))?
        {
            return Ok(None);
        }
        let (is_wired, registered) = self.register(number, &known);
        let arena = &mut self.part(is_wired).arena;
        let kwargs = arena.position().map_err(Raised::from)?;
        arena.push_dict(0).map_err(Raised::from)?;
        self.by_rows = Some(Shared {
            mapped: Arc::clone(mapped),
            is_wired,
            template: registered,
            is_ignored: template.is_ignored,
            kwargs,
        });
        Ok(Some(()))
    }
}

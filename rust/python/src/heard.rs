//! Members that somebody hears of before they leave, and what became of them then.

use std::collections::HashMap;
use std::sync::Arc;

use celerant_core::message::{Body, Chunk};
use celerant_core::wire::redis::Route;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::Call;
use crate::chunk::PyChunk;
use crate::convert::Reader;
use crate::error::Raised;
use crate::frames::Kinds;
use crate::reading::value;
use crate::template::PyTemplate;
use crate::templates::number_of;

/// Another template or None, args, kwargs, the body's third item or None for the template's, and
/// headers of the member's own.
pub(crate) type Rewritten<'py> = (
    Option<Py<PyTemplate>>,
    Bound<'py, PyAny>,
    Bound<'py, PyDict>,
    Option<Bound<'py, PyDict>>,
    Vec<Vec<u8>>,
);

/// A member with its arguments as Python has them.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) is_wired: bool,
    /// Among the members that are wired, or among those that are not.
    pub(crate) position: usize,
    template: Arc<Py<PyTemplate>>,
    pub(crate) args: Py<PyAny>,
    pub(crate) kwargs: Py<PyDict>,
    pub(crate) embed: Option<Py<PyDict>>,
}

impl Heard {
    pub(crate) fn new<'py>(
        is_wired: bool,
        position: usize,
        template: &Arc<Py<PyTemplate>>,
        call: &Call<'py>,
        embed: Option<Bound<'py, PyDict>>,
    ) -> Self {
        Self {
            is_wired,
            position,
            template: Arc::clone(template),
            args: call.args.clone().unbind(),
            kwargs: call.kwargs.clone().unbind(),
            embed: embed.map(Bound::unbind),
        }
    }

    /// What the member's template says of those who hear.
    pub(crate) fn told<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        let heard = self.template.get().heard.as_ref();
        heard.map_or_else(|| py.None().into_bound(py), |heard| heard.bind(py).clone())
    }
}

/// All of one chunk's.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// In the order of the group.
    pub(crate) members: Vec<Heard>,
    kinds: Arc<Kinds>,
}

impl Hearing {
    pub(crate) fn of(members: Vec<Heard>, kinds: &Arc<Kinds>) -> Option<Box<Self>> {
        let kinds = || Arc::clone(kinds);
        (!members.is_empty()).then(|| {
            Box::new(Self {
                members,
                kinds: kinds(),
            })
        })
    }
}

/// A chunk that is written again. `argsrepr` and `kwargsrepr` stay what they were.
pub(crate) struct Rewriting<'a, 'py> {
    py: Python<'py>,
    from: &'a PyChunk,
    kinds: &'a Arc<Kinds>,
    wired: Chunk,
    loose: Chunk,
    forms: Vec<Py<PyAny>>,
    routes: Arc<Vec<Route>>,
    /// Templates that are new here, by their address -> (is wired, number in its chunk).
    placed: HashMap<usize, (bool, u32)>,
    /// Wired members that kombu has to publish now, and the other way round.
    moved: Vec<(bool, usize)>,
}

impl<'a, 'py> Rewriting<'a, 'py> {
    pub(crate) fn of(py: Python<'py>, from: &'a PyChunk, hearing: &'a Hearing) -> Self {
        Self {
            py,
            from,
            kinds: &hearing.kinds,
            wired: from.wired.clone(),
            loose: from.loose.clone(),
            forms: from.forms.iter().map(|form| form.clone_ref(py)).collect(),
            routes: Arc::clone(&from.routes),
            placed: HashMap::new(),
            moved: Vec::new(),
        }
    }

    pub(crate) fn member(&mut self, heard: &Heard, new: &Rewritten<'py>) -> PyResult<()> {
        let (template, args, kwargs, embed, own) = new;
        let (is_wired, number) = match template {
            Some(template) => {
                let (is_wired, number) = self.place(template);
                (is_wired, Some(number))
            }
            None => (heard.is_wired, None),
        };
        let template = template.as_ref().unwrap_or(&heard.template).get();
        let kinds = Arc::clone(self.kinds);
        let chunk = self.part(is_wired);
        let mut reader = Reader::new(&mut chunk.arena);
        let written = (value(&mut reader, args)?, value(&mut reader, kwargs)?);
        let mut reader = reader.with_canvases(&kinds);
        let third = match embed {
            Some(embed) => Some(value(&mut reader, embed.as_any())?),
            None => None,
        };
        let body = if reader.is_plain && template.embed.is_some() {
            Body::Plain {
                args: written.0,
                kwargs: written.1,
                embed: third,
            }
        } else {
            let bytes = template.encoded(args, kwargs, embed.as_ref())?;
            Body::Ready(chunk.arena.store(bytes.as_bytes()).map_err(Raised::from)?)
        };
        let mut member = self.part(heard.is_wired).members[heard.position];
        if !own.is_empty() {
            let chunk = self.part(is_wired);
            let spans = own.iter().map(|bytes| chunk.arena.store(bytes));
            let spans = spans.collect::<Result<_, _>>().map_err(Raised::from)?;
            chunk.own.insert(member.index, spans);
        }
        member.body = body;
        member.template = number.unwrap_or(member.template);
        if is_wired == heard.is_wired {
            self.part(is_wired).members[heard.position] = member;
            return Ok(());
        }
        // Its new template says the reprs itself.
        (member.args, member.kwargs) = written;
        let own_id = member.own_id;
        let id = own_id.map(|id| self.original(heard.is_wired).arena.text(id).to_vec());
        let chunk = self.part(is_wired);
        member.own_id = match id {
            Some(id) => Some(chunk.arena.store(&id).map_err(Raised::from)?),
            None => None,
        };
        chunk.members.push(member);
        self.moved.push((heard.is_wired, heard.position));
        Ok(())
    }

    pub(crate) fn chunk(mut self) -> PyChunk {
        for (is_wired, position) in std::mem::take(&mut self.moved).into_iter().rev() {
            self.part(is_wired).members.remove(position);
        }
        self.wired.members.sort_by_key(|member| member.index);
        self.loose.members.sort_by_key(|member| member.index);
        let from = self.from;
        let sizes = from.chord_sizes.iter();
        let chord_sizes = sizes.map(|(id, size, form)| {
            let form = form.as_ref().map(|form| form.clone_ref(self.py));
            (id.clone_ref(self.py), *size, form)
        });
        PyChunk {
            ids: from.ids.clone(),
            chord_sizes: chord_sizes.collect(),
            wired: self.wired,
            routes: self.routes,
            loose: self.loose,
            forms: self.forms,
            ignored: from.ignored.clone(),
            results: from.results,
            is_last: from.is_last,
            is_due: from.is_due,
            len_bytes: from.len_bytes,
            several: from.several.clone(),
            shared: from.shared.clone(),
            hearing: None,
        }
    }

    fn part(&mut self, is_wired: bool) -> &mut Chunk {
        if is_wired {
            &mut self.wired
        } else {
            &mut self.loose
        }
    }

    fn original(&self, is_wired: bool) -> &Chunk {
        if is_wired {
            &self.from.wired
        } else {
            &self.from.loose
        }
    }

    /// Makes sure that the chunk knows a template; returns whether it is wired, and its number.
    fn place(&mut self, template: &Py<PyTemplate>) -> (bool, u32) {
        let address = template.as_ptr() as usize;
        if let Some(&placed) = self.placed.get(&address) {
            return placed;
        }
        let form = template.get().form.get();
        if let Some(loose) = &form.loose {
            self.forms.push(loose.clone_ref(self.py));
        }
        let is_wired = form.loose.is_none();
        let core = template
            .get()
            .core(number_of(&form.route, &mut self.routes));
        let templates = &mut self.part(is_wired).templates;
        templates.push(Arc::new(core));
        let last = u32::try_from(templates.len() - 1).unwrap_or(u32::MAX);
        self.placed.insert(address, (is_wired, last));
        (is_wired, last)
    }
}

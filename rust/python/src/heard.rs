//! Members that a listener hears of before they leave, and what it changed in them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use celerant_core::id::ID_LEN;
use celerant_core::message::{Body, Chunk};
use celerant_core::wire::redis::Route;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call::Call;
use crate::chord_size::copies;
use crate::chunk::PyChunk;
use crate::convert::{Reader, from_wtf8, value};
use crate::error::Raised;
use crate::frames::ReadTypes;
use crate::template::PyTemplate;
use crate::templates::{Known, number_of};

/// A member as its listener left it; read by its attributes.
#[derive(FromPyObject)]
pub(crate) struct Rewritten<'py> {
    /// Another one; None: it keeps its own.
    template: Option<Py<PyTemplate>>,
    args: Bound<'py, PyAny>,
    kwargs: Bound<'py, PyDict>,
    /// The body's third item; None: the template's.
    embed: Option<Bound<'py, PyDict>>,
    /// Headers of the member's own, encoded.
    own: Vec<Vec<u8>>,
}

/// A member as a listener hears of it, as Python's own values.
#[pyclass(frozen, get_all, module = "celerant._core", name = "Heard")]
#[derive(Debug)]
pub(crate) struct PyHeard {
    /// `heard` of its template.
    told: Py<PyAny>,
    id: Py<PyAny>,
    index: u32,
    group_index: u32,
    argsrepr: Py<PyAny>,
    kwargsrepr: Py<PyAny>,
    args: Py<PyAny>,
    kwargs: Py<PyDict>,
    /// The third item of the body, if that is the member's own.
    embed: Option<Py<PyDict>>,
}

/// A member with its arguments as Python has them.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) is_wired: bool,
    /// Among the members that are wired, or among those that are not.
    pub(crate) position: usize,
    template: Arc<Known>,
    args: Py<PyAny>,
    kwargs: Py<PyDict>,
    embed: Option<Py<PyDict>>,
}

impl Heard {
    pub(crate) fn new<'py>(
        is_wired: bool,
        position: usize,
        template: &Arc<Known>,
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

    /// The member, which is in `chunk`, as its listener hears of it.
    pub(crate) fn told(&self, py: Python<'_>, chunk: &PyChunk) -> PyResult<PyHeard> {
        let part = if self.is_wired {
            &chunk.wired
        } else {
            &chunk.generic
        };
        let Some(member) = part.members.get(self.position) else {
            return Err(PyIndexError::new_err("a member that was heard of is gone"));
        };
        let mut derived = [0; ID_LEN];
        let repr = |value| {
            let mut out = Vec::new();
            part.write_repr(value, &mut out).map_err(Raised::from)?;
            Ok::<_, PyErr>(from_wtf8(py, &out)?.unbind())
        };
        let told = self.template.python.get().heard.as_ref();
        Ok(PyHeard {
            told: told.map_or_else(|| py.None(), |told| told.clone_ref(py)),
            id: from_wtf8(py, part.id(member, &chunk.ids, &mut derived))?.unbind(),
            index: member.index,
            group_index: member.position,
            argsrepr: repr(member.args)?,
            kwargsrepr: repr(member.kwargs)?,
            args: self.args.clone_ref(py),
            kwargs: self.kwargs.clone_ref(py),
            embed: self.embed.as_ref().map(|embed| embed.clone_ref(py)),
        })
    }
}

/// All of one chunk's.
#[derive(Debug)]
pub(crate) struct Hearing {
    /// In the order of the group.
    pub(crate) members: Vec<Heard>,
    types: Arc<ReadTypes>,
}

impl Hearing {
    pub(crate) fn of(members: Vec<Heard>, types: &Arc<ReadTypes>) -> Option<Box<Self>> {
        let types = || Arc::clone(types);
        (!members.is_empty()).then(|| {
            Box::new(Self {
                members,
                types: types(),
            })
        })
    }
}

/// A chunk that is written again. `argsrepr` and `kwargsrepr` stay as they were.
pub(crate) struct Rewriting<'a, 'py> {
    py: Python<'py>,
    from: &'a PyChunk,
    types: &'a Arc<ReadTypes>,
    wired: Chunk,
    generic: Chunk,
    layouts: Vec<Py<PyAny>>,
    routes: Arc<Vec<Route>>,
    /// Templates that are new here, by their address -> (is wired, number in its chunk).
    registered: HashMap<usize, (bool, u32)>,
    /// Wired members that kombu has to publish now, and the other way round.
    moved: Vec<(bool, usize)>,
}

impl<'a, 'py> Rewriting<'a, 'py> {
    pub(crate) fn of(py: Python<'py>, from: &'a PyChunk, hearing: &'a Hearing) -> Self {
        Self {
            py,
            from,
            types: &hearing.types,
            wired: from.wired.clone(),
            generic: from.generic.clone(),
            layouts: from
                .layouts
                .iter()
                .map(|layout| layout.clone_ref(py))
                .collect(),
            routes: Arc::clone(&from.routes),
            registered: HashMap::new(),
            moved: Vec::new(),
        }
    }

    pub(crate) fn member(&mut self, heard: &Heard, new: &Rewritten<'py>) -> PyResult<()> {
        let Rewritten {
            template,
            args,
            kwargs,
            embed,
            own,
        } = new;
        let (is_wired, number) = match template {
            Some(template) => {
                let (is_wired, number) = self.register(template);
                (is_wired, Some(number))
            }
            None => (heard.is_wired, None),
        };
        let template = template.as_ref().unwrap_or(&heard.template.python).get();
        let types = Arc::clone(self.types);
        let chunk = self.part(is_wired);
        let mut reader = Reader::new(&mut chunk.arena);
        let written = (value(&mut reader, args)?, value(&mut reader, kwargs)?);
        let mut reader = reader.with_canvases(&types);
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
        self.generic.members.sort_by_key(|member| member.index);
        let from = self.from;
        PyChunk {
            ids: from.ids.clone(),
            chord_sizes: copies(self.py, &from.chord_sizes),
            wired: self.wired,
            routes: self.routes,
            generic: self.generic,
            layouts: self.layouts,
            ignored: from.ignored.clone(),
            results: from.results,
            is_last: from.is_last,
            is_due: from.is_due,
            len_bytes: from.len_bytes,
            several: from.several.clone(),
            shared: from.shared.clone(),
            hearing: None,
            is_told: AtomicBool::new(false),
        }
    }

    fn part(&mut self, is_wired: bool) -> &mut Chunk {
        if is_wired {
            &mut self.wired
        } else {
            &mut self.generic
        }
    }

    fn original(&self, is_wired: bool) -> &Chunk {
        if is_wired {
            &self.from.wired
        } else {
            &self.from.generic
        }
    }

    /// Makes sure that the chunk knows a template; returns whether it is wired, and its number.
    fn register(&mut self, template: &Py<PyTemplate>) -> (bool, u32) {
        let address = template.as_ptr() as usize;
        if let Some(&registered) = self.registered.get(&address) {
            return registered;
        }
        let layout = template.get().layout.get();
        if let Some(generic) = &layout.generic {
            self.layouts.push(generic.clone_ref(self.py));
        }
        let is_wired = layout.generic.is_none();
        let core = template
            .get()
            .core(number_of(&layout.route, &mut self.routes));
        let templates = &mut self.part(is_wired).templates;
        templates.push(Arc::new(core));
        let last = u32::try_from(templates.len() - 1).unwrap_or(u32::MAX);
        self.registered.insert(address, (is_wired, last));
        (is_wired, last)
    }
}

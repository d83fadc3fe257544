//! Reads one chunk: members apart, templates looked up, arguments into the arena.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use celerant_core::json;
use celerant_core::message::{Body, Chunk, Member, Template};
use celerant_core::unroll::Unroll;
use celerant_core::value::Arena;
use celerant_core::wire::redis::Route;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::chunk::{PyChunk, extend};
use crate::convert::{Reader, with_wtf8};
use crate::error::{Raised, argument_error, canvas_error, named};
use crate::frames::{Leaf, Walk};
use crate::plan::{PyPlan, failed};
use crate::roster::PyRoster;
use crate::template::PyTemplate;

/// A slow generator's members leave at least this often.
const LINGER: Duration = Duration::from_millis(20);

/// Templates kept from chunk to chunk: more would be a leak where each member is its own kind.
const TEMPLATES_KEPT: usize = 256;

/// About what a message takes beside its arguments, in bytes.
const MESSAGE_BYTES: usize = 1100;

/// Where a plan stands.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) unroll: Unroll<Walk>,
    kinds: HashMap<String, Kind>,
    /// Templates of this dispatch, by the number that kinds refer to.
    templates: Vec<Known>,
    routes: Arc<Vec<Route>>,
    is_over: bool,
}

impl State {
    pub(crate) fn new(unroll: Unroll<Walk>) -> Self {
        Self {
            unroll,
            kinds: HashMap::new(),
            templates: Vec::new(),
            routes: Arc::default(),
            is_over: false,
        }
    }
}

/// Templates of one task, by the options that a member brings.
#[derive(Debug, Default)]
struct Kind {
    without_options: Option<usize>,
    with_options: HashMap<Vec<u8>, usize>,
}

#[derive(Clone, Debug)]
struct Known {
    core: Arc<Template>,
    python: Arc<Py<PyTemplate>>,
}

/// One chunk in the making.
pub(crate) struct Reading<'a, 'py> {
    py: Python<'py>,
    plan: &'a PyPlan,
    state: &'a mut State,
    wired: Chunk,
    loose: Chunk,
    forms: Vec<Py<PyAny>>,
    ignored: Vec<(u32, u32)>,
    /// Template number -> (is wired, number in its chunk).
    placed: HashMap<usize, (bool, u32)>,
}

/// A member's parts, still Python's.
struct Call<'py> {
    task: Bound<'py, PyString>,
    args: Bound<'py, PyAny>,
    kwargs: Bound<'py, PyDict>,
    options: Bound<'py, PyDict>,
    own_id: Option<Bound<'py, PyString>>,
}

impl<'a, 'py> Reading<'a, 'py> {
    pub(crate) fn new(py: Python<'py>, plan: &'a PyPlan, state: &'a mut State) -> Self {
        let chunk = || Chunk {
            repr_limits: plan.repr_limits,
            ..Chunk::default()
        };
        Self {
            py,
            plan,
            state,
            wired: chunk(),
            loose: chunk(),
            forms: Vec::new(),
            ignored: Vec::new(),
            placed: HashMap::new(),
        }
    }

    pub(crate) fn chunk(mut self, members: usize, bytes: usize) -> PyResult<Option<PyChunk>> {
        let started = Instant::now();
        while !self.state.is_over && self.len() < members && self.len_bytes() < bytes {
            match self.state.unroll.next() {
                Ok(None) => self.state.is_over = true,
                Ok(Some((index, leaf))) => {
                    if self.plan.wants(index) {
                        self.member(index, leaf)?;
                    }
                }
                Err(failure) => return Err(failed(self.py, &self.state.unroll, failure)),
            }
            if !self.plan.is_list && self.len() > 0 && started.elapsed() > LINGER {
                break;
            }
        }
        self.py.check_signals()?;
        let routes = Arc::clone(&self.state.routes);
        self.forget();
        let roster = self.plan.roster.get();
        roster.set_len(self.state.unroll.len());
        if self.len() == 0 && self.state.is_over {
            return Ok(None);
        }
        let len_bytes = self.len_bytes();
        Ok(Some(PyChunk {
            ids: roster.derived().clone(),
            wired: self.wired,
            routes,
            loose: self.loose,
            forms: self.forms,
            ignored: self.ignored,
            len_bytes,
        }))
    }

    fn len(&self) -> usize {
        self.wired.members.len() + self.loose.members.len()
    }

    fn len_bytes(&self) -> usize {
        self.wired.arena.len_bytes() + self.loose.arena.len_bytes() + self.len() * MESSAGE_BYTES
    }

    /// Where the current member stands, for messages.
    fn path(&self) -> String {
        if self.plan.is_grouped {
            self.state.unroll.path()
        } else {
            "task".to_owned()
        }
    }

    /// Which task of which member, for messages.
    fn whose(&self, task: &str) -> String {
        if self.plan.is_grouped {
            format!("{}: task {task}", self.state.unroll.path())
        } else {
            format!("task {task}")
        }
    }

    fn member(&mut self, index: u32, leaf: Leaf) -> PyResult<()> {
        let call = self.call(leaf)?;
        let number = self.template(&call)?;
        let known = self.state.templates[number].clone();
        let template = known.python.get();
        self.check(template, &call)?;
        let (is_wired, placed) = self.place(number, &known);
        let roster = self.plan.roster.get();
        let chunk = if is_wired {
            &mut self.wired
        } else {
            &mut self.loose
        };
        let own_id = match &call.own_id {
            Some(id) => {
                let text = id.to_string_lossy();
                if let Some(other) = roster.holder(&text).filter(|&other| other != index) {
                    return Err(self.refused(&format!(
                        "its task_id {text:?} is that of member {other}, and the two would \
                         share one result; give it another, or freeze the group anew"
                    )));
                }
                own_id(id, index, roster, &mut chunk.arena)?
            }
            None => None,
        };
        let mut reader = Reader::new(&mut chunk.arena);
        let args = chunk_position(&mut reader, &call.args)?;
        let kwargs = chunk_position(&mut reader, &call.kwargs)?;
        let is_plain = reader.is_plain && template.embed.is_some();
        let body = if is_plain {
            Body::Plain { args, kwargs }
        } else {
            let bytes = self.encoded(template, &call, index)?;
            let chunk = if is_wired {
                &mut self.wired
            } else {
                &mut self.loose
            };
            Body::Ready(chunk.arena.store(bytes.as_bytes()).map_err(Raised::from)?)
        };
        let chunk = if is_wired {
            &mut self.wired
        } else {
            &mut self.loose
        };
        chunk.members.push(Member {
            template: placed,
            index,
            args,
            kwargs,
            own_id,
            body,
        });
        if template.is_ignored {
            extend(&mut self.ignored, index);
        }
        Ok(())
    }

    /// Takes a member apart and merges what the call adds.
    fn call(&self, leaf: Leaf) -> PyResult<Call<'py>> {
        let py = self.py;
        let mut call = match leaf {
            Leaf::Item { args, mapped } => {
                let call = Call {
                    task: mapped.task.bind(py).clone(),
                    args: args.into_bound(py),
                    kwargs: PyDict::new(py),
                    options: mapped.options.bind(py).clone(),
                    own_id: None,
                };
                call.merged(self)?
            }
            Leaf::Signature(signature) => {
                let signature = signature.bind(py);
                let Some(task) = signature.get_item(intern!(py, "task"))? else {
                    return Err(self.refused("this dict is no signature: it has no 'task'"));
                };
                let Ok(task) = task.cast_into::<PyString>() else {
                    return Err(self.refused("the name of a task must be text"));
                };
                let call = Call {
                    task,
                    args: self.arguments(signature)?,
                    kwargs: self.mapping(signature, intern!(py, "kwargs"))?,
                    options: self.mapping(signature, intern!(py, "options"))?,
                    own_id: None,
                };
                let immutable = signature.get_item(intern!(py, "immutable"))?;
                if immutable.map_or(Ok(false), |flag| flag.is_truthy())? {
                    call
                } else {
                    call.merged(self)?
                }
            }
        };
        if !call.options.is_empty()
            && let Some(id) = call.options.get_item(intern!(py, "task_id"))?
            && !id.is_none()
        {
            let Ok(id) = id.cast_into::<PyString>() else {
                return Err(self.refused("task_id must be text"));
            };
            if id.to_str().is_err() {
                return Err(self.refused("task_id must be text without lone surrogates"));
            }
            let options = call.options.copy()?;
            options.del_item(intern!(py, "task_id"))?;
            call.options = options;
            // As in Celery, empty is none.
            call.own_id = Some(id).filter(|id| id.is_truthy().unwrap_or(true));
        }
        Ok(call)
    }

    fn arguments(&self, signature: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let args = signature.get_item(intern!(py, "args"))?;
        match args.filter(|args| !args.is_none()) {
            None => Ok(PyTuple::empty(py).into_any()),
            Some(args) if args.is_instance_of::<PyTuple>() || args.is_instance_of::<PyList>() => {
                Ok(args)
            }
            Some(args) => {
                let kind = args.get_type().name()?;
                Err(self.refused(&format!("args must be a list or tuple, not {kind}")))
            }
        }
    }

    fn mapping(
        &self,
        signature: &Bound<'py, PyDict>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyDict>> {
        match signature.get_item(key)?.filter(|found| !found.is_none()) {
            None => Ok(PyDict::new(self.py)),
            Some(found) => match found.cast_into::<PyDict>() {
                Ok(found) => Ok(found),
                Err(_) => Err(self.refused(&format!("{key} must be a dict"))),
            },
        }
    }

    fn refused(&self, reason: &str) -> PyErr {
        let path = self.path();
        canvas_error(self.py, &format!("{path}: {reason}"), &path)
    }

    /// Whether the call fits the task's parameters; only a misfit asks Python why.
    fn check(&self, template: &PyTemplate, call: &Call<'py>) -> PyResult<()> {
        let Some(parameters) = &template.parameters else {
            return Ok(());
        };
        if parameters.fit(call.args.len()?, &call.kwargs)? {
            return Ok(());
        }
        match parameters.explain(&call.args, &call.kwargs)? {
            None => Ok(()),
            Some(reason) => {
                let task = call.task.to_string_lossy();
                Err(argument_error(&self.whose(&task), &reason))
            }
        }
    }

    /// The number of the member's template, resolved by Python where it is a new kind.
    fn template(&mut self, call: &Call<'py>) -> PyResult<usize> {
        let Ok(task) = call.task.to_str() else {
            return Err(self.refused("the name of a task must be text without lone surrogates"));
        };
        if call.options.is_empty() {
            if let Some(number) = self.state.kinds.get(task).and_then(|k| k.without_options) {
                return Ok(number);
            }
            let (number, is_reusable) = self.resolve(call)?;
            if is_reusable {
                let kind = self.state.kinds.entry(task.to_owned()).or_default();
                kind.without_options = Some(number);
            }
            return Ok(number);
        }
        let Some(key) = fingerprint(&call.options)? else {
            return Ok(self.resolve(call)?.0);
        };
        if let Some(kind) = self.state.kinds.get(task)
            && let Some(&number) = kind.with_options.get(&key)
        {
            return Ok(number);
        }
        let (number, is_reusable) = self.resolve(call)?;
        if is_reusable {
            let kind = self.state.kinds.entry(task.to_owned()).or_default();
            kind.with_options.insert(key, number);
        }
        Ok(number)
    }

    fn resolve(&mut self, call: &Call<'py>) -> PyResult<(usize, bool)> {
        let resolver = self.plan.resolver.bind(self.py);
        let template = resolver
            .call1((&call.task, &call.options, &call.args, &call.kwargs))?
            .cast_into::<PyTemplate>()
            .map_err(|_| PyTypeError::new_err("the resolver must return a Template"))?
            .unbind();
        let details = template.get();
        let form = details.form.get();
        let core = Template {
            envelope: form.envelope.clone(),
            embed: details.embed.clone().unwrap_or_default(),
            route: self.route(&form.route),
            reprs: true,
        };
        let is_reusable = details.is_reusable;
        self.state.templates.push(Known {
            core: Arc::new(core),
            python: Arc::new(template),
        });
        Ok((self.state.templates.len() - 1, is_reusable))
    }

    fn route(&mut self, route: &Route) -> u32 {
        let known = self.state.routes.iter().position(|known| known == route);
        let number = known.unwrap_or_else(|| {
            Arc::make_mut(&mut self.state.routes).push(route.clone());
            self.state.routes.len() - 1
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Makes sure that the chunk knows a template; returns whether it is wired, and its number.
    fn place(&mut self, number: usize, known: &Known) -> (bool, u32) {
        if let Some(&placed) = self.placed.get(&number) {
            return placed;
        }
        let form = known.python.get().form.get();
        let chunk = match &form.loose {
            None => &mut self.wired,
            Some(loose) => {
                self.forms.push(loose.clone_ref(self.py));
                &mut self.loose
            }
        };
        chunk.templates.push(Arc::clone(&known.core));
        let last = u32::try_from(chunk.templates.len() - 1).unwrap_or(u32::MAX);
        let placed = (form.loose.is_none(), last);
        self.placed.insert(number, placed);
        placed
    }

    /// The body by kombu's serializer.
    fn encoded(
        &self,
        template: &PyTemplate,
        call: &Call<'py>,
        index: u32,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = self.py;
        let encode = template.encode.bind(py);
        let body = encode.call1((&call.args, &call.kwargs)).map_err(|error| {
            let raised = py
                .import("celerant.errors")
                .and_then(|errors| errors.getattr("EncodeError"));
            match raised {
                Ok(class) if error.is_instance(py, &class) => {
                    self.encode_error(call, index, &error)
                }
                _ => error,
            }
        })?;
        body.cast_into::<PyBytes>()
            .map_err(|_| PyTypeError::new_err("a body encoder must return bytes"))
    }

    fn encode_error(&self, call: &Call<'py>, index: u32, error: &PyErr) -> PyErr {
        let py = self.py;
        let path = self.path();
        let reason = error.value(py);
        let whose = self.whose(&call.task.to_string_lossy());
        let message = format!("{whose}: {reason}");
        let build = || -> PyResult<PyErr> {
            let fields = [("path", path.as_str())].into_py_dict(py)?;
            fields.set_item("task", &call.task)?;
            fields.set_item("group_index", self.plan.is_grouped.then_some(index))?;
            fields.set_item("value_type", reason.getattr("value_type")?)?;
            let raised = named(py, "EncodeError", &message, &fields);
            raised.set_cause(py, error.cause(py));
            Ok(raised)
        };
        build().unwrap_or_else(|failure| failure)
    }

    /// Drops templates that hold for this chunk only.
    fn forget(&mut self) {
        let templates = &self.state.templates;
        if templates.len() > TEMPLATES_KEPT {
            self.state.kinds.clear();
            self.state.templates.clear();
            // Only templates refer to them; chunks hold their own.
            self.state.routes = Arc::default();
            return;
        }
        let is_timed = |number: &usize| templates[*number].python.get().is_timed;
        for kind in self.state.kinds.values_mut() {
            kind.without_options = kind.without_options.filter(|number| !is_timed(number));
            kind.with_options.retain(|_, number| !is_timed(number));
        }
    }
}

impl<'py> Call<'py> {
    /// Prepends the call's arguments and lays its keywords over the member's.
    fn merged(mut self, reading: &Reading<'_, 'py>) -> PyResult<Self> {
        let py = reading.py;
        let (more, keywords) = (reading.plan.args.bind(py), reading.plan.kwargs.bind(py));
        if more.is_empty() && keywords.is_empty() {
            return Ok(self);
        }
        if !more.is_empty() {
            let own = self.args.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let all: Vec<_> = more.iter().chain(own).collect();
            self.args = PyTuple::new(py, all)?.into_any();
        }
        if !keywords.is_empty() {
            let merged = self.kwargs.copy()?;
            merged.update(keywords.as_mapping())?;
            self.kwargs = merged;
        }
        Ok(self)
    }
}

fn chunk_position(
    reader: &mut Reader<'_>,
    value: &Bound<'_, PyAny>,
) -> PyResult<celerant_core::value::ValueRef> {
    let at = reader.position()?;
    reader.value(value)?;
    Ok(at)
}

/// Stores a member's own id, unless it is the one that derives anyway.
fn own_id(
    id: &Bound<'_, PyString>,
    index: u32,
    roster: &PyRoster,
    arena: &mut Arena,
) -> PyResult<Option<celerant_core::value::Span>> {
    if let Ok(text) = id.to_str() {
        if roster.derived().index(text) == Some(index) {
            return Ok(None);
        }
        roster.keep(index, text);
    }
    with_wtf8(id, |bytes| {
        Ok(Some(arena.store(bytes).map_err(Raised::from)?))
    })
}

/// The options as bytes to look them up by; None where they hold more than plain values.
fn fingerprint(options: &Bound<'_, PyDict>) -> PyResult<Option<Vec<u8>>> {
    let mut arena = Arena::new();
    let at = arena.position().map_err(Raised::from)?;
    let mut reader = Reader::new(&mut arena);
    reader.value(options)?;
    if !reader.is_plain {
        return Ok(None);
    }
    let mut key = Vec::new();
    json::write(&arena, at, &mut key).map_err(Raised::from)?;
    Ok(Some(key))
}

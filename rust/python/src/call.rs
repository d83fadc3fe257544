//! A member taken apart, with the arguments and options that the call of its group adds.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString, PyTuple};

use crate::frames::{Mapped, Unreadable};

/// Options that travel in the body, and their names there.
pub(crate) const EMBEDDED: [(&str, &str); 4] = [
    ("link", "callbacks"),
    ("link_error", "errbacks"),
    ("chain", "chain"),
    ("chord", "chord"),
];

/// A member's parts, still Python's.
pub(crate) struct Call<'py> {
    pub(crate) task: Bound<'py, PyString>,
    /// A tuple or list.
    pub(crate) args: Bound<'py, PyAny>,
    pub(crate) kwargs: Bound<'py, PyDict>,
    /// Without `task_id` and the options in `embed`.
    pub(crate) options: Bound<'py, PyDict>,
    /// Callbacks, chain and chord of its own, by the names of the body's third item.
    pub(crate) embed: Option<Bound<'py, PyDict>>,
    pub(crate) own_id: Option<Bound<'py, PyString>>,
}

impl<'py> Call<'py> {
    /// Takes a signature apart; `args` go before its own, `kwargs` over its own.
    pub(crate) fn of(
        signature: &Bound<'py, PyDict>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Result<Self, Unreadable> {
        let py = signature.py();
        let Some(task) = signature.get_item(intern!(py, "task"))? else {
            return Err(refused("this dict is no signature: it has no 'task'"));
        };
        let Ok(task) = task.cast_into::<PyString>() else {
            return Err(refused("the name of a task must be text"));
        };
        let call = Self {
            task,
            args: arguments(signature)?,
            kwargs: mapping(signature, intern!(py, "kwargs"))?,
            options: mapping(signature, intern!(py, "options"))?,
            embed: None,
            own_id: None,
        };
        let is_immutable = match signature.get_item(intern!(py, "immutable"))? {
            Some(flag) => flag.is_truthy()?,
            None => false,
        };
        if is_immutable {
            return call.taken_apart(&PyTuple::empty(py), &PyDict::new(py));
        }
        call.taken_apart(args, kwargs)
    }

    /// The same for an item of a mapped task.
    pub(crate) fn of_item(
        item: Bound<'py, PyAny>,
        mapped: &Mapped,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Result<Self, Unreadable> {
        let py = item.py();
        let call = Self {
            task: mapped.task.bind(py).clone(),
            args: item,
            kwargs: PyDict::new(py),
            options: mapped.options.bind(py).clone(),
            embed: None,
            own_id: None,
        };
        call.taken_apart(args, kwargs)
    }

    fn taken_apart(
        mut self,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Result<Self, Unreadable> {
        if self.task.to_str().is_err() {
            return Err(refused(
                "the name of a task must be text without lone surrogates",
            ));
        }
        self.merge(args, kwargs)?;
        self.take_id()?;
        self.take_embed()?;
        Ok(self)
    }

    /// Takes out the options that travel in the body: they differ by member, and the rest does not.
    fn take_embed(&mut self) -> Result<(), Unreadable> {
        let py = self.options.py();
        if self.options.is_empty() {
            return Ok(());
        }
        for (option, name) in EMBEDDED {
            let Some(value) = self.options.get_item(option)? else {
                continue;
            };
            if self.embed.is_none() {
                // The caller's dict stays as it is.
                self.options = self.options.copy()?;
            }
            self.options.del_item(option)?;
            let embed = self.embed.get_or_insert_with(|| PyDict::new(py));
            if !value.is_none() {
                let value = listed(option, value)?;
                if let Some(reason) = no_callback(option, &value)? {
                    return Err(Unreadable::Member(reason));
                }
                embed.set_item(name, value)?;
            }
        }
        Ok(())
    }

    /// The third item of the body, whole; `call` goes over the member's own.
    pub(crate) fn whole_embed(
        &self,
        call: &Bound<'py, PyDict>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(own) = &self.embed else {
            return Ok(None);
        };
        let whole = PyDict::new(own.py());
        for (_, name) in EMBEDDED {
            let value = match call.get_item(name)? {
                Some(value) => Some(value),
                None => own.get_item(name)?,
            };
            whole.set_item(name, value)?;
        }
        Ok(Some(whole))
    }

    /// Prepends the call's arguments and lays its keywords over the member's.
    fn merge(&mut self, args: &Bound<'py, PyTuple>, kwargs: &Bound<'py, PyDict>) -> PyResult<()> {
        if !args.is_empty() {
            let own = self.args.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let all: Vec<_> = args.iter().chain(own).collect();
            self.args = PyTuple::new(args.py(), all)?.into_any();
        }
        if !kwargs.is_empty() {
            let merged = self.kwargs.copy()?;
            merged.update(kwargs.as_mapping())?;
            self.kwargs = merged;
        }
        Ok(())
    }

    /// Takes the member's own id out of its options.
    fn take_id(&mut self) -> Result<(), Unreadable> {
        let key = intern!(self.options.py(), "task_id");
        if self.options.is_empty() {
            return Ok(());
        }
        let Some(id) = self.options.get_item(key)?.filter(|id| !id.is_none()) else {
            return Ok(());
        };
        let Ok(id) = id.cast_into::<PyString>() else {
            return Err(refused("task_id must be text"));
        };
        if id.to_str().is_err() {
            return Err(refused("task_id must be text without lone surrogates"));
        }
        // The caller's dict stays as it is.
        let options = self.options.copy()?;
        options.del_item(key)?;
        self.options = options;
        // As in Celery, empty is none.
        self.own_id = Some(id).filter(|id| id.is_truthy().unwrap_or(true));
        Ok(())
    }
}

/// Callbacks as a list, whatever they were given as.
pub(crate) fn listed<'py>(option: &str, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if !option.starts_with("link") || value.is_instance_of::<PyList>() {
        return Ok(value);
    }
    if value.is_instance_of::<PyTuple>() || value.is_instance_of::<PySet>() {
        let items = value.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        return Ok(PyList::new(py, items)?.into_any());
    }
    Ok(PyList::new(py, [value])?.into_any())
}

/// The text of an error about a list of callbacks that has something else in it.
pub(crate) fn no_callback(option: &str, list: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let Some(list) = list
        .cast::<PyList>()
        .ok()
        .filter(|_| option.starts_with("link"))
    else {
        return Ok(None);
    };
    let Some(other) = list.iter().find(|item| !item.is_instance_of::<PyDict>()) else {
        return Ok(None);
    };
    let found = other.get_type().name()?;
    Ok(Some(format!(
        "{option} must be a signature or a list of them, not {found}; use task.s(...)"
    )))
}

fn arguments<'py>(signature: &Bound<'py, PyDict>) -> Result<Bound<'py, PyAny>, Unreadable> {
    let py = signature.py();
    let args = signature.get_item(intern!(py, "args"))?;
    match args.filter(|args| !args.is_none()) {
        None => Ok(PyTuple::empty(py).into_any()),
        Some(args) if args.is_instance_of::<PyTuple>() || args.is_instance_of::<PyList>() => {
            Ok(args)
        }
        Some(args) => {
            let kind = args.get_type().name()?;
            Err(Unreadable::Member(format!(
                "args must be a list or tuple, not {kind}"
            )))
        }
    }
}

fn mapping<'py>(
    signature: &Bound<'py, PyDict>,
    key: &Bound<'py, PyString>,
) -> Result<Bound<'py, PyDict>, Unreadable> {
    match signature.get_item(key)?.filter(|found| !found.is_none()) {
        None => Ok(PyDict::new(signature.py())),
        Some(found) => found
            .cast_into::<PyDict>()
            .map_err(|_| Unreadable::Member(format!("{key} must be a dict"))),
    }
}

fn refused(reason: &str) -> Unreadable {
    Unreadable::Member(reason.to_owned())
}

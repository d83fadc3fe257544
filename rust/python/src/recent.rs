//! Text that most messages of a reading share, as Python has it.

use pyo3::prelude::*;
use pyo3::types::PyString;

/// A text of the last message, which is the next one's in most cases.
#[derive(Default)]
pub(crate) struct Recent<'py>(Option<(String, Bound<'py, PyString>)>);

impl<'py> Recent<'py> {
    pub(crate) fn of(&mut self, py: Python<'py>, text: &str) -> Bound<'py, PyString> {
        if let Some((known, made)) = &self.0
            && known == text
        {
            return made.clone();
        }
        let made = PyString::intern(py, text);
        self.0 = Some((text.to_owned(), made.clone()));
        made
    }
}

/// The keys of tables: messages of one sender have them in one order.
#[derive(Default)]
pub(crate) struct Keys<'py>(Vec<Recent<'py>>);

impl<'py> Keys<'py> {
    /// The key `name`, which is the one at `place`.
    pub(crate) fn at(&mut self, py: Python<'py>, place: usize, name: &str) -> Bound<'py, PyString> {
        if self.0.len() <= place {
            self.0.resize_with(place + 1, Recent::default);
        }
        self.0[place].of(py, name)
    }
}

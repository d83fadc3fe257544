//! The ids of a canvas's parts, and the reply queue of results.

use celerant_core::canvas::{Given, Id};
use celerant_core::id::Ids;
use pyo3::prelude::*;

use crate::roster::PyRoster;

/// Ids of a canvas's parts, and the reply queue of results.
#[derive(Debug)]
pub(crate) struct Names {
    ids: Ids,
    /// Which member of its roster the canvas is, and that one's id.
    member: u32,
    whole: String,
    pub(crate) reply_to: Py<PyAny>,
}

/// An id: the caller's value, or text.
pub(crate) enum Named {
    Given(Given),
    Text(String),
}

impl Names {
    pub(crate) fn new(roster: &PyRoster, member: u32, reply_to: Py<PyAny>) -> Self {
        Self {
            ids: roster.derived().clone(),
            member,
            whole: roster.member_id(member),
            reply_to,
        }
    }

    pub(crate) fn text(&self, id: Id) -> Named {
        match id {
            Id::Given(given) => Named::Given(given),
            Id::Whole => Named::Text(self.whole.clone()),
            Id::Inner(position) => Named::Text(self.ids.inner_text(self.member, position)),
        }
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    pub(crate) fn whole(&self) -> &str {
        &self.whole
    }

    pub(crate) const fn member(&self) -> u32 {
        self.member
    }
}

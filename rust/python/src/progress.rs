//! How far a plan has been read, between two chunks.

use std::collections::HashMap;
use std::sync::Arc;

use celerant_core::unroll::Unroll;
use pyo3::prelude::*;

use crate::frames::{Leaf, Walk};
use crate::lowered::Lowered;
use crate::templates::Templates;

/// How far a plan has been read.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) unroll: Unroll<Walk>,
    /// How many members were read or skipped; one that could not be read does not count.
    pub(crate) read: u32,
    /// The path at which reading failed.
    pub(crate) failed_at: Option<String>,
    pub(crate) templates: Templates,
    pub(crate) pending: Option<Pending>,
    /// The reply queue; known once a chain or chord was read.
    pub(crate) reply_to: Option<Py<PyAny>>,
    /// The answers of `vet` for chains and chords that end in a plain task, by whether there is a
    /// chord and by that task.
    pub(crate) vetted: HashMap<(bool, String), bool>,
    /// Members without messages: chains of empty groups.
    pub(crate) without_messages: Vec<u32>,
    /// A drawn member that the next chunk begins with; it shows that there is a next chunk.
    pub(crate) held: Option<Held>,
    /// Whether a chunk has had a member of an iterator.
    pub(crate) has_streamed: bool,
    pub(crate) is_over: bool,
}

/// A member that was drawn and is not read yet.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) index: u32,
    pub(crate) leaf: Leaf,
    pub(crate) path: String,
}

/// A chain or chord with messages that are not read yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) index: u32,
    pub(crate) lowered: Arc<Lowered>,
    /// The number of its next message.
    pub(crate) next: usize,
}

impl Progress {
    pub(crate) fn new(unroll: Unroll<Walk>) -> Self {
        Self {
            unroll,
            read: 0,
            failed_at: None,
            templates: Templates::default(),
            pending: None,
            reply_to: None,
            vetted: HashMap::new(),
            without_messages: Vec::new(),
            held: None,
            has_streamed: false,
            is_over: false,
        }
    }

    /// Whether only some messages of the current member were read.
    pub(crate) fn is_amid(&self) -> bool {
        self.pending.is_some()
    }

    /// The path of the current member, for messages.
    pub(crate) fn path(&self, is_grouped: bool) -> String {
        if is_grouped {
            self.unroll.path()
        } else {
            "task".to_owned()
        }
    }
}

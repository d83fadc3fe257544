//! From a canvas to the messages that leave for it.
//!
//! A [`Tree`] holds one canvas: tasks, groups, chains and chords. [`Tree::lower`] applies it as
//! Celery's `apply_async` would: steps of chains are frozen from the last to the first, a group
//! that something follows becomes a chord, and nested groups and chains are unrolled. The tasks
//! that can leave now become [`Message`]s. The tasks that wait for them travel in their options.
//!
//! Values of the caller are opaque here ([`Given`]): only the structure decides.
//!
//! # Source
//! `celery/canvas.py` of celery 5.7.0: `_chain.run`, `_chain.prepare_steps`, `_chord.run`,
//! `group._prepared` and the `freeze` methods. Differences: groups inside groups are numbered and
//! ordered as written (`docs/compatibility.md`).

mod apply;
mod callbacks;
mod chords;
mod freeze;
mod options;
mod steps;
mod tree;

pub use apply::{Call, ChordSize, Lowered, Message};
pub use freeze::Place;
pub use options::{Given, Id, Item, Key, Options, Setting};
pub use tree::{
    Header, Kind, ListId, MAX_DEPTH, MAX_WRITTEN_DEPTH, Node, NodeId, Promise, PromiseId, Tree,
    deeper,
};

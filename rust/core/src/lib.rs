//! The way of a group from the user's call to the broker's socket, and the barrier that tells when
//! all members are done.
//!
//! No Python, no I/O, no clock, no randomness: callers bring them.

#![deny(unsafe_code)]

pub mod barrier;
pub mod canvas;
pub mod envelope;
pub mod error;
pub mod failures;
pub mod headers;
pub mod id;
pub mod json;
pub mod ledger;
pub mod message;
pub mod meta;
pub mod moment;
pub mod prints;
pub mod saferepr;
pub mod several;
pub mod unroll;
pub mod value;
pub mod wire;

mod float;
mod sync;

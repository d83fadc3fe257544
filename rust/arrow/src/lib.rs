//! Rows of Arrow tables as arguments of tasks, without a Python object for any value.
//!
//! A table comes through Arrow's `PyCapsule` interface; its buffers are read where they are. What
//! is made of a row is what Python's own values of it would be: see [`column`].

#![deny(unsafe_code)]

pub mod column;
pub mod fault;
pub mod kinds;
pub mod rows;
pub mod stream;

mod decimal;
mod moments;

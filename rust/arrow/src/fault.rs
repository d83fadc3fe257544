//! Why a table, or a value in it, cannot be sent.

use std::fmt;

use celerant_core::error::Error;

/// Why a table, or a value in it, cannot be sent: what it is, and what to do.
#[derive(Debug)]
pub enum Fault {
    /// A column, a value, or the table's producer is to blame.
    Refused(String),
    /// The arena is full.
    Core(Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => out.write_str(reason),
            Self::Core(error) => error.fmt(out),
        }
    }
}

impl std::error::Error for Fault {}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

/// A result of reading a table.
pub type Result<T> = std::result::Result<T, Fault>;

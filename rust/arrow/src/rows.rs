//! The rows of a table, some thousand at a time.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field};
use celerant_core::value::{Arena, ValueRef};

use crate::column::Column;
use crate::fault::{Fault, Result};
use crate::kinds;
use crate::stream::Stream;

/// Rows that are taken apart together: what is made of them stays small, and is made rarely.
const WINDOW: usize = 4096;

/// Some rows in a row: the arguments of as many tasks.
#[derive(Debug)]
pub struct Rows {
    columns: Vec<(String, Column)>,
    len: usize,
}

impl Rows {
    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many arguments a row has.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.columns.len()
    }

    /// Pushes a row as a tuple of positional arguments; returns where it is.
    ///
    /// # Errors
    /// A value that Python has not, with the name of its column; an arena that is full.
    pub fn push(&self, row: usize, arena: &mut Arena) -> Result<ValueRef> {
        let at = arena.position()?;
        arena.push_tuple(self.columns.len())?;
        for (name, column) in &self.columns {
            column.push(row, arena).map_err(|fault| match fault {
                Fault::Refused(reason) => Fault::Refused(format!("column '{name}': {reason}")),
                core @ Fault::Core(_) => core,
            })?;
        }
        Ok(at)
    }
}

/// A table on its way: its rows are given once, in order.
#[derive(Debug)]
pub struct Table {
    stream: Stream,
    is_starred: bool,
    array: Option<ArrayRef>,
    /// Rows of the array that were given.
    given: usize,
}

impl Table {
    /// Begins with the first row.
    ///
    /// `is_starred`: each row is all arguments of a task, and not one.
    ///
    /// # Errors
    /// A column that has no place in a message, or one column where a table is needed.
    pub fn new(stream: Stream, is_starred: bool) -> Result<Self> {
        if is_starred {
            let DataType::Struct(fields) = stream.field().data_type() else {
                return Err(Fault::Refused(format!(
                    "it has one column, of Arrow's type {}; group.starmap takes a table, and \
                     group.map takes a column",
                    stream.field().data_type()
                )));
            };
            for field in fields {
                kinds::check(field)?;
            }
        } else {
            kinds::check(stream.field())?;
        }
        Ok(Self {
            stream,
            is_starred,
            array: None,
            given: 0,
        })
    }

    /// The next rows; None at the end.
    ///
    /// # Errors
    /// The table's producer fails.
    pub fn next_rows(&mut self) -> Result<Option<Arc<Rows>>> {
        loop {
            if let Some(array) = &self.array
                && self.given < array.len()
            {
                let count = WINDOW.min(array.len() - self.given);
                let part = array.slice(self.given, count);
                self.given += count;
                return self.rows(&part).map(|rows| Some(Arc::new(rows)));
            }
            self.given = 0;
            self.array = self.stream.next_array()?;
            if self.array.is_none() {
                return Ok(None);
            }
        }
    }

    fn rows(&self, part: &ArrayRef) -> Result<Rows> {
        let field = self.stream.field();
        let columns = match (self.is_starred, field.data_type()) {
            (true, DataType::Struct(fields)) => {
                if part.null_count() > 0 {
                    let reason = "a row is null, and has no arguments; drop such rows first";
                    return Err(Fault::Refused(reason.to_owned()));
                }
                let arrays = part.as_struct().columns();
                let columns = fields.iter().zip(arrays);
                columns
                    .map(|(field, array)| named(field, array))
                    .collect::<Result<_>>()?
            }
            _ => vec![named(field, part)?],
        };
        Ok(Rows {
            columns,
            len: part.len(),
        })
    }
}

fn named(field: &Field, array: &ArrayRef) -> Result<(String, Column)> {
    Ok((field.name().clone(), Column::read(field, array)?))
}

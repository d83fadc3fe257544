//! The time, for deadlines and pauses.
//!
//! Tests freeze the clocks of Python's `time`. A wait that counts by a frozen clock does
//! not end, so waits count by these.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use pyo3::pyfunction;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Seconds since the process began to ask; never goes back.
#[pyfunction]
pub(crate) fn monotonic() -> f64 {
    BEGIN.elapsed().as_secs_f64()
}

/// Seconds since the epoch.
#[pyfunction]
pub(crate) fn wall_time() -> f64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0.0, |since| since.as_secs_f64())
}

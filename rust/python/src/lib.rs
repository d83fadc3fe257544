//! `PyO3` bindings of `celerant-core`: conversion, handles and the error map, nothing else.

#![forbid(unsafe_code)]

use pyo3::prelude::*;

mod barrier;
mod call;
mod canvas;
mod chord_size;
mod chunk;
mod clock;
mod convert;
mod deliveries;
mod embedding;
mod envelopes;
mod error;
mod failures;
mod frames;
mod heard;
mod ledger;
mod lowered;
mod lowered_members;
mod members;
mod messages;
mod meta;
mod names;
mod parameters;
mod plan;
mod prints;
mod progress;
mod reading;
mod ready;
mod recent;
mod record;
mod roster;
mod rows;
mod rules;
mod shapes;
mod signatures;
mod table;
mod template;
mod templates;
mod usual;
mod values;

/// The extension module `celerant._core`.
#[pymodule]
mod _core {
    use super::{PyResult, Python, build_info_items};
    use pyo3::types::{IntoPyDict, PyDict};
    use pyo3::{Bound, pyfunction};

    #[pymodule_export]
    use crate::barrier::PyBarrier;
    #[pymodule_export]
    use crate::chord_size::PyChordSize;
    #[pymodule_export]
    use crate::chunk::PyChunk;
    #[pymodule_export]
    use crate::clock::{monotonic, wall_time};
    #[pymodule_export]
    use crate::deliveries::read_deliveries;
    #[pymodule_export]
    use crate::envelopes::read_envelopes;
    #[pymodule_export]
    use crate::failures::PyFailures;
    #[pymodule_export]
    use crate::heard::PyHeard;
    #[pymodule_export]
    use crate::ledger::{PyFate, PyLedger};
    #[pymodule_export]
    use crate::lowered::{PyFrozen, PyLowered, freeze, lower};
    #[pymodule_export]
    use crate::messages::PyMessage;
    #[pymodule_export]
    use crate::plan::{PyPlan, count_results, path_of, unroll};
    #[pymodule_export]
    use crate::prints::PyPrints;
    #[pymodule_export]
    use crate::ready::PyReady;
    #[pymodule_export]
    use crate::record::success_record;
    #[pymodule_export]
    use crate::roster::PyRoster;
    #[pymodule_export]
    use crate::rules::{PyReadable, PyRules};
    #[pymodule_export]
    use crate::table::{PyRows, PyTable};
    #[pymodule_export]
    use crate::template::{PyLayout, PyTemplate};
    #[pymodule_export]
    use crate::usual::read_raw;
    #[pymodule_export]
    use crate::values::PyValues;

    /// How this extension was built: `profile`, `abi`, `version`, `commit`.
    #[pyfunction]
    fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        build_info_items().into_py_dict(py)
    }
}

fn build_info_items() -> [(&'static str, &'static str); 4] {
    [
        (
            "profile",
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
        ),
        (
            "abi",
            if cfg!(feature = "abi3") {
                "abi3"
            } else {
                "version-specific"
            },
        ),
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", env!("CELERANT_COMMIT")),
    ]
}

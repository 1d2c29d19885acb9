//! The compiled engine: the arithmetic of `reference.py`, to the last bit.
//!
//! Blocks of values in, indices of flags out. The interpreter lock is released while a block is worked on; what is wrong
//! with an argument is a Python exception.

mod decode;

use pyo3::prelude::*;

/// Version of the state that `snapshot` writes; what is newer is refused.
const SNAPSHOT_VERSION: u16 = 1;

#[pymodule]
fn _compiled(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("SNAPSHOT_VERSION", SNAPSHOT_VERSION)?;
    decode::register(module)?;
    Ok(())
}

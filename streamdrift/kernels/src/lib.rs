//! The compiled engine: the arithmetic of `reference.py`, to the last bit.
//!
//! Blocks of values in, indices of flags out. The interpreter lock is released while a block is worked on; what is wrong
//! with an argument is a Python exception.

mod adwin;
mod adwin_window;
mod block;
mod curve;
mod decode;
mod ks;
mod ks_window;
mod normal;
mod page_hinkley;
mod prefetch;
mod run;
mod scan;
mod shares;
mod snapshot;
mod timeline;
mod told;
mod values;
mod watch;

use pyo3::prelude::*;

#[pymodule]
fn _compiled(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("SNAPSHOT_VERSION", snapshot::VERSION)?;
    module.add_class::<adwin::Adwin>()?;
    module.add_class::<page_hinkley::PageHinkley>()?;
    module.add_class::<ks::SlidingKs>()?;
    module.add_class::<normal::Ordered>()?;
    module.add_class::<normal::Scores>()?;
    module.add_class::<watch::Watch>()?;
    module.add_class::<watch::Watches>()?;
    module.add_function(wrap_pyfunction!(watch::advance, module)?)?;
    module.add_function(wrap_pyfunction!(watch::advance_groups, module)?)?;
    decode::register(module)?;
    Ok(())
}

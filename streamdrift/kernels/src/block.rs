//! A block of values from Python, and the indices of flags back.

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Values from which on the interpreter lock is released: letting it go and taking it again costs as much as some ten.
const DETACH_FROM: usize = 512;

/// No flags, as nearly always: without values, the one array can be given to all.
static EMPTY: PyOnceLock<Py<PyArray1<i64>>> = PyOnceLock::new();

/// Run `work` over the values; it appends the indices at which it flagged.
pub fn flags<'py>(
    py: Python<'py>,
    values: &PyReadonlyArray1<'py, f64>,
    mut work: impl FnMut(&[f64], &mut Vec<i64>) + Send,
) -> Bound<'py, PyArray1<i64>> {
    let mut found = Vec::new();
    match values.as_slice() {
        Ok(slice) if slice.len() < DETACH_FROM => work(slice, &mut found),
        // A copy, for another thread may write into the array while the lock is released; it costs a hundredth of the work.
        _ => {
            let copied = copy(values);
            py.detach(|| work(&copied, &mut found));
        }
    }
    if found.is_empty() {
        return EMPTY.get_or_init(py, || PyArray1::from_slice(py, &[]).unbind()).bind(py).clone();
    }
    PyArray1::from_slice(py, &found)
}

/// The values, in order, whatever the array's strides.
pub fn copy(values: &PyReadonlyArray1<'_, f64>) -> Vec<f64> {
    values.as_array().to_vec()
}

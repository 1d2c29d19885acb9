//! The state of a watch, to and from Python.

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::scan::{Normal, Scan, Told, WINDOWS};

/// A scan's normal values: eight arrays in the order of `Calibration`, a threshold, and whether up and down count.
pub type Judged<'py> = (Vec<Bound<'py, PyAny>>, f64, bool, bool);

pub fn scan<const C: usize>(told: &Judged<'_>) -> PyResult<Scan<C>> {
    let (arrays, threshold, up, down) = told;
    let [mean, sd, size, low, high, skew_up, skew_down, n] = arrays.as_slice() else {
        return Err(PyValueError::new_err("a calibration is eight arrays"));
    };
    let by_score = |array: &Bound<'_, PyAny>| {
        let found = array.extract::<PyReadonlyArray1<'_, f64>>()?;
        Ok::<_, PyErr>(found.as_array().to_vec())
    };
    let by_window = |array: &Bound<'_, PyAny>| {
        let found = array.extract::<PyReadonlyArray2<'_, f64>>()?;
        if found.shape() != [WINDOWS.len(), C] {
            return Err(PyValueError::new_err(format!("a calibration of {C} scores was expected")));
        }
        Ok(found.as_array().to_owned())
    };
    let (mean, sd, n) = (by_score(mean)?, by_score(sd)?, by_score(n)?);
    let (skew_up, skew_down) = (by_score(skew_up)?, by_score(skew_down)?);
    let (size, low, high) = (by_window(size)?, by_window(low)?, by_window(high)?);
    if [&mean, &sd, &n, &skew_up, &skew_down].iter().any(|array| array.len() != C) {
        return Err(PyValueError::new_err(format!("a calibration of {C} scores was expected")));
    }
    let normal = |w: usize, c: usize| Normal {
        mean: mean[c],
        sd: sd[c],
        size: size[(w, c)],
        low: low[(w, c)],
        high: high[(w, c)],
        skew_up: skew_up[c],
        skew_down: skew_down[c],
        n: n[c],
    };
    let table: Vec<Vec<Normal>> = (0..WINDOWS.len()).map(|w| (0..C).map(|c| normal(w, c)).collect()).collect();
    Ok(Scan::new(&table, *threshold, *up, *down))
}

pub fn wanted<'py, T: FromPyObjectOwned<'py>>(parts: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>> {
    match parts.get_item(name)? {
        Some(value) if !value.is_none() => value.extract().map(Some).map_err(Into::into),
        _ => Ok(None),
    }
}

pub fn needed<'py, T: FromPyObjectOwned<'py>>(parts: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    wanted(parts, name)?.ok_or_else(|| PyValueError::new_err(format!("{name} is missing")))
}

/// Sums, first times, partial sum, its time, events in it, stretches: attributes of `confirm.Scan`.
pub type Arrays<'py> =
    (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, i64, usize, usize);

pub fn arrays<'py, const C: usize>(py: Python<'py>, scan: &Scan<C>) -> PyResult<Arrays<'py>> {
    let (sums, firsts, partial, partial_time, filled, stretches) = scan.told();
    Ok((
        PyArray2::from_vec2(py, &sums)?,
        PyArray1::from_vec(py, firsts),
        PyArray1::from_vec(py, partial),
        partial_time,
        filled,
        stretches,
    ))
}

pub fn adopt<const C: usize>(scan: &mut Scan<C>, told: &Bound<'_, PyTuple>) -> PyResult<()> {
    let (sums, firsts, partial, partial_time, filled, stretches): (
        PyReadonlyArray2<'_, i64>,
        PyReadonlyArray1<'_, i64>,
        PyReadonlyArray1<'_, i64>,
        i64,
        usize,
        usize,
    ) = told.extract()?;
    let sums = sums.as_array().rows().into_iter().map(|row| row.to_vec()).collect();
    let told: Told = (sums, firsts.as_array().to_vec(), partial.as_array().to_vec(), partial_time, filled, stretches);
    scan.adopt(&told).map_err(PyValueError::new_err)
}

pub fn taken_over<const C: usize>(scan: &mut Option<Scan<C>>, told: &Bound<'_, PyDict>, name: &str) -> PyResult<()> {
    match scan {
        Some(scan) => adopt(scan, &needed(told, name)?),
        None => Ok(()),
    }
}

//! The state of a watch, to and from Python.

use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::conversion::FromPyObjectOwned;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::scan::{Normal, WINDOWS};
use crate::shares::Sums;
use crate::timeline::{self, Place, KEPT, STRETCH};

/// A scan's normal values: eight arrays in the order of `Calibration`, a threshold, and whether up and down count.
pub type Judged<'py> = (Vec<Bound<'py, PyAny>>, f64, bool, bool);

/// What is normal, by window and score.
pub fn normal<const C: usize>(told: &Judged<'_>) -> PyResult<Vec<Vec<Normal>>> {
    let arrays = &told.0;
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
    Ok((0..WINDOWS.len()).map(|w| (0..C).map(|c| normal(w, c)).collect()).collect())
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

pub fn arrays<'py>(py: Python<'py>, (sums, partial): Sums, timeline: &timeline::Told) -> PyResult<Arrays<'py>> {
    Ok((
        PyArray2::from_vec2(py, &sums)?,
        PyArray1::from_slice(py, &timeline.firsts),
        PyArray1::from_vec(py, partial),
        timeline.since,
        timeline.place.filled,
        timeline.place.stretches,
    ))
}

/// A scan's state as the reference engine has it, its parts known to fit together.
pub struct Parts<const C: usize> {
    pub timeline: timeline::Told,
    pub sums: Vec<[i64; C]>,
    pub partial: [i64; C],
}

pub fn parts<const C: usize>(told: &Bound<'_, PyTuple>) -> PyResult<Parts<C>> {
    let (sums, firsts, partial, since, filled, stretches): (
        PyReadonlyArray2<'_, i64>,
        PyReadonlyArray1<'_, i64>,
        PyReadonlyArray1<'_, i64>,
        i64,
        usize,
        usize,
    ) = told.extract()?;
    let (kept, by_score) = (sums.shape()[0], sums.shape()[1]);
    if by_score != C
        || partial.shape() != [C]
        || kept != stretches.min(KEPT) + 1
        || firsts.shape() != [kept - 1]
        || filled >= STRETCH
    {
        return Err(PyValueError::new_err(format!(
            "a scan of {C} scores can't go on from {kept} sums after {stretches} stretches"
        )));
    }
    let (sums, partial) = (sums.as_array(), partial.as_array());
    Ok(Parts {
        timeline: timeline::Told { firsts: firsts.as_array().to_vec(), since, place: Place { stretches, filled } },
        sums: sums.rows().into_iter().map(|row| std::array::from_fn(|c| row[c])).collect(),
        partial: std::array::from_fn(|c| partial[c]),
    })
}

/// What is said where a state holds what no events can have made.
pub fn no_sums() -> PyErr {
    PyValueError::new_err("a scan's sums are none of scores of events")
}

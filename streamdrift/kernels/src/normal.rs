//! What is normal for a series: its reference window, the scores of its ranks, and what the clock does to them.

use std::sync::Arc;

use numpy::ndarray::ArrayView1;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::prefetch;
use crate::scan::SCORE_MAX;

const DAY_MS: i64 = 86_400_000;

/// (2n+1, 4) scores by twice the mid-rank: one table serves all series whose references have n values.
#[pyclass(frozen, module = "streamdrift.kernels._compiled")]
pub struct Scores {
    pub rows: Vec<[i32; 4]>,
}

#[pymethods]
impl Scores {
    #[new]
    fn new(table: PyReadonlyArray2<'_, i64>) -> PyResult<Self> {
        let wrong = || PyValueError::new_err("a score table has four columns of integers below 2^25");
        let view = table.as_array();
        if view.ncols() != 4 {
            return Err(wrong());
        }
        let mut rows = Vec::with_capacity(view.nrows());
        for row in view.rows() {
            let mut scores = [0; 4];
            for (score, value) in scores.iter_mut().zip(row) {
                *score = i32::try_from(*value)
                    .ok()
                    .filter(|&value| i64::from(value).abs() < SCORE_MAX / 2)
                    .ok_or_else(wrong)?;
            }
            rows.push(scores);
        }
        Ok(Self { rows })
    }
}

/// The distinct values of a reference window, rising, and how many values lie below each: held once, for all that compare
/// values with them, Python's `Reference` included.
#[pyclass(frozen, module = "streamdrift.kernels._compiled")]
pub struct Ordered {
    /// The last is infinity, which no value equals.
    pub distinct: Arc<[f64]>,
    /// None where every value is there once.
    below: Option<Arc<[i32]>>,
}

#[pymethods]
impl Ordered {
    #[new]
    fn new(distinct: PyReadonlyArray1<'_, f64>, below: PyReadonlyArray1<'_, i32>) -> PyResult<Self> {
        let (distinct, below) = (distinct.as_array().to_vec(), below.as_array().to_vec());
        let rises = below.first() == Some(&0) && below.windows(2).all(|two| two[0] < two[1]);
        if distinct.len() != below.len() || !rises || distinct.last() != Some(&f64::INFINITY) {
            return Err(PyValueError::new_err("a reference has rising counts, and ends with infinity"));
        }
        let once = below.len() == below[below.len() - 1] as usize + 1;
        Ok(Self { distinct: distinct.into(), below: (!once).then(|| below.into()) })
    }

    /// Views of both, which must not be written into; in place of the counts None, where every value is there once.
    #[getter]
    fn arrays<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyArray1<f64>>, Option<Bound<'py, PyArray1<i32>>>)> {
        let below = slf.get().below.as_ref().map(|below| view(slf, below));
        Ok((view(slf, &slf.get().distinct)?, below.transpose()?))
    }
}

/// A read-only view of what an object holds.
fn view<'py, T: Element>(owner: &Bound<'py, Ordered>, held: &[T]) -> PyResult<Bound<'py, PyArray1<T>>> {
    // SAFETY: the owner holds `held` in an `Arc` that is never replaced, for it is frozen; the array keeps the owner alive; and it
    // is made read-only before anyone sees it (tests/kernels/test_watch.py: test_a_reference_is_held_once_and_for_all).
    let array = unsafe { PyArray1::borrow_from_array(&ArrayView1::from(held), owner.clone().into_any()) };
    array.call_method1("setflags", (false,))?;
    Ok(array)
}

/// The reference window as far as values are compared with it.
pub struct Reference<'a> {
    distinct: &'a [f64],
    below: Option<&'a [i32]>,
    mean: f64,
    sd: f64,
    tail: f64,
}

impl<'a> Reference<'a> {
    /// Values from `tail` on are compared as if they were that.
    pub fn new(ordered: &'a Ordered, mean: f64, sd: f64, tail: f64) -> Self {
        Self { distinct: &ordered.distinct, below: ordered.below.as_deref(), mean, sd, tail }
    }
}

impl Ordered {
    /// Values in the reference.
    pub fn n(&self) -> usize {
        self.below.as_ref().map_or(self.distinct.len() - 1, |below| below[below.len() - 1] as usize)
    }

    /// Ask for the memory that ranks will need.
    pub fn prefetch(&self) {
        prefetch::slice(&self.distinct);
        if let Some(below) = &self.below {
            prefetch::slice(below);
        }
    }
}

impl Reference<'_> {
    #[inline]
    pub fn rank(&self, value: f64) -> usize {
        let value = value.min(self.tail);
        let place = self.distinct.partition_point(|&one| one < value);
        let among = usize::from(self.distinct[place] == value);
        match self.below {
            Some(below) => (below[place] + below[place + among]) as usize,
            None => 2 * place + among,
        }
    }

    #[inline]
    pub fn standardise(&self, value: f64) -> f64 {
        ((value.min(self.tail) - self.mean) / self.sd).clamp(-10.0, 10.0)
    }
}

/// What the time of day and the day of the week take off the scores (`detect/clock.py`).
pub struct Clock {
    day: Vec<[i32; 4]>,
    week: Vec<[i32; 4]>,
}

impl Clock {
    /// (96, 4) by the quarter of an hour, (7, 4) by the day.
    pub fn new(day: &PyReadonlyArray2<'_, i32>, week: &PyReadonlyArray2<'_, i32>) -> PyResult<Self> {
        Ok(Self { day: rows(day, 96)?, week: rows(week, 7)? })
    }

    #[inline]
    pub fn at(&self, time: i64) -> [i32; 4] {
        let day = time.div_euclid(DAY_MS);
        let quarter = (time - day * DAY_MS) / (DAY_MS / 96);
        let (of_day, of_week) = (&self.day[quarter as usize], &self.week[day.rem_euclid(7) as usize]);
        std::array::from_fn(|c| of_day[c] + of_week[c])
    }
}

fn rows(table: &PyReadonlyArray2<'_, i32>, n: usize) -> PyResult<Vec<[i32; 4]>> {
    if table.shape() != [n, 4] {
        return Err(PyValueError::new_err(format!("a clock has {n} rows of four scores")));
    }
    // a score is at most 9; with a quarter of the most there may be for day and week each, there is room enough
    if table.as_array().iter().any(|expected| i64::from(*expected).abs() > SCORE_MAX / 4) {
        return Err(PyValueError::new_err("a clock takes more off a score than any score has"));
    }
    Ok(table.as_array().rows().into_iter().map(|row| std::array::from_fn(|c| row[c])).collect())
}

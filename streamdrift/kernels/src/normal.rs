//! What is normal for a series: its reference window, the scores of its ranks, and what the clock does to them.

use numpy::{PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

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

/// The reference window as far as values are compared with it.
pub struct Reference<'a> {
    pub distinct: &'a [f64],
    pub below: &'a [i32],
    pub mean: f64,
    pub sd: f64,
}

impl Reference<'_> {
    #[inline]
    pub fn rank(&self, value: f64) -> usize {
        // the last of the distinct values is infinity, which no value equals
        let place = self.distinct.partition_point(|&one| one < value);
        let among = usize::from(self.distinct[place] == value);
        (self.below[place] + self.below[place + among]) as usize
    }

    #[inline]
    pub fn standardise(&self, value: f64) -> f64 {
        ((value - self.mean) / self.sd).clamp(-10.0, 10.0)
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

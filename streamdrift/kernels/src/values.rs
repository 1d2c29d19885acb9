//! The clean values of a series, through everything that watches them (`detect/value_watch.py`).

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::adwin::Adwin;
use crate::ks::SlidingKs;
use crate::normal::{Clock, Reference, Scores};
use crate::page_hinkley::PageHinkley;
use crate::prefetch;
use crate::run::{Limits, Run};
use crate::scan::{Scan, UNIT};
use crate::told::{adopt, arrays, needed, scan, wanted, Judged};

/// The latest values, as a ring.
struct Recent {
    values: Vec<f64>,
    next: usize,
    kept: usize,
}

impl Recent {
    fn push(&mut self, values: &[f64]) {
        for &value in &values[values.len().saturating_sub(self.kept)..] {
            if self.values.len() < self.kept {
                self.values.push(value);
            } else {
                self.values[self.next] = value;
                self.next = (self.next + 1) % self.kept;
            }
        }
    }

    fn in_order(&self) -> Vec<f64> {
        [&self.values[self.next..], &self.values[..self.next]].concat()
    }
}

/// Flags of the detectors: how many, and the number of the value at which the latest was.
#[derive(Clone, Copy, Default)]
struct Flags {
    count: i64,
    latest: i64,
}

/// What watches the clean values.
pub struct Values {
    distinct: Py<PyArray1<f64>>,
    below: Py<PyArray1<i32>>,
    /// Values from this one on are compared as if they were this one: see `detect/baseline.py`, `Tail`.
    tail: f64,
    pooled: Vec<f64>,
    mean: f64,
    sd: f64,
    scores: Py<Scores>,
    clock: Option<Clock>,
    scan: Scan<4>,
    far: Option<(f64, f64, Scan<1>)>,
    unseen: Option<(f64, Scan<1>)>,
    run: Option<(Run, Limits)>,
    recent: Recent,
    adwin: Option<Py<Adwin>>,
    page_hinkley: Option<Py<PageHinkley>>,
    ks: Option<Py<SlidingKs>>,
    flags: [Flags; 3],
    seen: i64,
}

impl Values {
    /// See `ValueWatch.parts`.
    pub fn new(parts: &Bound<'_, PyDict>) -> PyResult<Self> {
        let clock: Option<(PyReadonlyArray2<'_, i32>, PyReadonlyArray2<'_, i32>)> = wanted(parts, "clock")?;
        let clock = clock.map(|(day, week)| Clock::new(&day, &week)).transpose()?;
        let far: Option<(f64, f64, Judged<'_>)> = wanted(parts, "far")?;
        let unseen: Option<(f64, Judged<'_>)> = wanted(parts, "unseen")?;
        let run: Option<(Vec<(f64, i64)>, i64, i64, i64)> = wanted(parts, "run")?;
        let kept: usize = needed(parts, "recent")?;
        Ok(Self {
            distinct: needed(parts, "distinct")?,
            below: needed(parts, "below")?,
            tail: needed(parts, "tail")?,
            pooled: Vec::new(),
            mean: needed(parts, "mean")?,
            sd: needed(parts, "sd")?,
            scores: needed(parts, "scores")?,
            clock,
            scan: scan(&needed(parts, "scan")?)?,
            far: far.map(|(low, high, judged)| scan(&judged).map(|scan| (low, high, scan))).transpose()?,
            unseen: unseen.map(|(first, judged)| scan(&judged).map(|scan| (first, scan))).transpose()?,
            run: run.map(|(spells, longest, least, repeating)| {
                (Run::new(f64::NAN, 0, 0), Limits::new(spells, longest, least, repeating))
            }),
            recent: Recent { values: Vec::new(), next: 0, kept: kept.max(1) },
            adwin: wanted(parts, "adwin")?,
            page_hinkley: wanted(parts, "page_hinkley")?,
            ks: wanted(parts, "ks")?,
            flags: [Flags::default(); 3],
            seen: 0,
        })
    }

    /// Write the state into a dictionary, as `ValueWatch.told` does.
    pub fn told(&self, py: Python<'_>, told: &Bound<'_, PyDict>) -> PyResult<()> {
        told.set_item("scan", arrays(py, &self.scan)?)?;
        told.set_item("far", self.far.as_ref().map(|(_, _, scan)| arrays(py, scan)).transpose()?)?;
        told.set_item("unseen", self.unseen.as_ref().map(|(_, scan)| arrays(py, scan)).transpose()?)?;
        told.set_item("run", self.run.as_ref().map(|(run, _)| run.told()))?;
        told.set_item("recent", PyArray1::from_vec(py, self.recent.in_order()))?;
        told.set_item("flags", self.flags.map(|one| (one.count, one.latest)).to_vec())?;
        told.set_item("seen", self.seen)
    }

    /// Go on from a state of that form.
    pub fn adopt(&mut self, told: &Bound<'_, PyDict>) -> PyResult<()> {
        adopt(&mut self.scan, &needed(told, "scan")?)?;
        if let Some((_, _, scan)) = &mut self.far {
            adopt(scan, &needed(told, "far")?)?;
        }
        if let Some((_, scan)) = &mut self.unseen {
            adopt(scan, &needed(told, "unseen")?)?;
        }
        if let Some((run, _)) = &mut self.run {
            let (value, length, since): (f64, i64, i64) = needed(told, "run")?;
            *run = Run::new(value, length, since);
        }
        let recent: PyReadonlyArray1<'_, f64> = needed(told, "recent")?;
        (self.recent.values, self.recent.next) = (Vec::new(), 0);
        self.recent.push(recent.as_slice()?);
        let flags: Vec<(i64, i64)> = needed(told, "flags")?;
        for (one, (count, latest)) in self.flags.iter_mut().zip(flags) {
            *one = Flags { count, latest };
        }
        self.seen = needed(told, "seen")?;
        Ok(())
    }
}

impl Values {
    /// Ask for what the next values will need, but for what lies in other objects: these are asked for themselves.
    pub fn prefetch(&self) {
        self.scan.prefetch();
        prefetch::slice(&self.recent.values[self.recent.next..]);
        for scan in self.far.iter().map(|far| &far.2).chain(self.unseen.iter().map(|unseen| &unseen.1)) {
            scan.prefetch();
        }
        for array in [self.distinct.as_any(), self.below.as_any()] {
            prefetch::object(array, size_of::<usize>() * 10);
        }
        if let Some(one) = &self.adwin {
            prefetch::object(one, size_of::<Adwin>());
        }
        if let Some(one) = &self.page_hinkley {
            prefetch::object(one, size_of::<PageHinkley>());
        }
        if let Some(one) = &self.ks {
            prefetch::object(one, size_of::<SlidingKs>());
        }
    }

    /// Ask for what lies in other objects, which must have come by now.
    pub fn prefetch_beyond(&self, py: Python<'_>) {
        if let Some(one) = &self.adwin {
            one.bind(py).borrow().prefetch();
        }
        if let Some(one) = &self.ks {
            one.bind(py).borrow().prefetch();
        }
        if let Ok(distinct) = self.distinct.bind(py).try_readonly() {
            distinct.as_slice().map(prefetch::slice).unwrap_or_default();
        }
        if let Ok(below) = self.below.bind(py).try_readonly() {
            below.as_slice().map(prefetch::slice).unwrap_or_default();
        }
    }
}

impl Values {
    fn mark(&mut self) {
        self.scan.mark();
        if let Some((_, _, scan)) = &mut self.far {
            scan.mark();
        }
        if let Some((_, scan)) = &mut self.unseen {
            scan.mark();
        }
    }

    fn rollback(&mut self, run: Option<Run>) {
        self.scan.rollback();
        if let Some((_, _, scan)) = &mut self.far {
            scan.rollback();
        }
        if let Some((_, scan)) = &mut self.unseen {
            scan.rollback();
        }
        if let (Some((now, _)), Some(before)) = (&mut self.run, run) {
            *now = before;
        }
    }

    /// Whether none of the values calls for a look; where one does, some of them may be in the sums already.
    fn scanned(
        &mut self,
        values: &[f64],
        pooled: &[f64],
        times: &[i64],
        reference: &Reference<'_>,
        table: &[[i32; 4]],
    ) -> bool {
        if let Some((run, limits)) = &mut self.run {
            if !run.take(values, times, limits) {
                return false;
            }
        }
        if let Some((low, high, scan)) = &mut self.far {
            if values.iter().any(|value| value < low || value > high) || !scan.push_zeros(times) {
                return false;
            }
        }
        if let Some((first, scan)) = &mut self.unseen {
            let quiet = if values.iter().any(|value| value >= first) {
                let unit = |value: &f64| if value >= first { UNIT } else { 0 };
                values.iter().zip(times).all(|(value, &time)| scan.push([unit(value)], time))
            } else {
                scan.push_zeros(times)
            };
            if !quiet {
                return false;
            }
        }
        let (scan, clock) = (&mut self.scan, &self.clock);
        pooled.iter().zip(times).all(|(&value, &time)| {
            let mut scores = table[reference.rank(value)].map(i64::from);
            if let Some(clock) = clock {
                let expected = clock.at(time);
                for c in 0..4 {
                    scores[c] -= expected[c];
                }
            }
            scan.push(scores, time)
        })
    }

    fn flagged(&mut self, detector: usize, flags: &[i64]) {
        if let Some(last) = flags.last() {
            self.flags[detector].count += flags.len() as i64;
            self.flags[detector].latest = self.seen + last;
        }
    }
}

impl Values {
    /// Take clean values, or none of them.
    pub fn take(
        &mut self,
        py: Python<'_>,
        values: &[f64],
        times: &[i64],
        z: &mut Vec<f64>,
        flags: &mut Vec<i64>,
    ) -> PyResult<bool> {
        let (distinct, below) = (self.distinct.bind(py).readonly(), self.below.bind(py).readonly());
        let (distinct, below) = (distinct.as_slice()?, below.as_slice()?);
        let reference = Reference { distinct, below, mean: self.mean, sd: self.sd };
        let scores = self.scores.clone_ref(py);
        let table = &scores.get().rows;
        if distinct.is_empty() || below.len() != distinct.len() || table.len() <= 2 * below[below.len() - 1] as usize {
            return Err(PyValueError::new_err("reference and score table don't belong together"));
        }
        let before = self.run.as_ref().map(|(run, _)| run.clone());
        self.mark();
        let mut own = std::mem::take(&mut self.pooled);
        let pooled = if self.tail < f64::INFINITY {
            own.clear();
            own.extend(values.iter().map(|value| value.min(self.tail)));
            &own[..]
        } else {
            values
        };
        if !self.scanned(values, pooled, times, &reference, table) {
            self.rollback(before);
            self.pooled = own;
            return Ok(false);
        }
        z.clear();
        z.extend(pooled.iter().map(|&value| reference.standardise(value)));
        for detector in 0..3 {
            flags.clear();
            match detector {
                0 => self.adwin.as_ref().map(|one| one.bind(py).borrow_mut().feed(z, flags)),
                1 => self.page_hinkley.as_ref().map(|one| one.bind(py).borrow_mut().feed(z, flags)),
                _ => self.ks.as_ref().map(|one| one.bind(py).borrow_mut().feed(pooled, flags)),
            };
            self.flagged(detector, flags);
        }
        self.pooled = own;
        self.recent.push(values);
        self.seen += values.len() as i64;
        Ok(true)
    }
}

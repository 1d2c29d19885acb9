//! A series on an ordinary day: its values, through everything that watches them, in one call.
//!
//! `Watch` holds the state that ordinary values change, and takes values for as long as none of them calls for a look: none
//! is of the wrong kind or far out, no run of a value is too long, no scan leaves its bounds. Where one does, it takes that part
//! back and stops; the reference engine goes on from there, with the state that `told` gives it.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::conversion::FromPyObjectOwned;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::adwin::Adwin;
use crate::ks::SlidingKs;
use crate::page_hinkley::PageHinkley;
use crate::run::{Limits, Run};
use crate::scan::{Normal, Scan, Told, UNIT, WINDOWS};

/// Values that are taken back at most, once one of them calls for a look.
const PART: usize = 1024;
/// Kinds of a value, as `blocks.column` numbers them.
const NULL: u8 = 1;
const NUMBER: u8 = 2;

/// (2n+1, 4) scores by twice the mid-rank: one table serves all series whose references have n values.
#[pyclass(frozen, module = "streamdrift.kernels._compiled")]
pub struct Scores {
    rows: Vec<[i32; 4]>,
}

#[pymethods]
impl Scores {
    #[new]
    fn new(table: PyReadonlyArray2<'_, i64>) -> PyResult<Self> {
        let wrong = || PyValueError::new_err("a score table has four columns of integers below 2^31");
        let view = table.as_array();
        if view.ncols() != 4 {
            return Err(wrong());
        }
        let mut rows = Vec::with_capacity(view.nrows());
        for row in view.rows() {
            let mut scores = [0; 4];
            for (score, value) in scores.iter_mut().zip(row) {
                *score = i32::try_from(*value).map_err(|_| wrong())?;
            }
            rows.push(scores);
        }
        Ok(Self { rows })
    }
}

/// The reference window as far as values are compared with it.
struct Reference<'a> {
    distinct: &'a [f64],
    below: &'a [i32],
    mean: f64,
    sd: f64,
}

impl Reference<'_> {
    #[inline]
    fn rank(&self, value: f64) -> usize {
        // the last of the distinct values is infinity, which no value equals
        let place = self.distinct.partition_point(|&one| one < value);
        let among = usize::from(self.distinct[place] == value);
        (self.below[place] + self.below[place + among]) as usize
    }

    #[inline]
    fn standardise(&self, value: f64) -> f64 {
        ((value - self.mean) / self.sd).clamp(-10.0, 10.0)
    }
}

/// What the time of day and the day of the week take off the scores (`detect/clock.py`).
struct Clock {
    day: Vec<[i32; 4]>,
    week: Vec<[i32; 4]>,
}

const DAY_MS: i64 = 86_400_000;

impl Clock {
    #[inline]
    fn at(&self, time: i64) -> [i64; 4] {
        let day = time.div_euclid(DAY_MS);
        let quarter = (time - day * DAY_MS) / (DAY_MS / 96);
        let (of_day, of_week) = (&self.day[quarter as usize], &self.week[day.rem_euclid(7) as usize]);
        std::array::from_fn(|c| i64::from(of_day[c]) + i64::from(of_week[c]))
    }
}

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
struct Values {
    distinct: Py<PyArray1<f64>>,
    below: Py<PyArray1<i32>>,
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

/// Room that is used again for each part.
#[derive(Default)]
struct Room {
    values: Vec<f64>,
    times: Vec<i64>,
    z: Vec<f64>,
    flags: Vec<i64>,
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
    fn scanned(&mut self, values: &[f64], times: &[i64], reference: &Reference<'_>, table: &[[i32; 4]]) -> bool {
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
        values.iter().zip(times).all(|(&value, &time)| {
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

/// The state of one series on ordinary days. See `detect/quiet.py`, which makes it.
#[pyclass(module = "streamdrift.kernels._compiled")]
pub struct Watch {
    kind: u8,
    missing: Option<Scan<2>>,
    invalid: Option<Scan<2>>,
    values: Option<Values>,
    room: Room,
}

/// A scan's normal values: eight arrays in the order of `Calibration`, a threshold, and whether up and down count.
type Judged<'py> = (Vec<Bound<'py, PyAny>>, f64, bool, bool);

fn scan<const C: usize>(told: &Judged<'_>) -> PyResult<Scan<C>> {
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

fn wanted<'py, T: FromPyObjectOwned<'py>>(parts: &Bound<'py, PyDict>, name: &str) -> PyResult<Option<T>> {
    match parts.get_item(name)? {
        Some(value) if !value.is_none() => value.extract().map(Some).map_err(Into::into),
        _ => Ok(None),
    }
}

fn needed<'py, T: FromPyObjectOwned<'py>>(parts: &Bound<'py, PyDict>, name: &str) -> PyResult<T> {
    wanted(parts, name)?.ok_or_else(|| PyValueError::new_err(format!("{name} is missing")))
}

#[pymethods]
impl Watch {
    /// See `detect/quiet.py` for what the parts are.
    #[new]
    fn new(kind: u8, missing: Option<Judged<'_>>, invalid: Option<Judged<'_>>, parts: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        Ok(Self {
            kind,
            missing: missing.as_ref().map(scan).transpose()?,
            invalid: invalid.as_ref().map(scan).transpose()?,
            values: parts.map(values_of).transpose()?,
            room: Room::default(),
        })
    }

    /// Take rows as long as nothing calls for a look; how many were taken.
    ///
    /// `values` (n,) float64, anything where a row has no clean value; `kinds` (n,) uint8, None where all are numbers;
    /// `times` (n,) int64.
    fn advance(
        &mut self,
        py: Python<'_>,
        values: PyReadonlyArray1<'_, f64>,
        kinds: Option<PyReadonlyArray1<'_, u8>>,
        times: PyReadonlyArray1<'_, i64>,
    ) -> PyResult<usize> {
        let (values, times) = (values.as_slice()?, times.as_slice()?);
        let kinds = kinds.as_ref().map(|kinds| kinds.as_slice()).transpose()?;
        let n = values.len();
        if times.len() != n || kinds.is_some_and(|kinds| kinds.len() != n) {
            return Err(PyValueError::new_err("values, kinds and times differ in length"));
        }
        if kinds.is_none() && self.kind != NUMBER {
            return Ok(0);
        }
        let mut taken = 0;
        while taken < n {
            let end = n.min(taken + PART);
            let kinds = kinds.map(|kinds| &kinds[taken..end]);
            if !self.part(py, &values[taken..end], kinds, &times[taken..end])? {
                break;
            }
            taken = end;
        }
        Ok(taken)
    }

    /// The state, as the reference engine has it: scans by name (None where nothing is watched), and `run`, `recent`, `flags`,
    /// `seen` of the clean values.
    fn told<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        told.set_item("missing", self.missing.as_ref().map(|scan| arrays(py, scan)).transpose()?)?;
        told.set_item("invalid", self.invalid.as_ref().map(|scan| arrays(py, scan)).transpose()?)?;
        if let Some(watched) = &self.values {
            told.set_item("scan", arrays(py, &watched.scan)?)?;
            told.set_item("far", watched.far.as_ref().map(|(_, _, scan)| arrays(py, scan)).transpose()?)?;
            told.set_item("unseen", watched.unseen.as_ref().map(|(_, scan)| arrays(py, scan)).transpose()?)?;
            told.set_item("run", watched.run.as_ref().map(|(run, _)| run.told()))?;
            told.set_item("recent", PyArray1::from_vec(py, watched.recent.in_order()))?;
            told.set_item("flags", watched.flags.map(|one| (one.count, one.latest)).to_vec())?;
            told.set_item("seen", watched.seen)?;
        }
        Ok(told)
    }

    /// Go on from a state of `told`'s form.
    fn adopt(&mut self, told: &Bound<'_, PyDict>) -> PyResult<()> {
        taken_over(&mut self.missing, told, "missing")?;
        taken_over(&mut self.invalid, told, "invalid")?;
        if let Some(watched) = &mut self.values {
            adopt(&mut watched.scan, &needed(told, "scan")?)?;
            if let Some((_, _, scan)) = &mut watched.far {
                adopt(scan, &needed(told, "far")?)?;
            }
            if let Some((_, scan)) = &mut watched.unseen {
                adopt(scan, &needed(told, "unseen")?)?;
            }
            if let Some((run, _)) = &mut watched.run {
                let (value, length, since): (f64, i64, i64) = needed(told, "run")?;
                *run = Run::new(value, length, since);
            }
            let recent: PyReadonlyArray1<'_, f64> = needed(told, "recent")?;
            let recent = recent.as_slice()?;
            (watched.recent.values, watched.recent.next) = (Vec::new(), 0);
            watched.recent.push(recent);
            let flags: Vec<(i64, i64)> = needed(told, "flags")?;
            for (one, (count, latest)) in watched.flags.iter_mut().zip(flags) {
                *one = Flags { count, latest };
            }
            watched.seen = needed(told, "seen")?;
        }
        Ok(())
    }
}

/// Sums, first times, partial sum, its time, events in it, stretches: attributes of `confirm.Scan`.
type Arrays<'py> = (Bound<'py, PyArray2<i64>>, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>, i64, usize, usize);

fn arrays<'py, const C: usize>(py: Python<'py>, scan: &Scan<C>) -> PyResult<Arrays<'py>> {
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

fn adopt<const C: usize>(scan: &mut Scan<C>, told: &Bound<'_, PyTuple>) -> PyResult<()> {
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

fn taken_over<const C: usize>(scan: &mut Option<Scan<C>>, told: &Bound<'_, PyDict>, name: &str) -> PyResult<()> {
    match scan {
        Some(scan) => adopt(scan, &needed(told, name)?),
        None => Ok(()),
    }
}

impl Watch {
    /// Take a part, or none of it.
    fn part(&mut self, py: Python<'_>, values: &[f64], kinds: Option<&[u8]>, times: &[i64]) -> PyResult<bool> {
        let kind = self.kind;
        if kinds.is_some_and(|kinds| kinds.iter().any(|&one| one != kind && one > NULL)) {
            return Ok(false);
        }
        let room = &mut self.room;
        let all = kinds.is_none_or(|kinds| kinds.iter().all(|&one| one == kind));
        if !all {
            (room.values.clear(), room.times.clear());
            for (i, &one) in kinds.unwrap_or_default().iter().enumerate() {
                if one == kind {
                    (room.values.push(values[i]), room.times.push(times[i]));
                }
            }
        }
        for lane in [&mut self.missing, &mut self.invalid].into_iter().flatten() {
            lane.mark();
        }
        let mut quiet = self.invalid.as_mut().is_none_or(|lane| lane.push_zeros(times));
        if let (true, Some(lane)) = (quiet, &mut self.missing) {
            quiet = match kinds {
                Some(kinds) if !all => kinds.iter().zip(times).all(|(&one, &time)| {
                    let unit = |is: bool| if is { UNIT } else { 0 };
                    lane.push([unit(one <= NULL), unit(one < NULL)], time)
                }),
                _ => lane.push_zeros(times),
            };
        }
        if let (true, Some(watched)) = (quiet, &mut self.values) {
            let (clean, clean_times) = if all { (values, times) } else { (&room.values[..], &room.times[..]) };
            quiet = watched.take(py, clean, clean_times, &mut room.z, &mut room.flags)?;
        }
        if !quiet {
            for lane in [&mut self.missing, &mut self.invalid].into_iter().flatten() {
                lane.rollback();
            }
        }
        Ok(quiet)
    }
}

impl Values {
    /// Take clean values, or none of them.
    fn take(
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
        if !self.scanned(values, times, &reference, table) {
            self.rollback(before);
            return Ok(false);
        }
        z.clear();
        z.extend(values.iter().map(|&value| reference.standardise(value)));
        for detector in 0..3 {
            flags.clear();
            match detector {
                0 => self.adwin.as_ref().map(|one| one.bind(py).borrow_mut().feed(z, flags)),
                1 => self.page_hinkley.as_ref().map(|one| one.bind(py).borrow_mut().feed(z, flags)),
                _ => self.ks.as_ref().map(|one| one.bind(py).borrow_mut().feed(values, flags)),
            };
            self.flagged(detector, flags);
        }
        self.recent.push(values);
        self.seen += values.len() as i64;
        Ok(true)
    }
}

fn values_of(parts: &Bound<'_, PyDict>) -> PyResult<Values> {
    let clock: Option<(PyReadonlyArray2<'_, i32>, PyReadonlyArray2<'_, i32>)> = wanted(parts, "clock")?;
    let clock = clock.map(|(day, week)| rows(&day, 96).and_then(|day| Ok(Clock { day, week: rows(&week, 7)? }))).transpose()?;
    let far: Option<(f64, f64, Judged<'_>)> = wanted(parts, "far")?;
    let unseen: Option<(f64, Judged<'_>)> = wanted(parts, "unseen")?;
    let run: Option<(Vec<(f64, i64)>, i64, i64, i64)> = wanted(parts, "run")?;
    let kept: usize = needed(parts, "recent")?;
    Ok(Values {
        distinct: needed(parts, "distinct")?,
        below: needed(parts, "below")?,
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

fn rows(table: &PyReadonlyArray2<'_, i32>, n: usize) -> PyResult<Vec<[i32; 4]>> {
    if table.shape() != [n, 4] {
        return Err(PyValueError::new_err(format!("a clock has {n} rows of four scores")));
    }
    Ok(table.as_array().rows().into_iter().map(|row| std::array::from_fn(|c| row[c])).collect())
}

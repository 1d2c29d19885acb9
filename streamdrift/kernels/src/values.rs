//! The clean values of a series, through everything that watches them (`detect/value_watch.py`).

use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::adwin::Adwin;
use crate::ks::SlidingKs;
use crate::normal::{Clock, Ordered, Reference, Scores};
use crate::page_hinkley::PageHinkley;
use crate::prefetch;
use crate::run::{Limits, Run};
use crate::scan::{Scan, SCORES};
use crate::shares::{Before, Shares, Undo};
use crate::timeline::{self, Place, Timeline};
use crate::told::{arrays, needed, no_sums, normal, parts, wanted, Judged, Parts};

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

/// Room that is used again for each part, whichever series it is of.
#[derive(Default)]
pub struct Room {
    z: Vec<f64>,
    pooled: Vec<f64>,
    flags: Vec<i64>,
    scan: Undo<[i32; SCORES], [i32; SCORES]>,
    share: Undo<Before<1>, [u8; 1]>,
}

/// Where the events of the scans have come to: of all clean values, and of those that are not far out.
#[derive(Clone, Copy)]
pub struct Places {
    pub clean: Place,
    pub near: Place,
}

/// What watches the clean values.
pub struct Values {
    ordered: Py<Ordered>,
    /// Values from this one on are compared as if they were this one: see `detect/baseline.py`, `Tail`.
    tail: f64,
    mean: f64,
    sd: f64,
    scores: Py<Scores>,
    clock: Option<Clock>,
    scan: Scan,
    far: Option<(f64, f64, Shares<1>)>,
    unseen: Option<(f64, Shares<1>)>,
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
        if far.is_some() && unseen.is_some() {
            return Err(PyValueError::new_err("numbers are far out, texts are unseen: both can't be watched"));
        }
        let run: Option<(Vec<(f64, i64)>, i64, i64, i64)> = wanted(parts, "run")?;
        let kept: usize = needed(parts, "recent")?;
        let ordered: Py<Ordered> = needed(parts, "ordered")?;
        let ks: Option<Py<SlidingKs>> = wanted(parts, "ks")?;
        if let Some(ks) = &ks {
            ks.bind(parts.py()).borrow_mut().share(&ordered.get().distinct);
        }
        Ok(Self {
            ordered,
            tail: needed(parts, "tail")?,
            mean: needed(parts, "mean")?,
            sd: needed(parts, "sd")?,
            scores: needed(parts, "scores")?,
            clock,
            scan: {
                let judged: Judged<'_> = needed(parts, "scan")?;
                Scan::new(&normal::<SCORES>(&judged)?, judged.1, judged.2, judged.3)
            },
            far: far.map(|(low, high, judged)| shares(&judged).map(|shares| (low, high, shares))).transpose()?,
            unseen: unseen.map(|(first, judged)| shares(&judged).map(|shares| (first, shares))).transpose()?,
            run: run.map(|(spells, longest, least, repeating)| {
                (Run::new(f64::NAN, 0, 0), Limits::new(spells, longest, least, repeating))
            }),
            recent: Recent { values: Vec::new(), next: 0, kept: kept.max(1) },
            adwin: wanted(parts, "adwin")?,
            page_hinkley: wanted(parts, "page_hinkley")?,
            ks,
            flags: [Flags::default(); 3],
            seen: 0,
        })
    }

    /// Write the state into a dictionary, as `ValueWatch.told` does; with the timelines of clean values, and of those near.
    pub fn told(&self, py: Python<'_>, told: &Bound<'_, PyDict>, clean: &Timeline, near: &Timeline) -> PyResult<()> {
        let near = near.told();
        told.set_item("scan", arrays(py, self.scan.told(near.place), &near)?)?;
        let clean = clean.told();
        let far = self.far.as_ref().map(|(_, _, shares)| arrays(py, shares.told(clean.place), &clean));
        told.set_item("far", far.transpose()?)?;
        let unseen = self.unseen.as_ref().map(|(_, shares)| arrays(py, shares.told(near.place), &near));
        told.set_item("unseen", unseen.transpose()?)?;
        told.set_item("run", self.run.as_ref().map(|(run, _)| run.told()))?;
        told.set_item("recent", PyArray1::from_vec(py, self.recent.in_order()))?;
        told.set_item("flags", self.flags.map(|one| (one.count, one.latest)).to_vec())?;
        told.set_item("seen", self.seen)
    }

    /// Go on from a state of that form; returns the timelines of clean values, and of those near.
    pub fn adopt(&mut self, told: &Bound<'_, PyDict>) -> PyResult<(Option<timeline::Told>, timeline::Told)> {
        let Parts { timeline: near, sums, partial } = parts(&needed(told, "scan")?)?;
        let mut fits = self.scan.adopt(near.place, &sums, partial);
        let mut clean = None;
        if let Some((_, _, shares)) = &mut self.far {
            let Parts { timeline, sums, partial } = parts(&needed(told, "far")?)?;
            fits &= shares.adopt(timeline.place, &sums, partial);
            clean = Some(timeline);
        }
        if let Some((_, shares)) = &mut self.unseen {
            let Parts { timeline, sums, partial } = parts(&needed(told, "unseen")?)?;
            fits &= timeline == near && shares.adopt(near.place, &sums, partial);
        }
        if !fits {
            return Err(no_sums());
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
        Ok((clean, near))
    }
}

fn shares<const C: usize>(judged: &Judged<'_>) -> PyResult<Shares<C>> {
    Ok(Shares::new(&normal::<C>(judged)?, judged.1))
}

impl Values {
    /// Ask for what the next values will need, but for what lies in other objects: these are asked for themselves.
    pub fn prefetch(&self, places: Places) {
        self.scan.prefetch(places.near);
        prefetch::slice(&self.recent.values[self.recent.next..]);
        if let Some((_, _, shares)) = &self.far {
            shares.prefetch(places.clean);
        }
        if let Some((_, shares)) = &self.unseen {
            shares.prefetch(places.near);
        }
        prefetch::object(&self.ordered, size_of::<Ordered>());
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
        self.ordered.get().prefetch();
    }
}

impl Values {
    /// Whether none of the values is worth a look; where one is, some of them may be in the sums already.
    fn scanned(
        &mut self,
        values: &[f64],
        times: &[i64],
        reference: &Reference<'_>,
        table: &[[i32; 4]],
        places: Places,
        room: &mut Room,
    ) -> bool {
        let n = values.len();
        if let Some((run, limits)) = &mut self.run {
            if !run.take(values, times, limits) {
                return false;
            }
        }
        if let Some((low, high, shares)) = &mut self.far {
            if values.iter().any(|value| value < low || value > high)
                || !shares.take_none(places.clean, n, &mut room.share)
            {
                return false;
            }
        }
        if let Some((first, shares)) = &mut self.unseen {
            let quiet = if values.iter().any(|value| value >= first) {
                shares.take(places.near, n, &mut room.share, |i| [values[i] >= *first])
            } else {
                shares.take_none(places.near, n, &mut room.share)
            };
            if !quiet {
                return false;
            }
        }
        let clock = &self.clock;
        self.scan.take(places.near, n, &mut room.scan, |i| {
            let mut scores = table[reference.rank(values[i])];
            if let Some(clock) = clock {
                let expected = clock.at(times[i]);
                for c in 0..SCORES {
                    scores[c] -= expected[c];
                }
            }
            scores
        })
    }

    /// From here on what is taken can be taken back.
    fn mark(&self, room: &mut Room) {
        self.scan.mark(&mut room.scan);
        if let Some(shares) = self.rare() {
            shares.mark(&mut room.share);
        }
    }

    fn rollback(&mut self, run: Option<Run>, places: Places, room: &mut Room) {
        self.scan.rollback(places.near, &mut room.scan);
        if let Some((_, _, shares)) = &mut self.far {
            shares.rollback(places.clean, &mut room.share);
        } else if let Some((_, shares)) = &mut self.unseen {
            shares.rollback(places.near, &mut room.share);
        }
        if let (Some((now, _)), Some(before)) = (&mut self.run, run) {
            *now = before;
        }
    }

    /// The share of far or of unseen values: numbers have the one, texts the other.
    fn rare(&self) -> Option<&Shares<1>> {
        self.far.as_ref().map(|far| &far.2).or(self.unseen.as_ref().map(|unseen| &unseen.1))
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
        places: Places,
        room: &mut Room,
    ) -> PyResult<bool> {
        let (ordered, scores) = (self.ordered.clone_ref(py), self.scores.clone_ref(py));
        let (reference, table) = (Reference::new(ordered.get(), self.mean, self.sd, self.tail), &scores.get().rows);
        if table.len() <= 2 * ordered.get().n() {
            return Err(PyValueError::new_err("reference and score table don't belong together"));
        }
        let before = self.run.as_ref().map(|(run, _)| run.clone());
        self.mark(room);
        if !self.scanned(values, times, &reference, table, places, room) {
            self.rollback(before, places, room);
            return Ok(false);
        }
        room.z.clear();
        room.z.extend(values.iter().map(|&value| reference.standardise(value)));
        let pooled = if self.tail < f64::INFINITY {
            room.pooled.clear();
            room.pooled.extend(values.iter().map(|value| value.min(self.tail)));
            &room.pooled[..]
        } else {
            values
        };
        for detector in 0..3 {
            let (z, flags) = (&room.z, &mut room.flags);
            flags.clear();
            match detector {
                0 => self.adwin.as_ref().map(|one| one.bind(py).borrow_mut().feed(z, flags)),
                1 => self.page_hinkley.as_ref().map(|one| one.bind(py).borrow_mut().feed(z, flags)),
                _ => self.ks.as_ref().map(|one| one.bind(py).borrow_mut().feed(pooled, flags)),
            };
            self.flagged(detector, &room.flags);
        }
        if let Some((_, _, shares)) = &mut self.far {
            shares.settle();
        }
        if let Some((_, shares)) = &mut self.unseen {
            shares.settle();
        }
        self.recent.push(values);
        self.seen += values.len() as i64;
        Ok(true)
    }
}

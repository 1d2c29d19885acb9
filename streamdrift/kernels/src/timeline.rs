//! Where events are cut into stretches, and when each of the latest stretches began.
//!
//! All that see the same events are cut at the same places, so one timeline serves several scans.

use std::ops::Range;

use crate::prefetch;

/// Events per sum.
pub const STRETCH: usize = 16;
/// Stretches that are kept: those that the longest window reaches back over.
pub const KEPT: usize = 256;
/// Stretches by which a young ring grows: doubling would leave half of it empty in thousands of series.
const GROWTH: usize = 32;

/// One thing for each of the latest stretches, which are counted from 1.
#[derive(Clone, Debug, Default)]
pub struct Ring<T>(Vec<T>);

impl<T: Copy> Ring<T> {
    /// `latest` in order, of the last stretches there were; KEPT of them, or all.
    pub fn new(latest: impl ExactSizeIterator<Item = T>, stretches: usize) -> Self {
        let mut ring = Self(latest.collect());
        if ring.0.len() == KEPT {
            ring.0.rotate_right(stretches % KEPT);
        }
        ring
    }

    #[inline]
    pub fn of(&self, stretch: usize) -> T {
        self.0[(stretch - 1) % KEPT]
    }

    /// Put in the next stretch's; returns what it takes the place of.
    #[inline]
    pub fn put(&mut self, stretch: usize, one: T) -> Option<T> {
        let slot = (stretch - 1) % KEPT;
        if slot < self.0.len() {
            return Some(std::mem::replace(&mut self.0[slot], one));
        }
        if self.0.len() == self.0.capacity() {
            self.0.reserve_exact(GROWTH);
        }
        self.0.push(one);
        None
    }

    /// Undo the latest `put`, which returned `before`.
    pub fn take_back(&mut self, stretch: usize, before: Option<T>) {
        match before {
            Some(one) => self.0[(stretch - 1) % KEPT] = one,
            None => self.0.truncate(self.0.len() - 1),
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Ask for that of a stretch.
    #[inline]
    pub fn prefetch(&self, stretch: usize) {
        if let Some(one) = self.0.get(stretch.wrapping_sub(1) % KEPT) {
            prefetch::value(one);
        }
    }
}

/// How far the events have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Full stretches.
    pub stretches: usize,
    /// Events of the one that is not full yet.
    pub filled: usize,
}

impl Place {
    /// Cut the next `n` events where stretches end; with the number of the stretch that ends there, if one does.
    pub fn pieces(mut self, n: usize) -> impl Iterator<Item = (Range<usize>, Option<usize>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let begin = at;
            at = n.min(begin + STRETCH - self.filled);
            self.filled += at - begin;
            let ends = self.filled == STRETCH;
            if ends {
                self = Self { stretches: self.stretches + 1, filled: 0 };
            }
            (begin < at).then(|| (begin..at, ends.then_some(self.stretches)))
        })
    }
}

/// Event times of the stretches' first events.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    pub place: Place,
    /// Of the stretch that is not full yet.
    since: i64,
    /// Of the latest full one.
    latest: i64,
    steps: Steps,
}

/// By how much each stretch began after the one before it, milliseconds.
#[derive(Clone, Debug)]
enum Steps {
    Short(Ring<i32>),
    Long(Ring<i64>),
}

impl Default for Steps {
    fn default() -> Self {
        Self::Short(Ring::default())
    }
}

/// A timeline as the reference engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub firsts: Vec<i64>,
    pub since: i64,
    pub place: Place,
}

impl Timeline {
    /// Of a state that the reference engine had, whose parts fit together (`told::Parts`).
    pub fn new(told: &Told) -> Self {
        let Told { firsts, since, place } = told;
        let steps =
            firsts.iter().enumerate().map(|(i, first)| first.wrapping_sub(if i == 0 { 0 } else { firsts[i - 1] }));
        let long = Ring::new(steps.collect::<Vec<_>>().into_iter(), place.stretches);
        let latest = firsts.last().copied().unwrap_or(0);
        let mut timeline = Self { place: *place, since: *since, latest, steps: Steps::Long(long) };
        timeline.shorten();
        timeline
    }

    pub fn told(&self) -> Told {
        let since = if self.place.filled == 0 { 0 } else { self.since };
        let (mut first, mut firsts) = (self.latest, Vec::new());
        for back in 0..self.place.stretches.min(KEPT) {
            firsts.push(first);
            first = first.wrapping_sub(self.steps.of(self.place.stretches - back));
        }
        firsts.reverse();
        Told { firsts, since, place: self.place }
    }

    /// Take (n,) event times.
    pub fn take(&mut self, times: &[i64]) {
        for (piece, ends) in self.place.pieces(times.len()) {
            if self.place.filled == 0 {
                self.since = times[piece.start];
            }
            self.place.filled += piece.len();
            if let Some(stretch) = ends {
                self.steps.put(stretch, self.since.wrapping_sub(self.latest));
                self.latest = self.since;
                self.place = Place { stretches: stretch, filled: 0 };
            }
        }
    }

    /// Keep the steps in 32 bits, where they fit: all but the oldest, which nobody asks for.
    fn shorten(&mut self) {
        if let Steps::Long(long) = &self.steps {
            let (n, kept) = (self.place.stretches, long.len());
            let steps = (n + 1 - kept..=n).map(|stretch| long.of(stretch));
            let short: Option<Vec<i32>> =
                steps.enumerate().map(|(i, step)| if i == 0 { Some(0) } else { i32::try_from(step).ok() }).collect();
            if let Some(short) = short {
                self.steps = Steps::Short(Ring::new(short.into_iter(), n));
            }
        }
    }

    /// Ask for the memory that the next events will need.
    pub fn prefetch(&self) {
        match &self.steps {
            Steps::Short(ring) => ring.prefetch(self.place.stretches + 1),
            Steps::Long(ring) => ring.prefetch(self.place.stretches + 1),
        }
    }
}

impl Steps {
    fn of(&self, stretch: usize) -> i64 {
        match self {
            Self::Short(ring) => i64::from(ring.of(stretch)),
            Self::Long(ring) => ring.of(stretch),
        }
    }

    fn put(&mut self, stretch: usize, step: i64) {
        match (&mut *self, i32::try_from(step)) {
            (Self::Short(ring), Ok(step)) => {
                ring.put(stretch, step);
            }
            (Self::Short(ring), Err(_)) if stretch == 1 => {
                ring.put(stretch, 0); // from nowhere: nobody asks for it
            }
            (Self::Short(ring), Err(_)) => {
                let n = stretch - 1;
                let long = (n + 1 - ring.len()..=n).map(|stretch| i64::from(ring.of(stretch)));
                let mut long = Ring::new(long.collect::<Vec<_>>().into_iter(), n);
                long.put(stretch, step);
                *self = Self::Long(long);
            }
            (Self::Long(ring), _) => {
                ring.put(stretch, step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Timeline, Told, KEPT, STRETCH};

    fn by_hand(times: &[i64]) -> Told {
        let stretches = times.len() / STRETCH;
        let firsts: Vec<i64> = times.iter().step_by(STRETCH).take(stretches).copied().collect();
        let filled = times.len() % STRETCH;
        let since = if filled == 0 { 0 } else { times[stretches * STRETCH] };
        Told { firsts: firsts[stretches.saturating_sub(KEPT)..].to_vec(), since, place: Place { stretches, filled } }
    }

    /// Times that rise, fall, and take steps beyond 32 bits.
    fn times(n: usize) -> Vec<i64> {
        (0..n as i64)
            .map(|i| 1_700_000_000_000 + i * 100 - (i % 7) * 1_000 + if i > 5_000 { 1 << 40 } else { 0 })
            .collect()
    }

    #[test]
    fn first_times_are_those_of_the_stretches_however_blocks_are_cut() {
        let times = times(20_000);
        for size in [1, 5, 16, 100, 4_999] {
            let (mut timeline, mut taken) = (Timeline::default(), 0);
            for block in times.chunks(size) {
                timeline.take(block);
                taken += block.len();
                if taken % 3 == 0 || taken > 19_000 {
                    assert_eq!(timeline.told(), by_hand(&times[..taken]));
                }
            }
        }
    }

    #[test]
    fn a_state_is_taken_up_at_any_place() {
        let times = times(9_000);
        for taken in [0, 1, 15, 16, 17, 4_095, 4_096, 5_000, 5_010, 5_100, 9_000] {
            let mut timeline = Timeline::new(&by_hand(&times[..taken]));
            assert_eq!(timeline.told(), by_hand(&times[..taken]));
            timeline.take(&times[taken..]);
            assert_eq!(timeline.told(), by_hand(&times));
        }
    }
}

//! Sums of 0/1 scores (`detect/faults.py`): shares of events that should be rare, and mostly are not there at all.

use crate::prefetch;
use crate::scan::{Normal, UNIT, WINDOWS};
use crate::timeline::{Place, Ring, KEPT, STRETCH};

/// Beyond what a window can hold.
const NEVER: u16 = (KEPT * STRETCH + 1) as u16;

/// Hits per stretch of C kinds of events, of which the first is judged, upwards.
#[derive(Debug)]
pub struct Shares<const C: usize> {
    /// Hits from which on, per window, it is worth a look.
    high: [u16; WINDOWS.len()],
    /// Hits in each window.
    windows: [u16; WINDOWS.len()],
    /// None while all that a window can reach is zero.
    ring: Option<Box<Ring<[u8; C]>>>,
    total: [i64; C],
    partial: [u8; C],
}

/// What a part has changed: what stood before it, and what the stretches that it ended took the place of.
#[derive(Debug, Default)]
pub struct Undo<B, T> {
    pub before: B,
    pub closed: Vec<Option<T>>,
}

/// Partial and running sums before a part, and whether there was a ring.
#[derive(Debug)]
pub struct Before<const C: usize> {
    partial: [u8; C],
    total: [i64; C],
    had_ring: bool,
}

impl<const C: usize> Default for Before<C> {
    fn default() -> Self {
        Self { partial: [0; C], total: [0; C], had_ring: false }
    }
}

/// Sums at the ends of the latest stretches, and that of the one that is not full yet.
pub type Sums = (Vec<Vec<i64>>, Vec<i64>);

impl<const C: usize> Shares<C> {
    /// `normal` by window, of the first kind.
    pub fn new(normal: &[Vec<Normal>], threshold: f64) -> Self {
        let mut high = [NEVER; WINDOWS.len()];
        for (w, scores) in normal.iter().enumerate() {
            if scores[0].size != 0.0 {
                let bound = scores[0].bound(WINDOWS[w] * STRETCH, threshold, true);
                high[w] = (bound / UNIT + i64::from(bound % UNIT > 0)).clamp(0, i64::from(NEVER)) as u16;
            }
        }
        Self { high, windows: [0; WINDOWS.len()], ring: None, total: [0; C], partial: [0; C] }
    }

    /// Ask for the memory that the next events will need.
    pub fn prefetch(&self, place: Place) {
        if let Some(ring) = &self.ring {
            prefetch::value(&**ring);
            ring.prefetch(place.stretches + 1);
        }
    }

    /// From here on what is taken can be taken back.
    pub fn mark(&self, undo: &mut Undo<Before<C>, [u8; C]>) {
        undo.closed.clear();
        undo.before = Before { partial: self.partial, total: self.total, had_ring: self.ring.is_some() };
    }

    /// Take back what came since the mark, at which the events had come to a place.
    pub fn rollback(&mut self, place: Place, undo: &mut Undo<Before<C>, [u8; C]>) {
        (self.partial, self.total) = (undo.before.partial, undo.before.total);
        if !undo.before.had_ring {
            (self.ring, self.windows) = (None, [0; WINDOWS.len()]);
        }
        let Some(ring) = &mut self.ring else { return };
        while let Some(before) = undo.closed.pop() {
            let t = place.stretches + undo.closed.len() + 1;
            let new = ring.of(t)[0];
            ring.take_back(t, before);
            for (window, &length) in self.windows.iter_mut().zip(&WINDOWS) {
                let gone = if t > length { ring.of(t - length)[0] } else { 0 };
                *window = *window + u16::from(gone) - u16::from(new);
            }
        }
    }

    /// Take `n` events of none of the kinds; whether no window is worth a look.
    pub fn take_none(&mut self, place: Place, n: usize, undo: &mut Undo<Before<C>, [u8; C]>) -> bool {
        if self.ring.is_none() && self.partial == [0; C] {
            return true;
        }
        place.pieces(n).all(|(_, ends)| ends.is_none_or(|stretch| self.close(stretch, undo)))
    }

    /// Take `n` events, each of these kinds or not; whether no window is worth a look.
    pub fn take(
        &mut self,
        place: Place,
        n: usize,
        undo: &mut Undo<Before<C>, [u8; C]>,
        is: impl Fn(usize) -> [bool; C],
    ) -> bool {
        place.pieces(n).all(|(piece, ends)| {
            for i in piece {
                let hits = is(i);
                for c in 0..C {
                    self.partial[c] += u8::from(hits[c]);
                }
            }
            ends.is_none_or(|stretch| self.close(stretch, undo))
        })
    }

    fn close(&mut self, t: usize, undo: &mut Undo<Before<C>, [u8; C]>) -> bool {
        let new = std::mem::replace(&mut self.partial, [0; C]);
        if self.ring.is_none() && new == [0; C] {
            return true;
        }
        let ring =
            self.ring.get_or_insert_with(|| Box::new(Ring::new(vec![[0; C]; (t - 1).min(KEPT)].into_iter(), t - 1)));
        let mut quiet = true;
        for (w, &length) in WINDOWS.iter().enumerate() {
            let gone = if t > length { ring.of(t - length)[0] } else { 0 };
            self.windows[w] = self.windows[w] + u16::from(new[0]) - u16::from(gone);
            quiet &= t < length || self.windows[w] < self.high[w];
        }
        undo.closed.push(ring.put(t, new));
        for c in 0..C {
            self.total[c] += i64::from(new[c]) * UNIT;
        }
        quiet
    }

    /// Let go of sums that are all zero; not between a mark and a rollback.
    pub fn settle(&mut self) {
        if self.windows[WINDOWS.len() - 1] == 0 {
            if let Some(ring) = &self.ring {
                if ring.iter().all(|sums| *sums == [0; C]) {
                    self.ring = None;
                }
            }
        }
    }

    /// The state as the reference engine has it.
    pub fn told(&self, place: Place) -> Sums {
        let of =
            |stretch: usize| self.ring.as_ref().map_or([0; C], |ring| ring.of(stretch)).map(|n| i64::from(n) * UNIT);
        (running(place, self.total, of), self.partial.iter().map(|&n| i64::from(n) * UNIT).collect())
    }

    /// Take over such a state, whose parts fit together; false where these are no sums of events.
    pub fn adopt(&mut self, place: Place, sums: &[[i64; C]], partial: [i64; C]) -> bool {
        let hits = |sum: i64| u8::try_from(sum / UNIT).ok().filter(|&n| sum % UNIT == 0 && usize::from(n) <= STRETCH);
        let all = |sums: [i64; C]| {
            let found = sums.map(hits);
            found.iter().all(Option::is_some).then(|| found.map(Option::unwrap_or_default))
        };
        let steps: Option<Vec<[u8; C]>> =
            sums.windows(2).map(|two| all(std::array::from_fn(|c| two[1][c] - two[0][c]))).collect();
        let (Some(steps), Some(partial)) = (steps, all(partial)) else { return false };
        for (window, &length) in self.windows.iter_mut().zip(&WINDOWS) {
            *window = steps[steps.len().saturating_sub(length)..].iter().map(|step| u16::from(step[0])).sum();
        }
        self.total = sums[sums.len() - 1];
        self.partial = partial;
        self.ring = None;
        if steps.iter().any(|step| *step != [0; C]) {
            self.ring = Some(Box::new(Ring::new(steps.into_iter(), place.stretches)));
        }
        true
    }
}

/// Running sums at the ends of the stretches that are kept, and before the first of them, of which the last is `total`.
pub fn running<const C: usize>(place: Place, total: [i64; C], of: impl Fn(usize) -> [i64; C]) -> Vec<Vec<i64>> {
    let (mut now, mut sums) = (total, vec![total.to_vec()]);
    for back in 0..place.stretches.min(KEPT) {
        let step = of(place.stretches - back);
        for c in 0..C {
            now[c] -= step[c];
        }
        sums.push(now.to_vec());
    }
    sums.reverse();
    sums
}

#[cfg(test)]
mod tests {
    use super::{Before, Shares, Undo};
    use crate::scan::Normal;
    use crate::timeline::{Place, STRETCH};

    fn shares() -> Shares<2> {
        let normal =
            Normal { mean: 0.001, sd: 0.03, size: 0.0, low: 0.0, high: 0.0, skew_up: 30.0, skew_down: 0.0, n: 5e3 };
        Shares::new(&vec![vec![normal; 2]; 16], 13.0)
    }

    fn taken(
        shares: &mut Shares<2>,
        place: &mut Place,
        n: usize,
        undo: &mut Undo<Before<2>, [u8; 2]>,
        each: usize,
    ) -> bool {
        let first = place.stretches * STRETCH + place.filled;
        let quiet = shares.take(*place, n, undo, |i| [(first + i) % each == 0, (first + i) % (2 * each) == 0]);
        *place = Place { stretches: (first + n) / STRETCH, filled: (first + n) % STRETCH };
        quiet
    }

    #[test]
    fn a_rollback_leaves_no_trace_whether_or_not_there_was_a_ring() {
        let (mut undo, mut place, mut shares) = (Undo::default(), Place::default(), shares());
        for (n, each) in [(100, 1_000_000), (3_000, 999), (5_001, 200), (20_000, 1_000_000)] {
            shares.mark(&mut undo);
            taken(&mut shares, &mut place, n, &mut undo, each);
            shares.settle();
            let (before, windows) = (shares.told(place), shares.windows);
            let mut later = place;
            shares.mark(&mut undo);
            taken(&mut shares, &mut later, 4_200, &mut undo, 50);
            assert_ne!(shares.told(later), before);
            shares.rollback(place, &mut undo);
            assert_eq!((shares.told(place), shares.windows), (before.clone(), windows));
            let sums: Vec<[i64; 2]> = before.0.iter().map(|row| [row[0], row[1]]).collect();
            assert!(shares.adopt(place, &sums, [before.1[0], before.1[1]]));
            assert_eq!((shares.told(place), shares.windows), (before, windows));
        }
        assert!(shares.ring.is_none());
    }
}

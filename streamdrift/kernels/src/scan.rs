//! The confirming scan's sums, and whether anything in them is worth a look (`detect/confirm.py`).
//!
//! Evidence never falls with a sum's distance from its mean, so each window has two bounds within which no sum can
//! reach the threshold. They are found once; afterwards a stretch is looked at by comparing sums. What is beyond a bound is
//! judged by the reference engine, which alone computes evidence: so both engines decide the same.

use crate::shares::{running, Sums, Undo};
use crate::timeline::{Place, Ring, STRETCH};

/// Window lengths, in stretches.
pub const WINDOWS: [usize; 16] = [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256];
/// Scores of a value.
pub const SCORES: usize = 4;
/// One, as an integer score.
pub const UNIT: i64 = 1 << 20;
/// No score is larger than 64, whatever the clock takes off it: so a stretch's sum has 31 bits.
pub const SCORE_MAX: i64 = 64 * UNIT;
/// Bounds lie where the evidence has all but this share of the threshold: logarithms differ between libraries.
const MARGIN: f64 = 1e-9;

/// What is normal for one score in one window; see `detect.calibration.Calibration`.
#[derive(Clone, Copy, Debug)]
pub struct Normal {
    pub mean: f64,
    pub sd: f64,
    pub size: f64,
    pub low: f64,
    pub high: f64,
    pub skew_up: f64,
    pub skew_down: f64,
    pub n: f64,
}

impl Normal {
    /// Evidence, in nats, of a window of `events` whose scores add up to `sum`.
    fn evidence(&self, sum: i64, events: usize, up: bool) -> f64 {
        let length = (events as i64 * UNIT) as f64;
        let d = (sum as f64 / length - self.mean) / self.sd;
        let (excess, skew) = if up { (d - self.high, self.skew_up) } else { (self.low - d, self.skew_down) };
        let excess = excess.max(0.0);
        let gauss = self.size * excess * excess / 2.0;
        if gauss < 2.0 {
            return gauss;
        }
        let half = self.n / 2.0;
        half * (self.size * rate(excess, skew) / half).ln_1p()
    }

    /// The least distance from the mean, on one side, at which a sum may have the evidence; the far end where none has.
    pub fn bound(&self, events: usize, threshold: f64, up: bool) -> i64 {
        let least = threshold * (1.0 - MARGIN);
        let sign = if up { 1 } else { -1 };
        // NaN counts as evidence: who can't be judged here is looked at there
        let within = |sum: i64| self.evidence(sum, events, up) < least;
        let far = SCORE_MAX * events as i64;
        let start = ((self.mean * (events as i64 * UNIT) as f64) as i64).clamp(-far, far);
        if !within(start) {
            return start;
        }
        let (mut inside, mut outside) = (start, sign * far);
        if within(outside) {
            return sign * (i64::MAX / 2);
        }
        while (outside - inside).abs() > 1 {
            let middle = inside + (outside - inside) / 2;
            if within(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        outside
    }
}

/// Bennett's rate function, as `confirm.rate` has it.
fn rate(excess: f64, skew: f64) -> f64 {
    let y = skew * excess;
    if y < 0.02 {
        excess * excess / 2.0 * (1.0 - y / 3.0)
    } else {
        ((1.0 + y) * y.ln_1p() - y) / (skew * skew)
    }
}

/// Sums of integer scores over stretches and windows of them.
#[derive(Debug)]
pub struct Scan {
    /// Sums from these on, per window, are worth a look; or a little less, for 32 bits take half of the room.
    high: [[f32; SCORES]; WINDOWS.len()],
    /// And so are sums down to these.
    low: [[f32; SCORES]; WINDOWS.len()],
    /// The sum of each window. They are integers below 2^53, and vectors of doubles are what processors compare best.
    windows: [[f64; SCORES]; WINDOWS.len()],
    ring: Ring<[i32; SCORES]>,
    total: [i64; SCORES],
    partial: [i32; SCORES],
}

impl Scan {
    /// `normal` by window and score.
    pub fn new(normal: &[Vec<Normal>], threshold: f64, up: bool, down: bool) -> Self {
        let mut high = [[f32::INFINITY; SCORES]; WINDOWS.len()];
        let mut low = [[f32::NEG_INFINITY; SCORES]; WINDOWS.len()];
        for (w, scores) in normal.iter().enumerate() {
            let events = WINDOWS[w] * STRETCH;
            for (c, one) in scores.iter().enumerate() {
                if one.size == 0.0 {
                    continue;
                }
                if up {
                    high[w][c] = at_most(one.bound(events, threshold, true));
                }
                if down {
                    low[w][c] = -at_most(-one.bound(events, threshold, false));
                }
            }
        }
        let windows = [[0.0; SCORES]; WINDOWS.len()];
        Self { high, low, windows, ring: Ring::default(), total: [0; SCORES], partial: [0; SCORES] }
    }

    /// Ask for the memory that the next events will need: the sums that leave the windows of the next stretches.
    pub fn prefetch(&self, place: Place) {
        for stretch in [place.stretches + 1, place.stretches + 3] {
            for length in WINDOWS {
                if stretch > length {
                    self.ring.prefetch(stretch - length);
                }
            }
        }
    }

    /// From here on what is taken can be taken back.
    pub fn mark(&self, undo: &mut Undo<[i32; SCORES], [i32; SCORES]>) {
        undo.closed.clear();
        undo.before = self.partial;
    }

    /// Take back what came since the mark, at which the events had come to a place.
    pub fn rollback(&mut self, place: Place, undo: &mut Undo<[i32; SCORES], [i32; SCORES]>) {
        while let Some(before) = undo.closed.pop() {
            let t = place.stretches + undo.closed.len() + 1;
            let new = self.ring.of(t);
            self.ring.take_back(t, before);
            for (window, &length) in self.windows.iter_mut().zip(&WINDOWS) {
                let gone = if t > length { self.ring.of(t - length) } else { [0; SCORES] };
                for c in 0..SCORES {
                    window[c] += f64::from(gone[c]) - f64::from(new[c]);
                }
            }
            for c in 0..SCORES {
                self.total[c] -= i64::from(new[c]);
            }
        }
        self.partial = undo.before;
    }

    /// Take `n` events with their scores, each at most `SCORE_MAX`; whether no window is worth a look.
    #[inline]
    pub fn take(
        &mut self,
        place: Place,
        n: usize,
        undo: &mut Undo<[i32; SCORES], [i32; SCORES]>,
        scores: impl Fn(usize) -> [i32; SCORES],
    ) -> bool {
        for (piece, ends) in place.pieces(n) {
            let mut partial = self.partial;
            for i in piece {
                let scores = scores(i);
                for c in 0..SCORES {
                    partial[c] += scores[c];
                }
            }
            self.partial = partial;
            if ends.is_some_and(|stretch| !self.close(stretch, undo)) {
                return false;
            }
        }
        true
    }

    fn close(&mut self, t: usize, undo: &mut Undo<[i32; SCORES], [i32; SCORES]>) -> bool {
        let new = std::mem::replace(&mut self.partial, [0; SCORES]);
        let mut quiet = true;
        for (w, &length) in WINDOWS.iter().enumerate() {
            let gone = if t > length { self.ring.of(t - length) } else { [0; SCORES] };
            let mut within = true;
            for c in 0..SCORES {
                let sum = self.windows[w][c] + (f64::from(new[c]) - f64::from(gone[c]));
                self.windows[w][c] = sum;
                within &= sum < f64::from(self.high[w][c]) && sum > f64::from(self.low[w][c]);
            }
            quiet &= within || t < length;
        }
        undo.closed.push(self.ring.put(t, new));
        for c in 0..SCORES {
            self.total[c] += i64::from(new[c]);
        }
        quiet
    }

    /// The state as the reference engine has it.
    pub fn told(&self, place: Place) -> Sums {
        let sums = running(place, self.total, |stretch| self.ring.of(stretch).map(i64::from));
        (sums, self.partial.map(i64::from).to_vec())
    }

    /// Take over such a state, whose parts fit together; false where these are no sums of scores.
    pub fn adopt(&mut self, place: Place, sums: &[[i64; SCORES]], partial: [i64; SCORES]) -> bool {
        let most = SCORE_MAX * STRETCH as i64 - 1;
        let all = |sums: [i64; SCORES]| sums.iter().all(|sum| sum.abs() <= most).then(|| sums.map(|sum| sum as i32));
        let steps: Option<Vec<[i32; SCORES]>> =
            sums.windows(2).map(|two| all(std::array::from_fn(|c| two[1][c] - two[0][c]))).collect();
        let (Some(steps), Some(partial)) = (steps, all(partial)) else { return false };
        let last = sums[sums.len() - 1];
        for (window, &length) in self.windows.iter_mut().zip(&WINDOWS) {
            let then = sums[(sums.len() - 1).saturating_sub(length)];
            *window = std::array::from_fn(|c| (last[c] - then[c]) as f64);
        }
        (self.total, self.partial) = (last, partial);
        self.ring = Ring::new(steps.into_iter(), place.stretches);
        true
    }
}

/// The largest 32-bit float that is not above a bound, or the one before it.
fn at_most(bound: i64) -> f32 {
    let nearest = bound as f32;
    if f64::from(nearest) > bound as f64 {
        nearest - nearest.abs() * f32::EPSILON
    } else {
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal() -> Normal {
        Normal { mean: 0.0, sd: 1.0, size: 16.0, low: 0.0, high: 0.0, skew_up: 0.0, skew_down: 0.0, n: 5e3 }
    }

    #[test]
    fn bounds_stand_where_the_evidence_is() {
        for skew in [0.0, 0.5, 30.0] {
            let one = Normal { skew_up: skew, ..normal() };
            let bound = one.bound(16, 13.0, true);
            assert!(one.evidence(bound, 16, true) >= 13.0 * (1.0 - MARGIN));
            assert!(one.evidence(bound - 1, 16, true) < 13.0);
        }
    }

    #[test]
    fn bounds_in_32_bits_lie_nearer_if_anything() {
        for bound in [0, 1, 16_777_217, -16_777_217, (1 << 38) - 1, 1 - (1 << 38), i64::MAX / 2] {
            let f = f64::from(at_most(bound));
            assert!(f <= bound as f64 && (bound as f64 - f) <= 3e-7 * (bound as f64).abs(), "{bound} {f}");
        }
    }

    fn taken(scan: &mut Scan, place: &mut Place, n: usize, undo: &mut Undo<[i32; SCORES], [i32; SCORES]>) -> bool {
        let first = place.stretches * STRETCH + place.filled;
        let quiet = scan.take(*place, n, undo, |i| [0, 1, 2, 3].map(|c| ((first + i) as i32 * 7 + c) % 11 * 1_000_000));
        *place = Place { stretches: (first + n) / STRETCH, filled: (first + n) % STRETCH };
        quiet
    }

    #[test]
    fn a_rollback_leaves_no_trace_and_windows_are_the_sums() {
        let (mut undo, mut place) = (Undo::default(), Place::default());
        let silent = vec![vec![Normal { size: 0.0, ..normal() }; SCORES]; 16];
        let mut scan = Scan::new(&silent, 13.0, true, true);
        for n in [3, 500, 3_000, 5_001] {
            scan.mark(&mut undo);
            taken(&mut scan, &mut place, n, &mut undo);
            let (before, windows) = (scan.told(place), scan.windows);
            let mut again = Scan::new(&silent, 13.0, true, true);
            let sums: Vec<[i64; SCORES]> = before.0.iter().map(|row| std::array::from_fn(|c| row[c])).collect();
            assert!(again.adopt(place, &sums, std::array::from_fn(|c| before.1[c])));
            assert_eq!((again.told(place), again.windows), (before.clone(), windows));
            let mut later = place;
            scan.mark(&mut undo);
            taken(&mut scan, &mut later, 4_200, &mut undo);
            assert_ne!(scan.told(later), before);
            scan.rollback(place, &mut undo);
            assert_eq!((scan.told(place), scan.windows), (before, windows));
        }
    }
}

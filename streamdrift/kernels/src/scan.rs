//! The confirming scan's sums, and whether anything in them is worth a look (`detect/confirm.py`).
//!
//! Evidence never falls with a sum's distance from its mean, so each window has two bounds within which no sum can
//! reach the threshold. They are found once; afterwards a stretch is looked at by comparing integers. What is beyond a bound is
//! judged by the reference engine, which alone computes evidence: so both engines decide the same.

use crate::prefetch;

/// Events per sum.
pub const STRETCH: usize = 16;
/// Window lengths, in stretches.
pub const WINDOWS: [usize; 16] = [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256];
/// Sums that are kept: those that the longest window reaches back over, and one more.
pub const KEPT: usize = 257;
/// One, as an integer score.
pub const UNIT: i64 = 1 << 20;
/// Bounds lie where the evidence has all but this share of the threshold: logarithms differ between libraries.
const MARGIN: f64 = 1e-9;
/// No score is larger, whatever the clock takes off it.
const SCORE_MAX: i64 = 64 * UNIT;

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
    fn bound(&self, events: usize, threshold: f64, up: bool) -> i64 {
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
            return sign * i64::MAX / 2;
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

/// Running sums of C integer scores over stretches of events, with what is needed to take the latest back.
#[derive(Debug)]
pub struct Scan<const C: usize> {
    /// Sums from these on, per window, call for a look.
    high: [[i64; C]; WINDOWS.len()],
    /// And so do sums down to these.
    low: [[i64; C]; WINDOWS.len()],
    /// Running sums at the end of the latest stretches, as a ring; that of stretch s stands at s modulo its length.
    sums: Vec<[i64; C]>,
    /// Event time of each of these stretches' first event.
    firsts: Vec<i64>,
    partial: [i64; C],
    partial_time: i64,
    filled: usize,
    stretches: usize,
    /// The oldest stretch whose sum is known.
    oldest: usize,
    undo: Vec<(usize, [i64; C], i64)>,
    before: ([i64; C], i64, usize, usize, usize),
}

/// A scan's state as the reference engine has it: sums, first times, partial sum, its time, events in it, stretches.
pub type Told = (Vec<Vec<i64>>, Vec<i64>, Vec<i64>, i64, usize, usize);

impl<const C: usize> Scan<C> {
    /// `normal` by window and score; scores beyond those given are summed and never looked at.
    pub fn new(normal: &[Vec<Normal>], threshold: f64, up: bool, down: bool) -> Self {
        let mut high = [[i64::MAX; C]; WINDOWS.len()];
        let mut low = [[i64::MIN; C]; WINDOWS.len()];
        for (w, scores) in normal.iter().enumerate() {
            let events = WINDOWS[w] * STRETCH;
            for (c, one) in scores.iter().enumerate() {
                if one.size == 0.0 {
                    continue;
                }
                if up {
                    high[w][c] = one.bound(events, threshold, true);
                }
                if down {
                    low[w][c] = one.bound(events, threshold, false);
                }
            }
        }
        Self {
            high,
            low,
            sums: vec![[0; C]; KEPT],
            firsts: vec![0; KEPT],
            partial: [0; C],
            partial_time: 0,
            filled: 0,
            stretches: 0,
            oldest: 0,
            undo: Vec::new(),
            before: ([0; C], 0, 0, 0, 0),
        }
    }

    /// Ask for the memory that the next events will need: the sums that the windows of the next stretches reach back to.
    pub fn prefetch(&self) {
        for stretch in [self.stretches + 1, self.stretches + 3] {
            for length in WINDOWS {
                prefetch::value(&self.sums[(stretch + KEPT - length) % KEPT]);
            }
        }
        prefetch::value(&self.firsts[(self.stretches + 1) % KEPT]);
    }

    /// From here on what is pushed can be taken back.
    pub fn mark(&mut self) {
        self.undo.clear();
        self.before = (self.partial, self.partial_time, self.filled, self.stretches, self.oldest);
    }

    /// Take back what was pushed since the mark.
    pub fn rollback(&mut self) {
        while let Some((slot, sum, first)) = self.undo.pop() {
            self.sums[slot] = sum;
            self.firsts[slot] = first;
        }
        (self.partial, self.partial_time, self.filled, self.stretches, self.oldest) = self.before;
    }

    /// Whether every sum that a window can reach is the same: nothing but zeros came.
    pub fn still(&self) -> bool {
        self.partial == [0; C] && self.sums[self.stretches % KEPT] == self.sums[self.oldest % KEPT]
    }

    /// Take an event's scores; whether no window calls for a look.
    #[inline]
    pub fn push(&mut self, scores: [i64; C], time: i64) -> bool {
        if self.filled == 0 {
            self.partial_time = time;
        }
        for c in 0..C {
            self.partial[c] += scores[c];
        }
        self.filled += 1;
        self.filled < STRETCH || self.close(true)
    }

    /// Take events whose scores are all zero; whether no window calls for a look.
    pub fn push_zeros(&mut self, times: &[i64]) -> bool {
        let look = !self.still();
        let (mut quiet, mut at) = (true, 0);
        while at < times.len() && quiet {
            if self.filled == 0 {
                self.partial_time = times[at];
            }
            let taken = (STRETCH - self.filled).min(times.len() - at);
            self.filled += taken;
            at += taken;
            if self.filled == STRETCH {
                quiet = self.close(look);
            }
        }
        quiet
    }

    fn close(&mut self, look: bool) -> bool {
        let mut now = self.sums[self.stretches % KEPT];
        for c in 0..C {
            now[c] += self.partial[c];
        }
        let t = self.stretches + 1;
        let slot = t % KEPT;
        self.undo.push((slot, self.sums[slot], self.firsts[slot]));
        self.sums[slot] = now;
        self.firsts[slot] = self.partial_time;
        self.stretches = t;
        self.oldest = self.oldest.max(t.saturating_sub(KEPT - 1));
        self.partial = [0; C];
        self.filled = 0;
        !look || self.within(t, slot, &now)
    }

    #[inline]
    fn within(&self, t: usize, slot: usize, now: &[i64; C]) -> bool {
        let mut quiet = true;
        for (w, &length) in WINDOWS.iter().enumerate() {
            if length > t {
                break;
            }
            let back = if slot >= length { slot - length } else { slot + KEPT - length };
            let then = &self.sums[back];
            for c in 0..C {
                let sum = now[c] - then[c];
                quiet &= sum < self.high[w][c] && sum > self.low[w][c];
            }
        }
        quiet
    }

    /// The state as the reference engine has it.
    pub fn told(&self) -> Told {
        let sums = (self.oldest..=self.stretches).map(|s| self.sums[s % KEPT].to_vec()).collect();
        let firsts = (self.oldest + 1..=self.stretches).map(|s| self.firsts[s % KEPT]).collect();
        let since = if self.filled == 0 { 0 } else { self.partial_time };
        (sums, firsts, self.partial.to_vec(), since, self.filled, self.stretches)
    }

    /// Take over a state that the reference engine had; what does not fit is an error in words.
    pub fn adopt(&mut self, told: &Told) -> Result<(), String> {
        let (sums, firsts, partial, partial_time, filled, stretches) = told;
        let kept = sums.len();
        let fits = (1..=KEPT).contains(&kept)
            && kept <= stretches + 1
            && firsts.len() + 1 == kept
            && *filled < STRETCH
            && partial.len() == C
            && sums.iter().all(|sum| sum.len() == C);
        if !fits {
            return Err(format!("a scan of {C} scores can't go on from {kept} sums after {stretches} stretches"));
        }
        self.oldest = stretches + 1 - kept;
        for (i, sum) in sums.iter().enumerate() {
            self.sums[(self.oldest + i) % KEPT].copy_from_slice(sum);
        }
        for (i, first) in firsts.iter().enumerate() {
            self.firsts[(self.oldest + 1 + i) % KEPT] = *first;
        }
        self.partial.copy_from_slice(partial);
        (self.partial_time, self.filled, self.stretches) = (*partial_time, *filled, *stretches);
        self.mark();
        Ok(())
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
    fn a_rollback_leaves_no_trace() {
        let mut scan = Scan::<1>::new(&vec![vec![normal()]; 16], 13.0, true, true);
        for i in 0..10_000 {
            scan.push([i % 7], i);
        }
        let before = scan.told();
        scan.mark();
        for i in 0..4_096 {
            scan.push([i % 5], i);
        }
        assert_ne!(scan.told(), before);
        scan.rollback();
        assert_eq!(scan.told(), before);
    }
}

//! Exact two-sample KS after every value, fixed reference against sliding window (`reference.SlidingKs`).
//!
//! A value falls into one of 2m+1 cells of the m distinct reference values. Up to a cell's end, the window has counted C
//! values and the reference B; the distance is the largest |R·C - W·B| / (R·W). Between a gap's end and that of the value
//! before it only C can have grown, so the largest R·C - W·B stands at the end of a gap, and the largest W·B - R·C at the
//! end of a value: two curves, of which the maximum is asked for. A value that replaces another moves each curve by R
//! between the two places. All is divided by the greatest common divisor of R and W, so that 16 bits mostly do.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::curve::{Curve, Height};
use crate::prefetch;

/// Values whose cells are looked up at a time: independent of each other, their searches overlap.
const AT_A_TIME: usize = 64;

/// The reference: what cells there are, and what is critical.
pub struct Cells {
    /// The first m are those of the reference, rising; what follows belongs to whoever else holds them.
    distinct: Arc<[f64]>,
    m: usize,
    /// Place and number of those that are in the reference more than once: with continuous values there are none.
    repeated: Vec<(u32, u32)>,
    pub r: u64,
    pub w: u64,
}

impl Cells {
    pub fn new(mut reference: Vec<f64>, window: usize) -> Self {
        reference.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        let (mut distinct, mut repeated) = (Vec::new(), Vec::new());
        for alike in reference.chunk_by(|a, b| a == b) {
            if alike.len() > 1 {
                repeated.push((distinct.len() as u32, alike.len() as u32));
            }
            distinct.extend(alike.first());
        }
        repeated.shrink_to_fit();
        Self { m: distinct.len(), distinct: distinct.into(), repeated, r: reference.len() as u64, w: window as u64 }
    }

    /// (m,) the distinct values, rising.
    #[inline(always)]
    pub fn distinct(&self) -> &[f64] {
        &self.distinct[..self.m]
    }

    /// Hold these instead, if they begin with the same.
    pub fn share(&mut self, distinct: &Arc<[f64]>) {
        if distinct.get(..self.m) == Some(self.distinct()) {
            self.distinct = Arc::clone(distinct);
        }
    }

    /// (m,) how often each distinct value is in the reference.
    fn counts(&self) -> impl Iterator<Item = u32> + '_ {
        let mut repeated = self.repeated.iter().peekable();
        (0..self.m as u32).map(move |place| repeated.next_if(|more| more.0 == place).map_or(1, |more| more.1))
    }

    pub fn divisor(&self) -> u64 {
        let (mut a, mut b) = (self.r, self.w);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// 2i for the gap before value i, 2i+1 for value i itself.
    #[inline(always)]
    pub fn of(&self, value: f64) -> u32 {
        let below = self.distinct().partition_point(|&d| d < value);
        let on = self.distinct().get(below) == Some(&value);
        (2 * below + usize::from(on)) as u32
    }

    /// What the same reference has the same of, whatever engine it is in.
    pub fn checksum(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        for (value, count) in self.distinct().iter().zip(self.counts()) {
            hash.update(&(value + 0.0).to_le_bytes()); // a negative zero equals the other
            hash.update(&count.to_le_bytes());
        }
        hash.finalize()
    }
}

/// The sliding window, and the two curves over the cells.
pub struct Window<T: Height> {
    /// R·C - W·B at the end of each gap.
    ahead: Curve<T>,
    /// W·B - R·C at the end of each distinct value.
    behind: Curve<T>,
    /// What one value counts for.
    step: T,
    /// Cells of the last W values; the oldest at `next` once there are W.
    ring: Vec<T::Cell>,
    capacity: usize,
    next: usize,
    pub above: bool,
    /// Height from which on the distance is critical.
    pub critical: i64,
}

impl<T: Height> Window<T> {
    pub fn new(cells: &Cells, critical: i64) -> Self {
        let divisor = cells.divisor();
        let (step, weight) = (cells.r / divisor, cells.w / divisor);
        let (mut ahead, mut behind) = (vec![T::of(0)], Vec::new());
        let mut counted = 0;
        for count in cells.counts() {
            counted += u64::from(count);
            let height = i64::try_from(counted * weight).unwrap_or(i64::MAX);
            ahead.push(T::of(-height));
            behind.push(T::of(height));
        }
        let capacity = usize::try_from(cells.w).unwrap_or(usize::MAX);
        Self {
            ahead: Curve::new(&ahead),
            behind: Curve::new(&behind),
            step: T::of(i64::try_from(step).unwrap_or(i64::MAX)),
            ring: Vec::with_capacity(capacity),
            capacity,
            next: 0,
            above: false,
            critical,
        }
    }

    /// Ask for the memory that the next values will need.
    pub fn prefetch(&self) {
        self.ahead.prefetch();
        self.behind.prefetch();
        prefetch::slice(&self.ring);
    }

    pub fn is_full(&self) -> bool {
        self.ring.len() == self.capacity
    }

    /// Cells of the values in the window, the oldest first.
    pub fn oldest_first(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        (0..self.ring.len()).map(|i| T::cell(self.ring[(self.next + i) % self.ring.len()]))
    }

    /// The largest height of both curves; 0 while the window is not full.
    pub fn largest(&self) -> i64 {
        if self.is_full() {
            self.ahead.top().max(self.behind.top()).wide().max(0)
        } else {
            0
        }
    }

    /// Let a value in, and the oldest out once there are W.
    #[inline(always)]
    pub fn slide(&mut self, cell: u32) -> T {
        let new = places(cell);
        if self.ring.len() < self.capacity {
            self.ring.push(T::packed(cell));
            let ahead = self.ahead.add(new.0, self.ahead.len(), self.step);
            let behind = self.behind.add(new.1, self.behind.len(), self.step.negated());
            return ahead.max(behind);
        }
        let left = T::cell(std::mem::replace(&mut self.ring[self.next], T::packed(cell)));
        let old = places(left);
        self.next += 1;
        if self.next == self.capacity {
            self.next = 0;
        }
        // Which of the two is lower is as good as random: as numbers, for a branch would be guessed wrong half of the time
        let falls = cell < left;
        let up = if falls { self.step } else { self.step.negated() };
        let (begin, end) = (new.0.min(old.0), new.0.max(old.0));
        let ahead = self.ahead.add(begin, end, up);
        let (begin, end) = (new.1.min(old.1), new.1.max(old.1));
        let behind = self.behind.add(begin, end, up.negated());
        ahead.max(behind)
    }

    #[inline(always)]
    fn update_any(&mut self, cells: &Cells, values: &[f64], flags: &mut Vec<i64>) {
        let mut found = [0u32; AT_A_TIME];
        let mut position = 0;
        for piece in values.chunks(AT_A_TIME) {
            for (cell, &value) in found.iter_mut().zip(piece) {
                *cell = cells.of(value);
            }
            for &cell in &found[..piece.len()] {
                let largest = self.slide(cell).wide().max(0);
                let above = largest >= self.critical && self.is_full();
                if above && !self.above {
                    flags.push(position);
                }
                self.above = above;
                position += 1;
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    unsafe fn update_avx2(&mut self, cells: &Cells, values: &[f64], flags: &mut Vec<i64>) {
        self.update_any(cells, values, flags);
    }

    pub fn update(&mut self, cells: &Cells, values: &[f64], flags: &mut Vec<i64>) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2") {
            // SAFETY: the processor has the features that the function is compiled for (tests::with_and_without_avx2).
            return unsafe { self.update_avx2(cells, values, flags) };
        }
        self.update_any(cells, values, flags);
    }
}

/// From which gap's end, and from which value's end, a value in this cell is counted.
#[inline(always)]
fn places(cell: u32) -> (usize, usize) {
    (cell.div_ceil(2) as usize, (cell / 2) as usize)
}

#[cfg(test)]
mod tests {
    use super::{Cells, Height, Window};

    /// Values without a library: a linear congruential generator, 0 to 1.
    fn values(n: usize, mut seed: u64) -> Vec<f64> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 40).unwrap()) / f64::from(1u32 << 24)
        };
        (0..n).map(|_| next()).collect()
    }

    fn largest_by_counting(reference: &[f64], window: &[f64]) -> i64 {
        let (r, w) = (reference.len(), window.len());
        let difference = |edge: f64| {
            let below = |of: &[f64]| i64::try_from(of.iter().filter(|v| **v <= edge).count()).unwrap();
            (below(window) * i64::try_from(r).unwrap() - below(reference) * i64::try_from(w).unwrap()).abs()
        };
        reference.iter().chain(window).map(|edge| difference(*edge)).max().unwrap()
    }

    fn agrees<T: Height>(r: usize, w: usize, round: f64) {
        let rounded = |seed, n| values(n, seed).iter().map(|v| (v * round).round()).collect::<Vec<_>>();
        let (reference, stream) = (rounded(1, r), rounded(2, 6 * w));
        let cells = Cells::new(reference.clone(), w);
        let mut window = Window::<T>::new(&cells, 1);
        let divisor = i64::try_from(cells.divisor()).unwrap();
        for (i, value) in stream.iter().enumerate() {
            window.update(&cells, &[*value], &mut Vec::new());
            if i + 1 >= w {
                assert_eq!(window.largest() * divisor, largest_by_counting(&reference, &stream[i + 1 - w..=i]));
            }
        }
    }

    #[test]
    fn the_distance_is_that_of_counting() {
        for (r, w) in [(1, 1), (63, 20), (64, 16), (127, 30), (150, 100), (700, 20)] {
            for round in [1e9, 40.0] {
                agrees::<i16>(r, w, round);
                agrees::<i32>(r, w, round);
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn with_and_without_avx2() {
        if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("bmi1") || !is_x86_feature_detected!("bmi2") {
            return;
        }
        let cells = Cells::new(values(1_000, 3), 200);
        let (mut plain, mut fast) = (Window::<i16>::new(&cells, 100), Window::<i16>::new(&cells, 100));
        let (mut plainly, mut quickly) = (Vec::new(), Vec::new());
        let stream = values(20_000, 4);
        plain.update_any(&cells, &stream, &mut plainly);
        // SAFETY: looked for above.
        unsafe { fast.update_avx2(&cells, &stream, &mut quickly) };
        assert!(plainly.len() > 10);
        assert_eq!(plainly, quickly);
        assert!(plain.oldest_first().eq(fast.oldest_first()));
        assert_eq!(plain.largest(), fast.largest());
    }

    #[test]
    fn heights_never_leave_their_width_however_long_blocks_are_only_stepped_over() {
        // Over, in, out and over again: each time, the blocks between move one way as a whole and the other piece by piece
        let reference: Vec<f64> = (0..1_000).map(f64::from).collect();
        let cells = Cells::new(reference.clone(), 3);
        let mut window = Window::<i16>::new(&cells, 1);
        let circle = [999.0, 0.0, 500.0, 999.0, 10.0, 510.0, 999.0, 300.0];
        let stream: Vec<f64> = circle.iter().cycle().take(100_000).copied().collect();
        window.update(&cells, &stream, &mut Vec::new());
        assert_eq!(window.largest(), largest_by_counting(&reference, &stream[stream.len() - 3..]));
    }

    #[test]
    fn no_value_makes_it_panic() {
        let cells = Cells::new(values(10, 5), 4);
        let mut window = Window::<i16>::new(&cells, 1);
        window.update(&cells, &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -0.0, f64::NAN], &mut Vec::new());
    }
}

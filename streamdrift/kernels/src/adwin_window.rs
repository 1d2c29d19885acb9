//! ADWIN's window (`reference.Adwin`), operation for operation in the order of river 0.26.1, for its roundings decide.

use crate::snapshot::{Reader, Refusal, Writer};

/// Of the exponential histogram: a row that has one more merges its two oldest.
const MAX_BUCKETS: usize = 5;
/// Places of a row: one more, for the bucket that makes it too many.
const RING: usize = MAX_BUCKETS + 1;
/// Values that the shorter side of a cut has at least.
const MIN_WINDOW_LENGTH: f64 = 5.0;
/// A bucket of row r holds 2^r values; more than 2^53 can't be counted exactly anyway.
const ROWS_MAX: usize = 53;

#[derive(Clone, Copy, PartialEq)]
pub struct Settings {
    pub delta: f64,
    pub clock: u32,
    pub grace_period: u32,
}

/// Buckets of one size in a ring, the oldest at `oldest`: merged buckets leave it without the others being moved.
#[derive(Clone, Copy, Default)]
struct Row {
    oldest: u8,
    n: u8,
    totals: [f64; RING],
    variances: [f64; RING],
}

impl Row {
    #[inline]
    fn len(&self) -> usize {
        self.n as usize
    }

    #[inline]
    fn place(&self, i: usize) -> usize {
        let place = self.oldest as usize + i;
        if place < RING {
            place
        } else {
            place - RING
        }
    }

    #[inline]
    fn push(&mut self, total: f64, variance: f64) {
        let place = self.place(self.len());
        self.totals[place] = total;
        self.variances[place] = variance;
        self.n += 1;
    }

    /// The i-th oldest bucket: its total and its variance.
    #[inline]
    fn bucket(&self, i: usize) -> (f64, f64) {
        let place = self.place(i);
        (self.totals[place], self.variances[place])
    }

    #[inline]
    fn drop_oldest(&mut self, k: usize) {
        self.oldest = self.place(k) as u8;
        self.n -= k as u8;
    }
}

#[derive(Clone)]
pub struct Window {
    pub width: f64,
    pub total: f64,
    pub variance: f64,
    /// Values since the last look for a cut.
    tick: u32,
    /// Row r has buckets of 2^r values; the first row always is there.
    rows: Vec<Row>,
}

#[inline]
fn bucket_size(row: usize) -> f64 {
    (1u64 << row) as f64
}

impl Window {
    /// Ask for the memory that the next values will need.
    pub fn prefetch(&self) {
        crate::prefetch::slice(&self.rows);
    }

    pub fn new() -> Self {
        Self { width: 0.0, total: 0.0, variance: 0.0, tick: 0, rows: vec![Row::default()] }
    }

    fn clear(&mut self) {
        (self.width, self.total, self.variance, self.tick) = (0.0, 0.0, 0.0, 0);
        self.rows.truncate(1);
        self.rows[0].n = 0;
    }

    pub fn update(&mut self, values: &[f64], settings: Settings, flags: &mut Vec<i64>) {
        let (mut rest, mut position) = (values, 0);
        loop {
            let (now, later) = rest.split_at(rest.len().min((settings.clock - self.tick) as usize));
            self.insert(now);
            let n = now.len() as u32;
            (rest, position, self.tick) = (later, position + i64::from(n), self.tick + n);
            if self.tick < settings.clock {
                return;
            }
            self.tick = 0;
            if self.width > f64::from(settings.grace_period) && self.cut(settings.delta) {
                flags.push(position - 1);
                self.clear();
            }
        }
    }

    #[inline]
    fn insert(&mut self, values: &[f64]) {
        let (mut width, mut total, mut variance) = (self.width, self.total, self.variance);
        for &value in values {
            let before = width;
            width += 1.0;
            if before > 0.0 {
                let deviation = value - total / before;
                variance += before * deviation * deviation / width;
            }
            total += value;
            let newest = &mut self.rows[0];
            newest.push(value, 0.0);
            if newest.len() > MAX_BUCKETS {
                self.merge();
            }
        }
        (self.width, self.total, self.variance) = (width, total, variance);
    }

    /// Merge the two oldest buckets of each row that has too many into one of the next.
    #[inline]
    fn merge(&mut self) {
        let (mut r, mut n) = (0, 1.0);
        while self.rows[r].len() > MAX_BUCKETS {
            let row = &mut self.rows[r];
            let ((total0, variance0), (total1, variance1)) = (row.bucket(0), row.bucket(1));
            let difference = total0 / n - total1 / n;
            let variance = variance0 + variance1 + n * 0.5 * difference * difference;
            row.drop_oldest(2);
            r += 1;
            n *= 2.0;
            if r == self.rows.len() {
                self.deepen();
            }
            self.rows[r].push(total0 + total1, variance);
        }
    }

    #[cold]
    fn deepen(&mut self) {
        self.rows.reserve_exact(2); // doubling would leave half of it empty in thousands of series
        self.rows.push(Row::default());
    }

    /// Drop the oldest buckets while two parts differ in mean; return whether any was dropped.
    #[inline(never)]
    fn cut(&mut self, delta: f64) -> bool {
        let mut changed = false;
        while self.differs(delta) {
            self.drop_bucket();
            changed = true;
        }
        changed
    }

    /// Whether the window can be cut at an edge between buckets so that the means of both sides differ.
    fn differs(&self, delta: f64) -> bool {
        let log_term = (2.0 * self.width.ln() / delta).ln();
        if self.is_calm(log_term) {
            return false;
        }
        let (mut n0, mut n1, mut u0, mut u1) = (0.0, self.width, 0.0, self.total);
        for (r, row) in self.rows.iter().enumerate().rev() {
            let size = bucket_size(r);
            let edges = if r == 0 { row.len().saturating_sub(1) } else { row.len() };
            for i in 0..edges {
                let (total, _) = row.bucket(i);
                n0 += size;
                n1 -= size;
                u0 += total;
                u1 -= total;
                let difference = u0 / n0 - u1 / n1;
                if n1 >= MIN_WINDOW_LENGTH && n0 >= MIN_WINDOW_LENGTH && difference.abs() > self.bound(n0, n1, log_term)
                {
                    return true;
                }
            }
        }
        false
    }

    /// By how much the means of two parts must differ.
    fn bound(&self, n0: f64, n1: f64, log_term: f64) -> f64 {
        let m = 1.0 / (n0 - MIN_WINDOW_LENGTH + 1.0) + 1.0 / (n1 - MIN_WINDOW_LENGTH + 1.0);
        (2.0 * m * (self.variance / self.width) * log_term).sqrt() + 2.0 / 3.0 * log_term * m
    }

    /// Whether it is plain, without a division or a root for each edge, that no means differ by their bound.
    ///
    /// With the deviation S = `u0 - n0·mean`, the means differ by `S·width / (n0·n1)`; and as m is at least
    /// `width / (n0·n1)`, the bound is at least `(sqrt(K·n0·n1) + 2/3·log_term) · width / (n0·n1)`,
    /// K = `2·variance·log_term / width²`. So `S² <= K·n0·n1 + 1/4`, hence `|S| <= sqrt(K·n0·n1) + 1/2`, means no cut. The
    /// 1/6 that is left to 2/3, and the billionth that K is made smaller by, are for roundings: with r edges, those of
    /// both computations are below `(r + 4)·2^-51` of all that is summed, which is below 0.13 for the 270 edges that there can be
    /// and sums up to 10^12. Edges within the first row leave too few values on one side to count.
    fn is_calm(&self, log_term: f64) -> bool {
        let mean = self.total / self.width;
        let k = 2.0 * (self.variance / self.width) * log_term / self.width * (1.0 - 1e-9);
        let (mut n0, mut n1, mut deviation, mut excess, mut summed) = (0.0, self.width, 0.0, 0.0f64, self.total.abs());
        let mut size = bucket_size(self.rows.len() - 1);
        for row in self.rows[1..].iter().rev() {
            let expected = size * mean;
            for i in 0..row.len() {
                let (total, _) = row.bucket(i);
                n0 += size;
                n1 -= size;
                summed += total.abs();
                deviation += total - expected;
                excess = excess.max(deviation * deviation - k * (n0 * n1));
            }
            size *= 0.5;
        }
        k >= 0.0 && log_term >= 1.0 && summed <= 1e12 && excess <= 0.25
    }

    fn drop_bucket(&mut self) {
        let last = self.rows.len() - 1;
        let n = bucket_size(last);
        let row = &mut self.rows[last];
        let (total, variance) = row.bucket(0);
        let mean = total / n;
        self.width -= n;
        self.total -= total;
        let rest = self.total / self.width;
        self.variance -= variance + n * self.width * (mean - rest) * (mean - rest) / (n + self.width);
        row.drop_oldest(1);
        if row.n == 0 && last > 0 {
            self.rows.pop();
        }
    }

    pub fn write(&self, to: &mut Writer) {
        to.u32(self.tick).f64(self.width).f64(self.total).f64(self.variance);
        to.u32(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        for row in &self.rows {
            to.u32(u32::from(row.n));
            for i in 0..row.len() {
                let (total, variance) = row.bucket(i);
                to.f64(total).f64(variance);
            }
        }
    }

    pub fn read(from: &mut Reader<'_>, settings: Settings) -> Result<Self, Refusal> {
        let tick = from.u32()?;
        let (width, total, variance) = (from.f64()?, from.f64()?, from.f64()?);
        let depth = from.u32()? as usize;
        if tick >= settings.clock || depth == 0 || depth > ROWS_MAX {
            return Err(Refusal::Damaged);
        }
        let mut window = Self { width, total, variance, tick, rows: Vec::with_capacity(depth) };
        let mut counted = 0.0;
        for r in 0..depth {
            let mut row = Row::default();
            let n = from.u32()?;
            if n as usize > MAX_BUCKETS || (n == 0 && depth > 1) {
                return Err(Refusal::Damaged);
            }
            for _ in 0..n {
                row.push(from.f64()?, from.f64()?);
            }
            counted += f64::from(n) * bucket_size(r);
            window.rows.push(row);
        }
        let fits = counted == width;
        if fits {
            Ok(window)
        } else {
            Err(Refusal::Damaged)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, Window};

    const SETTINGS: Settings = Settings { delta: 0.002, clock: 32, grace_period: 10 };

    fn step() -> Vec<f64> {
        (0..1_000).map(|i| if i < 500 { 0.0 } else { 1.0 }).collect()
    }

    #[test]
    fn flags_a_step_whatever_the_blocks() {
        for size in [1, 7, 1_000] {
            let (mut window, mut found) = (Window::new(), Vec::new());
            for (k, piece) in step().chunks(size).enumerate() {
                let mut flags = Vec::new();
                window.update(piece, SETTINGS, &mut flags);
                found.extend(flags.iter().map(|i| usize::try_from(*i).unwrap() + k * size));
            }
            assert_eq!(found, [511]);
        }
    }

    #[test]
    fn a_constant_is_counted() {
        let mut window = Window::new();
        window.update(&vec![1.0; 5_000], SETTINGS, &mut Vec::new());
        assert!((window.width - 5_000.0).abs() < 0.5 && window.variance.abs() < 1e-9);
        let counted: usize = window.rows.iter().enumerate().map(|(r, row)| row.len() << r).sum();
        assert_eq!(counted, 5_000);
    }

    #[test]
    fn no_value_makes_it_panic() {
        let wild = [f64::NAN, f64::INFINITY, -1e308, 1e308, 5e-324, 0.0];
        let values: Vec<f64> = wild.iter().cycle().take(2_000).copied().collect();
        Window::new().update(&values, SETTINGS, &mut Vec::new());
    }
}

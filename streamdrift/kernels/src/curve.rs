//! A curve of heights to which ranges are added, and whose maximum is always known.
//!
//! Blocks of 64 heights, each with its maximum and with an offset that its heights still lack: adding to a range touches
//! the heights of its two outer blocks only. Loops run over whole blocks without branches, so that they become vectors.

const BLOCK: usize = 64;
/// Blocks that a vector holds the maxima of.
const BLOCKS: usize = 16;

/// An integer that heights are counted in; sums that go over wrap.
pub trait Height: Copy + Ord {
    const LEAST: Self;
    fn of(value: i64) -> Self;
    fn wide(self) -> i64;
    fn plus(self, other: Self) -> Self;
    fn negated(self) -> Self;
}

macro_rules! height {
    ($type:ty) => {
        impl Height for $type {
            const LEAST: Self = Self::MIN;
            #[inline(always)]
            fn of(value: i64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn wide(self) -> i64 {
                i64::from(self)
            }
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn negated(self) -> Self {
                self.wrapping_neg()
            }
        }
    };
}
height!(i16);
height!(i32);

pub struct Curve<T> {
    len: usize,
    /// Without the offset of their block. What is beyond `len` is 0 and stays so.
    heights: Vec<[T; BLOCK]>,
    /// The maximum of each block, offset included, and the offset. What is beyond the blocks stays 0.
    tops: Vec<[T; BLOCKS]>,
    offsets: Vec<[T; BLOCKS]>,
}

impl<T: Height> Curve<T> {
    pub fn new(heights: &[T]) -> Self {
        let zero = T::of(0);
        let blocks: Vec<[T; BLOCK]> = heights
            .chunks(BLOCK)
            .map(|chunk| {
                let mut block = [zero; BLOCK];
                block[..chunk.len()].copy_from_slice(chunk);
                block
            })
            .collect();
        let groups = blocks.len().div_ceil(BLOCKS);
        let mut tops = vec![[zero; BLOCKS]; groups];
        for (i, block) in blocks.iter().enumerate() {
            tops[i / BLOCKS][i % BLOCKS] = block.iter().copied().max().unwrap_or(zero);
        }
        Self {
            len: heights.len(),
            heights: blocks,
            tops,
            offsets: vec![[zero; BLOCKS]; groups],
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The maximum; what is below 0 may be told as 0.
    pub fn top(&self) -> T {
        self.tops
            .iter()
            .flatten()
            .copied()
            .max()
            .unwrap_or(T::of(0))
    }

    /// Add to the heights from `begin` up to `end`, and return the maximum.
    #[inline(always)]
    pub fn add(&mut self, begin: usize, end: usize, step: T) -> T {
        let (first, last) = (begin / BLOCK, end / BLOCK);
        if first == last {
            self.add_within(first, begin % BLOCK, end % BLOCK, step);
            return self.add_between(0, 0, step);
        }
        self.add_within(first, begin % BLOCK, BLOCK, step);
        self.add_within(last, 0, end % BLOCK, step);
        self.add_between(first + 1, last, step)
    }

    /// Add to a part of a block, and let its heights have the offset that they lacked: they stay true, so they never wrap.
    #[inline(always)]
    fn add_within(&mut self, block: usize, begin: usize, end: usize, step: T) {
        if begin == end {
            return;
        }
        let (group, place) = (block / BLOCKS, block % BLOCKS);
        let zero = T::of(0);
        let offset = std::mem::replace(&mut self.offsets[group][place], zero);
        let (begin, end) = (T::of(begin as i64), T::of(end as i64));
        let heights = &mut self.heights[block];
        let mut top = T::LEAST;
        for (i, height) in (0..).zip(heights.iter_mut()) {
            let i = T::of(i);
            let within = i >= begin && i < end;
            let more = if within { step } else { zero };
            *height = height.plus(offset).plus(more);
            top = top.max(*height);
        }
        self.tops[group][place] = top;
    }

    /// Add to the whole blocks from `first` up to `last`, and return the maximum of all.
    #[inline(always)]
    fn add_between(&mut self, first: usize, last: usize, step: T) -> T {
        let zero = T::of(0);
        let mut top = [zero; BLOCKS];
        for (group, (tops, offsets)) in self.tops.iter_mut().zip(&mut self.offsets).enumerate() {
            let begin = T::of(first.saturating_sub(group * BLOCKS).min(BLOCKS) as i64);
            let end = T::of(last.saturating_sub(group * BLOCKS).min(BLOCKS) as i64);
            for i in 0..BLOCKS {
                let place = T::of(i as i64);
                let within = place >= begin && place < end;
                let more = if within { step } else { zero };
                offsets[i] = offsets[i].plus(more);
                tops[i] = tops[i].plus(more);
                top[i] = top[i].max(tops[i]);
            }
        }
        let mut most = zero;
        for height in top {
            most = most.max(height);
        }
        most
    }
}

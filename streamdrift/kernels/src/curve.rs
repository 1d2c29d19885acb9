//! A curve of heights to which ranges are added, and whose maximum is always known.
//!
//! Blocks of 64 heights, each with its maximum and with an offset that its heights still lack: adding to a range touches
//! the heights of its two outer blocks only. Loops run over whole blocks without branches, so that they become vectors.

use crate::prefetch;

const BLOCK: usize = 64;
/// Blocks that a vector holds the maxima of.
const BLOCKS: usize = 16;

/// An integer that heights are counted in; sums that go over wrap.
pub trait Height: Copy + Ord {
    const LEAST: Self;
    /// Of as many bits: there are at most twice as many cells, and one, as the largest height.
    type Cell: Copy;
    fn packed(cell: u32) -> Self::Cell;
    fn cell(packed: Self::Cell) -> u32;
    fn of(value: i64) -> Self;
    fn wide(self) -> i64;
    fn plus(self, other: Self) -> Self;
    fn negated(self) -> Self;
}

macro_rules! height {
    ($type:ty, $cell:ty) => {
        impl Height for $type {
            const LEAST: Self = Self::MIN;
            type Cell = $cell;
            #[inline(always)]
            fn packed(cell: u32) -> $cell {
                cell as $cell
            }
            #[inline(always)]
            fn cell(packed: $cell) -> u32 {
                u32::from(packed)
            }
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
height!(i16, u16);
height!(i32, u32);

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
        Self { len: heights.len(), heights: blocks, tops, offsets: vec![[zero; BLOCKS]; groups] }
    }

    /// Ask for the memory that the next values will need.
    pub fn prefetch(&self) {
        prefetch::slice(&self.heights);
        prefetch::slice(&self.tops);
        prefetch::slice(&self.offsets);
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// The maximum; what is below 0 may be told as 0.
    pub fn top(&self) -> T {
        self.tops.iter().flatten().copied().max().unwrap_or(T::of(0))
    }

    /// Add to the heights from `begin` up to `end`, and return the maximum.
    #[inline(always)]
    pub fn add(&mut self, begin: usize, end: usize, step: T) -> T {
        if begin == end {
            return self.top();
        }
        let (first, last) = (begin / BLOCK, end / BLOCK);
        if first == last {
            let top = self.add_within(first, begin % BLOCK, end % BLOCK, step);
            return self.settle((first, top), (first, top), last, step);
        }
        let top = self.add_within(first, begin % BLOCK, BLOCK, step);
        if end % BLOCK == 0 {
            return self.settle((first, top), (first, top), last, step);
        }
        let last_top = self.add_within(last, 0, end % BLOCK, step);
        self.settle((first, top), (last, last_top), last, step)
    }

    /// Add to a part of a block, let its heights have the offset that they lacked, and return its maximum.
    ///
    /// Heights with their offset are true, so they never wrap.
    #[inline(always)]
    fn add_within(&mut self, block: usize, begin: usize, end: usize, step: T) -> T {
        let offset = self.offsets[block / BLOCKS][block % BLOCKS];
        let (begin, end) = (T::of(begin as i64), T::of(end as i64));
        let mut top = T::LEAST;
        for (i, height) in (0..).zip(self.heights[block].iter_mut()) {
            let i = T::of(i);
            let more = if i >= begin && i < end { step } else { T::of(0) };
            *height = height.plus(offset).plus(more);
            top = top.max(*height);
        }
        top
    }

    /// Note the maxima of the outer blocks, `one` and maybe an `other`, which lack no offset any more; add to the blocks after
    /// `one` and before `until`; and return the maximum of all. All blocks at once: a vector that a single number was just written into would be waited for.
    #[inline(always)]
    fn settle(&mut self, one: (usize, T), other: (usize, T), until: usize, step: T) -> T {
        let zero = T::of(0);
        let mut most = [zero; BLOCKS];
        for (group, (tops, offsets)) in self.tops.iter_mut().zip(&mut self.offsets).enumerate() {
            let begin = T::of(one.0 as i64 - (group * BLOCKS) as i64);
            let also = T::of(other.0 as i64 - (group * BLOCKS) as i64);
            let end = T::of(until as i64 - (group * BLOCKS) as i64);
            for i in 0..BLOCKS {
                let place = T::of(i as i64);
                let more = if place > begin && place < end { step } else { zero };
                let (top, offset) = (tops[i].plus(more), offsets[i].plus(more));
                let (is_one, is_other) = (place == begin, place == also);
                let top = if is_other { other.1 } else { top };
                tops[i] = if is_one { one.1 } else { top };
                offsets[i] = if is_one || is_other { zero } else { offset };
                most[i] = most[i].max(tops[i]);
            }
        }
        most.into_iter().fold(zero, T::max)
    }
}

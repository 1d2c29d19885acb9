//! Prediction ids as numbers, as `blocks/ids.py` has them.

use blake2b_simd::many::{hash_many, HashManyJob};
use blake2b_simd::Params;

/// Hashed at a time: the processor's wide registers take several at once.
const AT_ONCE: usize = 64;

/// The ids of some rows, one text after the other.
#[derive(Default)]
pub struct Ids {
    bytes: Vec<u8>,
    /// Where each ends, and whether there is one.
    ends: Vec<(usize, bool)>,
}

impl Ids {
    #[inline]
    pub fn push(&mut self, id: Option<&[u8]>) {
        self.bytes.extend_from_slice(id.unwrap_or_default());
        self.ends.push((self.bytes.len(), id.is_some()));
    }

    /// 64 bits of a hash of each; 0 stands for none.
    pub fn fingerprints(&self) -> Vec<u64> {
        let mut params = Params::new();
        params.hash_length(8);
        let mut found = Vec::with_capacity(self.ends.len());
        let mut begin = 0;
        for ends in self.ends.chunks(AT_ONCE) {
            let job = |(end, _): &(usize, bool)| {
                let id = &self.bytes[begin..*end];
                begin = *end;
                HashManyJob::new(&params, id)
            };
            let mut jobs: Vec<_> = ends.iter().map(job).collect();
            hash_many(&mut jobs);
            found.extend(jobs.iter().zip(ends).map(|(job, (_, is_there))| if *is_there { number(job) } else { 0 }));
        }
        found
    }
}

fn number(job: &HashManyJob) -> u64 {
    job.to_hash().as_bytes().first_chunk().map_or(1, |bytes| u64::from_le_bytes(*bytes).max(1))
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn a_text_has_the_number_that_the_reference_gives_it() {
        let mut ids = Ids::default();
        for _ in 0..70 {
            ids.push(Some(b"f-17"));
            ids.push(None);
        }
        let found = ids.fingerprints();
        assert_eq!(found.len(), 140);
        assert!(found.chunks(2).all(|pair| *pair == [7_302_107_376_060_640_573, 0]));
    }
}

//! Snapshots: the state of a kernel as bytes, the same in both engines (`snapshots.py` writes the format down).

use pyo3::exceptions::PyValueError;
use pyo3::PyErr;

/// Version of what is written; what is newer is refused.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 3] = b"sdk";
const HEADER: usize = 8;
const CHECKSUM: usize = 4;

/// Which kernel a snapshot is of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Adwin,
    PageHinkley,
    SlidingKs,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Adwin, Self::PageHinkley, Self::SlidingKs];

    fn code(self) -> u8 {
        match self {
            Self::Adwin => b'A',
            Self::PageHinkley => b'P',
            Self::SlidingKs => b'K',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Adwin => "adwin",
            Self::PageHinkley => "page_hinkley",
            Self::SlidingKs => "ks",
        }
    }
}

/// Why a snapshot is refused.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    Damaged,
    Newer(u16),
    Other { of: &'static str, wanted: &'static str },
    Settings,
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        let why = match refusal {
            Refusal::Damaged => "the snapshot is damaged: its checksum or its length doesn't fit".to_owned(),
            Refusal::Newer(version) => format!(
                "the snapshot has format {version}, and this release reads up to {VERSION}: it was written by a newer one"
            ),
            Refusal::Other { of, wanted } => format!("this is a snapshot of {of}, not of {wanted}"),
            Refusal::Settings => "the snapshot was made with other settings, or another reference".to_owned(),
        };
        PyValueError::new_err(format!("{why}; rebuild the state by reading the events again"))
    }
}

/// Appends numbers, little-endian.
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new(kind: Kind) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(MAGIC);
        bytes.push(kind.code());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        Self(bytes)
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn f64(&mut self, value: f64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// The snapshot, with its checksum.
    pub fn seal(mut self) -> Vec<u8> {
        let checksum = crc32fast::hash(&self.0);
        self.u32(checksum);
        self.0
    }
}

/// Takes numbers from the front of a snapshot's payload.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Look at checksum, kind and version; what is left is the payload.
    pub fn open(kind: Kind, bytes: &'a [u8]) -> Result<Self, Refusal> {
        if bytes.len() < HEADER + CHECKSUM {
            return Err(Refusal::Damaged);
        }
        let (sealed, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        if crc32fast::hash(sealed).to_le_bytes() != checksum || &sealed[..3] != MAGIC {
            return Err(Refusal::Damaged);
        }
        let of = Kind::ALL.into_iter().find(|k| k.code() == sealed[3]).map_or("another kernel", Kind::name);
        if of != kind.name() {
            return Err(Refusal::Other { of, wanted: kind.name() });
        }
        match u16::from_le_bytes([sealed[4], sealed[5]]) {
            VERSION => Ok(Self(&sealed[HEADER..])),
            0 => Err(Refusal::Damaged),
            newer => Err(Refusal::Newer(newer)),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Refusal::Damaged)?;
        self.0 = rest;
        Ok(*head)
    }

    pub fn u32(&mut self) -> Result<u32, Refusal> {
        self.take().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Refusal> {
        self.take().map(u64::from_le_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, Refusal> {
        self.take().map(f64::from_le_bytes)
    }

    /// Nothing may be left over.
    pub fn end(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Damaged)
        }
    }
}

/// Whether a setting in a snapshot is the one that the kernel has.
pub fn same(fits: bool) -> Result<(), Refusal> {
    if fits {
        Ok(())
    } else {
        Err(Refusal::Settings)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Reader, Refusal, Writer, VERSION};

    fn sealed() -> Vec<u8> {
        let mut writer = Writer::new(Kind::Adwin);
        writer.u32(7).f64(-0.5);
        writer.seal()
    }

    #[test]
    fn numbers_come_back() {
        let bytes = sealed();
        let mut reader = Reader::open(Kind::Adwin, &bytes).unwrap();
        assert_eq!((reader.u32(), reader.f64(), reader.u32()), (Ok(7), Ok(-0.5), Err(Refusal::Damaged)));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn every_changed_or_missing_byte_is_seen() {
        let bytes = sealed();
        for i in 0..bytes.len() {
            assert_eq!(Reader::open(Kind::Adwin, &bytes[..i]).unwrap_err(), Refusal::Damaged);
            let mut changed = bytes.clone();
            changed[i] ^= 4;
            assert_eq!(Reader::open(Kind::Adwin, &changed).unwrap_err(), Refusal::Damaged);
        }
    }

    #[test]
    fn another_kernel_and_a_newer_version_are_named() {
        let bytes = sealed();
        let refusal = Reader::open(Kind::SlidingKs, &bytes).unwrap_err();
        assert_eq!(refusal, Refusal::Other { of: "adwin", wanted: "ks" });
        let mut writer = Writer::new(Kind::Adwin);
        writer.0[4] = 2;
        assert_eq!(Reader::open(Kind::Adwin, &writer.seal()).unwrap_err(), Refusal::Newer(VERSION + 1));
    }
}

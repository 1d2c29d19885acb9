//! Kafka's record batch, version 2 (KIP-98), behind its header and after decompression: records to columns.
//!
//! `None` is anything that kafka-python's own decoder has to judge: it reads the batch then, or says what is wrong with it.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyByteArrayMethods, PyBytes, PyList, PyString, PyTuple};

/// The least bytes of a record: length, attributes, two deltas, three sizes.
const RECORD_BYTES_MIN: usize = 7;

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A variable-length integer, zigzag.
    #[inline]
    fn varint(&mut self) -> Option<i64> {
        let mut raw = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        None // more than 63 bits: no record has that
    }

    fn slice(&mut self, size: i64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(size).ok()?)?;
        let slice = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(slice)
    }

    /// Bytes with their size before them; the inner None is null, which any negative size is.
    #[allow(clippy::option_option)] // the outer None: the bytes end before
    fn sized(&mut self) -> Option<Option<&'a [u8]>> {
        let size = self.varint()?;
        if size < 0 {
            return Some(None);
        }
        self.slice(size).map(Some)
    }
}

struct Row<'a> {
    time_delta: i64,
    offset_delta: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: Vec<(&'a str, &'a [u8])>,
}

fn row<'a>(reader: &mut Reader<'a>) -> Option<Row<'a>> {
    let length = reader.varint()?;
    let begin = reader.at;
    let _attributes = reader.varint()?;
    let (time_delta, offset_delta) = (reader.varint()?, reader.varint()?);
    let (key, value) = (reader.sized()?, reader.sized()?);
    let count = reader.varint()?;
    if count < 0 {
        return None;
    }
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = reader.sized()??;
        headers.push((std::str::from_utf8(name).ok()?, reader.sized()?.unwrap_or(b"")));
    }
    (i64::try_from(reader.at - begin) == Ok(length)).then_some(Row { time_delta, offset_delta, key, value, headers })
}

fn rows(bytes: &[u8], position: usize, count: i64) -> Option<Vec<Row<'_>>> {
    let mut reader = Reader { bytes, at: position };
    let count = usize::try_from(count).ok().filter(|count| *count <= bytes.len() / RECORD_BYTES_MIN)?;
    let rows = (0..count).map(|_| row(&mut reader)).collect::<Option<Vec<_>>>()?;
    (reader.at == bytes.len()).then_some(rows)
}

type Columns<'py> = (
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyArray1<i64>>,
    Bound<'py, PyList>,
    Option<Bound<'py, PyList>>,
    Option<Bound<'py, PyList>>,
);

/// Read the records of a batch.
///
/// Returns offsets, times, values, keys (None where no record has one), headers (likewise); a null header is empty.
/// `append_time` is the time of all records, where the broker sets it.
#[pyfunction]
#[pyo3(signature = (buffer, position, count, base_offset, first_time, append_time))]
pub fn read_batch<'py>(
    py: Python<'py>,
    buffer: &Bound<'py, PyByteArray>,
    position: usize,
    count: i64,
    base_offset: i64,
    first_time: i64,
    append_time: Option<i64>,
) -> PyResult<Option<Columns<'py>>> {
    let bytes = buffer.to_vec(); // nobody can change these meanwhile
    let Some(rows) = rows(&bytes, position, count) else { return Ok(None) };
    let offsets: Option<Vec<i64>> = rows.iter().map(|row| base_offset.checked_add(row.offset_delta)).collect();
    let times: Option<Vec<i64>> =
        rows.iter().map(|row| append_time.or_else(|| first_time.checked_add(row.time_delta))).collect();
    let (Some(offsets), Some(times)) = (offsets, times) else { return Ok(None) };
    let bytes_of = |slice: Option<&[u8]>| slice.map(|slice| PyBytes::new(py, slice));
    let values = PyList::new(py, rows.iter().map(|row| bytes_of(row.value)))?;
    let keyed = rows.iter().any(|row| row.key.is_some());
    let keys = keyed.then(|| PyList::new(py, rows.iter().map(|row| bytes_of(row.key)))).transpose()?;
    let headed = rows.iter().any(|row| !row.headers.is_empty());
    let headers = headed.then(|| headers_of(py, &rows)).transpose()?;
    Ok(Some((offsets.into_pyarray(py), times.into_pyarray(py), values, keys, headers)))
}

fn headers_of<'py>(py: Python<'py>, rows: &[Row]) -> PyResult<Bound<'py, PyList>> {
    let all = PyList::empty(py);
    for row in rows {
        let headers = row.headers.iter().map(|(name, value)| (PyString::new(py, name), PyBytes::new(py, value)));
        all.append(PyTuple::new(py, headers.map(|header| header.into_pyobject(py)).collect::<PyResult<Vec<_>>>()?)?)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_length() {
        let read = |bytes: &[u8]| Reader { bytes, at: 0 }.varint();
        assert_eq!(read(&[0]), Some(0));
        assert_eq!(read(&[1]), Some(-1));
        assert_eq!(read(&[0xac, 0x02]), Some(150));
        assert_eq!(read(&[0x80]), None);
        assert_eq!(read(&[0xff; 12]), None);
    }

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let good = [16, 0, 2, 4, 1, 2, b'v', 0, 0];
        let found = rows(&good[..8], 0, 1);
        assert!(found.is_none(), "the length says 8 bytes");
        let good = [14, 0, 2, 4, 1, 2, b'v', 0];
        let found = rows(&good, 0, 1).unwrap();
        assert_eq!((found[0].time_delta, found[0].offset_delta, found[0].value), (1, 2, Some(b"v".as_slice())));
        for count in [-1, 0, 2, i64::MAX] {
            assert!(rows(&good, 0, count).is_none());
        }
        for cut in 0..good.len() {
            assert!(rows(&good[..cut], 0, 1).is_none());
        }
    }
}

//! The decoder's doors to Python: records in, the reference's values in, arrays out.

use numpy::{IntoPyArray, PyReadonlyArray1};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::columns::{Coded, Fact, Label, Model, Place, Texts, NULL, OTHER};

/// Events whose bytes lie one after the other.
#[derive(Default)]
pub struct Loaded {
    bytes: Vec<u8>,
    /// Where each event ends, and whether it is certainly not of the plain shape.
    ends: Vec<(usize, bool)>,
    pub places: Vec<Place>,
    pub times: Vec<i64>,
}

impl Loaded {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of an event, None where it is not of the plain shape.
    #[inline]
    pub fn plain(&self, index: usize) -> Option<&[u8]> {
        let begin = if index == 0 { 0 } else { self.ends[index - 1].0 };
        let (end, odd) = self.ends[index];
        if odd {
            None
        } else {
            Some(&self.bytes[begin..end])
        }
    }

    pub fn place(&self, index: usize, order: i64) -> PyResult<Place> {
        let place = self.places.get(index).ok_or_else(|| PyIndexError::new_err("no such event is loaded"))?;
        Ok(Place { order, ..*place })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.places.clear();
        self.times.clear();
    }

    fn push(&mut self, value: &Bound<'_, PyAny>, odd: bool, place: Place, time: i64) {
        let value = value.cast::<PyBytes>();
        self.bytes.extend_from_slice(value.as_ref().map_or(b"", |value| value.as_bytes()));
        self.ends.push((self.bytes.len(), odd || value.is_err()));
        self.places.push(place);
        self.times.push(time);
    }

    pub fn records(&mut self, records: &Bound<'_, PyAny>, begin: usize, sources: &Bound<'_, PyDict>) -> PyResult<()> {
        let py = records.py();
        self.clear();
        let mut last: Option<(Bound<'_, PyAny>, i32)> = None;
        for record in records.try_iter()?.skip(begin) {
            let record = record?;
            let partition = record.getattr(intern!(py, "partition"))?;
            let source = match &last {
                Some((known, source)) if known.is(&partition) => *source,
                _ => number_of(sources, &partition)?,
            };
            last = Some((partition, source));
            let place = Place {
                source,
                offset: record.getattr(intern!(py, "offset"))?.extract()?,
                muted: record.getattr(intern!(py, "replayed"))?.is_truthy()?,
                order: 0,
            };
            let odd = enveloped(&record.getattr(intern!(py, "headers"))?)?;
            let time = record.getattr(intern!(py, "timestamp_ms"))?.extract()?;
            self.push(&record.getattr(intern!(py, "value"))?, odd, place, time);
        }
        Ok(())
    }

    pub fn values(
        &mut self,
        values: &Bound<'_, PyList>,
        offsets: &PyReadonlyArray1<'_, i64>,
        times: &PyReadonlyArray1<'_, i64>,
        headers: Option<&Bound<'_, PyList>>,
        source: i32,
        muted: bool,
    ) -> PyResult<()> {
        self.clear();
        let (offsets, times) = (offsets.as_array(), times.as_array());
        let n = values.len();
        if offsets.len() != n || times.len() != n || headers.is_some_and(|headers| headers.len() != n) {
            return Err(PyValueError::new_err("there must be an offset, a time and headers for each value"));
        }
        for (nth, ((value, offset), time)) in values.iter().zip(offsets).zip(times).enumerate() {
            let odd = headers.map(|headers| enveloped(&headers.get_item(nth)?)).transpose()?.unwrap_or(false);
            self.push(&value, odd, Place { source, offset: *offset, muted, order: 0 }, *time);
        }
        Ok(())
    }
}

/// The number of a partition; it gets the next one where it has none.
fn number_of(sources: &Bound<'_, PyDict>, partition: &Bound<'_, PyAny>) -> PyResult<i32> {
    if let Some(known) = sources.get_item(partition)? {
        return known.extract();
    }
    let number = i32::try_from(sources.len())?;
    sources.set_item(partition, number)?;
    Ok(number)
}

/// Whether headers make it a `CloudEvent` in binary mode.
fn enveloped(headers: &Bound<'_, PyAny>) -> PyResult<bool> {
    for header in headers.try_iter()? {
        if header?.get_item(0)?.cast::<PyString>()?.to_str()?.starts_with("ce_") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Set the values of a row from what the reference decoded.
pub fn set_row(
    model: &mut Model,
    row: usize,
    segments: &Bound<'_, PyDict>,
    signals: &Bound<'_, PyDict>,
    text_max: usize,
) -> PyResult<()> {
    for (name, value) in signals.iter() {
        let column = model.column(name.cast::<PyString>()?.to_str()?.as_bytes(), row);
        if value.is_none() {
            column.set_kind(row, NULL);
        } else if let Ok(value) = value.cast_exact::<PyFloat>() {
            column.set_number(row, value.extract()?);
        } else if let Ok(value) = value.cast_exact::<PyInt>() {
            column.set_number(row, value.extract()?);
        } else if let Ok(text) = value.cast_exact::<PyString>() {
            column.set_text(row, cut(text.to_str()?, text_max).as_bytes());
        } else if let Ok(value) = value.cast_exact::<PyBool>() {
            column.set_bool(row, value.is_true());
        } else {
            column.set_kind(row, OTHER);
        }
    }
    for (nth, (name, value)) in segments.iter().enumerate() {
        let (name, value) = (name.cast::<PyString>()?, value.cast::<PyString>()?);
        model.segment(nth, name.to_str()?.as_bytes(), row, value.to_str()?.as_bytes());
    }
    Ok(())
}

/// The first characters of a text.
fn cut(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, bytes)
}

fn texts<'py>(py: Python<'py>, texts: &Texts) -> PyResult<Bound<'py, PyTuple>> {
    let texts: Vec<_> = texts.all.iter().map(|bytes| text(py, bytes)).collect::<PyResult<_>>()?;
    PyTuple::new(py, texts)
}

fn coded(py: Python<'_>, mut coded: Coded, rows: usize) -> PyResult<Bound<'_, PyTuple>> {
    coded.fill(rows);
    let values = texts(py, &coded.values)?;
    (coded.codes.into_pyarray(py), values).into_pyobject(py)
}

fn fact(py: Python<'_>, fact: Fact) -> PyResult<Bound<'_, PyAny>> {
    let (id, label, score) = match fact {
        Fact::None => return Ok(py.None().into_bound(py)),
        Fact::Given(given) => return Ok(given.into_bound(py)),
        Fact::Told(id, label, score) => (id, label, score),
    };
    let label = match label {
        Label::None => py.None().into_bound(py),
        Label::Text(bytes) => text(py, &bytes)?.into_any(),
        Label::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Label::Integer(value) => value.into_pyobject(py)?.into_any(),
        Label::Number(value) => PyFloat::new(py, value).into_any(),
    };
    Ok((text(py, &id)?, label, score, PyDict::new(py)).into_pyobject(py)?.into_any())
}

/// The sources of rows, renumbered in order of appearance, and the numbers that they had.
fn renumbered(sources: &mut [i32]) -> Vec<i32> {
    let mut known = Vec::new();
    let mut last = (i32::MIN, 0);
    for source in sources {
        if last.0 != *source {
            let at = known.iter().position(|k| k == source).unwrap_or_else(|| {
                known.push(*source);
                known.len() - 1
            });
            last = (*source, i32::try_from(at).unwrap_or(i32::MAX));
        }
        *source = last.1;
    }
    known
}

/// What `kernels/decode.py` makes a block of.
pub fn taken(py: Python<'_>, mut model: Model) -> PyResult<Bound<'_, PyTuple>> {
    let rows = model.rows();
    let columns = PyList::empty(py);
    for mut column in model.columns {
        column.fill(rows);
        let kinds = (!column.kinds.is_empty()).then(|| {
            let mut kinds = column.kinds;
            kinds.resize(rows, super::columns::NUMBER);
            kinds.into_pyarray(py)
        });
        let told = column.texts.map(|texts| coded(py, texts, rows)).transpose()?;
        columns.append((text(py, &column.name)?, column.first_row, column.numbers.into_pyarray(py), kinds, told))?;
    }
    let dimensions = PyList::empty(py);
    for (name, first_row, values) in model.dimensions {
        dimensions.append((text(py, &name)?, first_row, coded(py, values, rows)?))?;
    }
    let facts: Vec<_> = model.facts.into_iter().map(|told| fact(py, told)).collect::<PyResult<_>>()?;
    let sources = renumbered(&mut model.sources);
    PyTuple::new(
        py,
        [
            text(py, &model.name)?.into_any(),
            model.times.into_pyarray(py).into_any(),
            model.sources.into_pyarray(py).into_any(),
            PyList::new(py, sources)?.into_any(),
            model.offsets.into_pyarray(py).into_any(),
            model.orders.into_pyarray(py).into_any(),
            model.muted.into_pyarray(py).into_any(),
            coded(py, model.versions, rows)?.into_any(),
            columns.into_any(),
            dimensions.into_any(),
            PyTuple::new(py, facts)?.into_any(),
            model.ids.fingerprints().into_pyarray(py).into_any(),
        ],
    )
}

"""Single events whose reading needs care: each is accepted or refused, with the same values, as the reference does."""

from __future__ import annotations

import json
import random

import pytest

from streamdrift.settings import Settings
from tests.kernels.same_batch import check, needs_compiled, records

pytestmark = needs_compiled


def feature(value: bytes) -> bytes:
    return b'{"model":"m","features":{"x":' + value + b"}}"


NUMBERS = (
    b"0 -0 -0.0 0.0 0e0 0e999 1e5 1E5 1e+5 1e-5 1e22 1e23 1e-22 1e-23 1e308 1e309 -1e309 1e999 1e-400 5e-324 2e-324 "
    b"2.2250738585072011e-308 2.2250738585072014e-308 1.7976931348623157e308 1.7976931348623159e308 "
    b"9007199254740991 9007199254740992 9007199254740993 9007199254740993.0 9007199254740992.5e1 "
    b"9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 "
    b"18446744073709551615 18446744073709551616 123456789012345678901234567890 "
    b"0.1 0.30000000000000004 0.1000000000000000055511151231257827 1.00000000000000011102230246251565 "
    b"1e00000000000000000001 1e-00000000000000000001 1e99999999999999999999 1e-99999999999999999999 "
    b"0.000000000000000000000000000001e30 100000000000000000000e-20 "
    b"01 -01 00 1. .5 -.5 - + +1 1e 1e+ 1e- 1.e1 1e1.5 0x1 0b1 1_000 1,000 NaN -NaN nan Infinity -Infinity inf 1f 1d ++1 --1 1- "
    b"\xef\xbc\x91 1\x00 \x001"
).split(b" ")
VALUES = (
    *NUMBERS,
    b"9" * 400,
    b"0." + b"0" * 400 + b"1",
    b"1" + b"0" * 308,
    *(b"null true false nul tru fals NULL True nulll truee 'a' a undefined None".split(b" ")),
    *(
        b'"" "a" "\\"" "\\\\" "\\/" "\\b\\f\\n\\r\\t" "\\u0041" "\\u00fc" "\\uFFFF" "\\u0000" "\\ud83d\\ude00"'.split(
            b" "
        )
    ),
    *(
        b'"\\ud800" "\\udc00" "\\ud800\\ud800" "\\ud800x" "\\ud800\\n" "\\u12" "\\u12g4" "\\x41" "\\a" "\\" "\\"'.split(
            b" "
        )
    ),
    *(b'"a" "a "a"" ""a "a"x "a',),
    b'"\t"',
    b'"\n"',
    b'"\x00"',
    b'"\x1f"',
    b'"\x7f"',
    b'"\xff"',
    b'"\xc0\xaf"',  # overlong
    b'"\xed\xa0\x80"',  # a surrogate in UTF-8
    b'"\xf4\x90\x80\x80"',  # beyond Unicode
    b'"\xf0\x9f\x98\x80"',
    b'"\xe2\x82"',
    b'[] {} [1] [1,] [,1] [1 2] {"a":1} {"a":1,} {"a"} {a:1} {\'a\':1} {"a":1 "b":2} {1:2} {"a"::1}'.replace(
        b"} {", b"}\0{"
    ),
)
EVENTS = [
    *map(feature, VALUES),
    b'{"model":"m","features":{"x":1}} ',
    b' \n\t\r{ "model" : "m" , "features" : { "x" : 1 } }\n',
    b'{"model":"m","features":{"x":1}}x',
    b'{"model":"m","features":{"x":1}}{}',
    b'{"model":"m","features":{"x":1}},',
    b'{"model":"m","features":{"x":1}}\x00',
    b'\xef\xbb\xbf{"model":"m","features":{"x":1}}',
    b'\x0b{"model":"m","features":{"x":1}}',
    b'\xc2\xa0{"model":"m","features":{"x":1}}',
    b'{"model":"m","features":{"x":1}',
    b'{"model":"m","features":{"x":1},}',
    b'{"model":"m" "features":{"x":1}}',
    b'{"model":"m",,"features":{"x":1}}',
    b'{"model":"m","features":{"x":1},"features":{"y":2}}',
    b'{"model":"m","features":{"x":1},"features":null}',
    b'{"model":"m","features":{"x":1,"x":2}}',
    b'{"model":"m","features":{"x":1,"y":0,"x":null}}',
    b'{"model":"m","features":{"x":1,"\\u0078":2}}',
    b'{"model":"m","model":"n","features":{"x":1}}',
    b'{"mod\\u0065l":"m","features":{"x":1}}',
    b'{"model":{"name":"m","name":"n"},"features":{"x":1}}',
    b'{"model":{"name":"m","version":"1","version":null},"features":{"x":1}}',
    b'{"model":{"version":1.0,"name":"m"},"features":{"x":1}}',
    b'{"model":{"version":true,"name":"m"},"features":{"x":1}}',
    b'{"model":{"version":-0,"name":"m"},"features":{"x":1}}',
    b'{"model":{"version":[1],"name":"m"},"features":{"x":1}}',
    b'{"model":{"version":"","name":"m","deep":{"a":[]}},"features":{"x":1}}',
    b'{"model":{},"features":{"x":1}}',
    b'{"model":"","features":{"x":1}}',
    b'{"model":null,"features":{"x":1}}',
    b'{"model":7,"features":{"x":1}}',
    b'{"features":{"x":1}}',
    b'{"model":"m"}',
    b'{"model":"m","features":{}}',
    b'{"model":"m","features":null,"prediction":null,"embeddings":null}',
    b'{"model":"m","features":[1]}',
    b'{"model":"m","features":{},"prediction":{}}',
    b'{"model":"m","features":{},"prediction":{"other":1}}',
    b'{"model":"m","prediction":{"label":"a","score":1}}',
    b'{"model":"m","prediction":{"label":"a","label":"b"}}',
    b'{"model":"m","prediction":{"score":null,"label":null}}',
    b'{"model":"m","prediction":{"score":"1","label":[]}}',
    b'{"model":"m","prediction_id":"1","prediction":{"score":true,"label":false}}',
    b'{"model":"m","prediction_id":1,"prediction":{"score":1,"label":-0}}',
    b'{"model":"m","prediction_id":1.5,"prediction":{"score":-0.0,"label":-0.0}}',
    b'{"model":"m","prediction_id":-1,"prediction":{"label":12345678901234567890}}',
    b'{"model":"m","prediction_id":true,"prediction":{"label":1}}',
    b'{"model":"m","prediction_id":null,"prediction":{"label":1}}',
    b'{"model":"m","prediction_id":{},"prediction":{"label":1}}',
    b'{"model":"m","features":{"prediction.score":1,"y":2},"prediction":{"score":3}}',
    b'{"model":"m","features":{"x":1},"segments":{"a":"1","a":"2","b":1,"c":1.0,"d":null,"e":true}}',
    b'{"model":"m","features":{"x":1},"segments":{"a":1,"b":-1,"c":123456789012345678901,"d":false,"":""}}',
    b'{"model":"m","features":{"x":1},"segments":{"a":null,"a":"b"}}',
    b'{"model":"m","features":{"x":1},"segments":{"a":"b","a":null}}',
    b'{"model":"m","features":{"x":1},"segments":[]}',
    b'{"model":"m","features":{"x":1},"segments":{"a":[]}}',
    b'{"model":"m","features":{"x":1},"segments":null,"tags":null,"prediction":null}',
    b'{"model":"m","features":{"x":1},"embeddings":{}}',
    b'{"model":"m","features":{"x":1},"embeddings":{"e":[1,2]}}',
    b'{"model":"m","features":{"x":1},"tags":[1,{"a":[{}]},"\\ud800"]}',
    b'{"model":"m","features":{"x":1},"tags":[1e999]}',
    b'{"model":"m","features":{"x":1},"tags":' + b"[" * 31 + b"]" * 31 + b"}",
    b'{"model":"m","features":{"x":1},"tags":' + b"[" * 33 + b"]" * 33 + b"}",
    b'{"model":"m","features":{"x":1},"tags":' + b"[" * 1_023 + b"]" * 1_023 + b"}",
    b'{"model":"m","features":{"x":1},"tags":' + b"[" * 1_024 + b"]" * 1_024 + b"}",
    b'{"model":"m","features":{"x":1},"tags":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    b'{"model":"m","features":{"x":1},"tags":{"a":1,"a":2}}',
    b'{"specversion":"1.0","id":"e","time":"2013-04-01T08:15:00Z","data":{"model":"m","features":{"x":1}}}',
    b'{"specversion":null,"data":{"model":"m","features":{"x":1}}}',
    b'{"model":"m","features":{"' + b"n" * 300 + b'":1,"' + b"n" * 301 + b'":2}}',
    b'{"model":"' + "ü".encode() * 200 + b'","features":{"x":"' + "ü".encode() * 300 + b'"}}',
    b'{"model":"m","features":{' + b",".join(b'"f%d":1' % i for i in range(1_001)) + b"}}",
    b'{"model":"m","features":{' + b",".join(b'"f%d":1' % i for i in range(1_000)) + b'},"prediction":{"score":1}}',
    b'{"model":"m","features":{"x":1},"segments":{' + b",".join(b'"s%d":"1"' % i for i in range(33)) + b"}}",
    b'{"model":"m","features":{"x":"' + b"y" * 1_000_000 + b'"}}',
    b"[]",
    b"1",
    b"null",
    b'"x"',
    b"{",
    b"}",
    b"",
    b"   ",
    b"[" * 100_000,
    b'{"a":' * 100_000,
]
TIMES = [
    *(
        b"0 -0 -1 0.5 -0.5 1364804100000 1364804100000.7 1e12 253402300799999 253402300800000 1e30 1e999 null true [] {}".split(
            b" "
        )
    ),
    *(
        b'"%s"' % text
        for text in (
            b"2013-04-01T08:15:00Z|2013-04-01t08:15:00z|2013-04-01 08:15:00Z|2013-04-01T08:15:00|2013-04-01T08:15Z|2013-04-01|"
            b"2013-04-01T08:15:00+02:00|2013-04-01T08:15:00+0200|2013-04-01T08:15:00+02|2013-04-01T08:15:00-00:00|"
            b"2013-04-01T08:15:00+24:00|2013-04-01T08:15:00+23:59|2013-04-01T08:15:00+23:60|2013-04-01T08:15:00.1Z|"
            b"2013-04-01T08:15:00.123456789Z|2013-04-01T08:15:00.1234567891Z|2013-04-01T08:15:00,5Z|2013-04-01T08:15:00.Z|"
            b"2013-04-01T24:00:00Z|2013-04-01T23:59:60Z|2013-04-31T00:00:00Z|2012-02-29T00:00:00Z|2013-02-29T00:00:00Z|"
            b"2000-02-29T00:00:00Z|2100-02-29T00:00:00Z|1969-12-31T23:59:59.999Z|1970-01-01T00:30:00+01:00|"
            b"9999-12-31T23:59:59.999999Z|9999-12-31T23:59:59-01:00|0001-01-01T00:00:00Z|0000-01-01T00:00:00Z|2013-W14-1T08:15:00Z|"
            b"20130401T081500Z|+2013-04-01T08:15:00Z|2013-04-01T08:15:00Z |2013-4-1T8:15:00Z|2013-04-01T08:15:00+02:00:30|"
            b"2013-04-01T08:15:00 Z|\xd9\xa2013-04-01T08:15:00Z||noon"
        ).split(b"|")
    ),
]


@pytest.mark.parametrize("settings", [Settings(), Settings(text_length_max=8, max_event_bytes=5_000)])
@pytest.mark.parametrize("labels", [False, True])
def test_each_event_is_read_as_the_reference_does(settings: Settings, labels: bool) -> None:
    for value in [*EVENTS, *(b'{"model":"m","features":{"x":1},"occurred_at":%s}' % time for time in TIMES)]:
        try:
            check(records([value]), settings, labels=labels)
        except AssertionError as e:
            pytest.fail(f"{value[:200]!r}: {e}")


def test_all_of_them_in_one_batch_keep_their_places() -> None:
    shuffled = [value for value in EVENTS * 2 if len(value) < 10_000]
    random.Random(3).shuffle(shuffled)
    check(records(shuffled), labels=True, cuts=[17, 18, 100])


def test_nesting_of_any_depth_is_no_panic() -> None:
    for depth in (10, 31, 32, 33, 1_000, 1_022, 1_023, 1_024, 1_025, 200_000):
        for begin, end in ((b"[", b"]"), (b'{"a":', b"}")):
            nested = begin * depth + (b"1" if begin != b"[" else b"") + end * depth
            check(records([b'{"tags":' + nested + b',"model":"m","features":{"x":1}}']))


@pytest.mark.parametrize("seed", range(5))
def test_bytes_flipped_at_random_are_no_panic(seed: int) -> None:
    rng = random.Random(seed)
    good = json.dumps(
        {
            "prediction_id": "f-17",
            "occurred_at": "2013-04-01T08:15:00.25Z",
            "model": {"name": "flights", "version": "7"},
            "segments": {"origin": "EWR", "late": True},
            "features": {"a": 1.25, "b": -3, "c": "ü", "d": None, "e": False},
            "prediction": {"score": 0.31, "label": "on-time"},
            "tags": {"t": [1, {"u": "\n"}]},
        }
    ).encode()
    values = []
    for _ in range(1_500):
        value = bytearray(good)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            at = rng.randrange(len(value) + 1)
            change = rng.randrange(4)
            if change == 0:
                value[at : at + 1] = bytes([rng.randrange(256)])
            elif change == 1:
                del value[at : at + rng.randrange(1, 8)]
            elif change == 2:
                value[at:at] = bytes(rng.choices(b'"{}[],:\\0123456789.eE+-\x00\xff', k=rng.randrange(1, 4)))
            else:
                del value[at + 1 :]
        values.append(bytes(value))
    check(records(values), labels=True)

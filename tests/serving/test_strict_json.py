"""Strict JSON: the same values as `json.loads`, also when long strings are cut out first."""

from __future__ import annotations

import base64
import json
import os

import pytest
from hypothesis import given, settings, strategies

from captune.errors import ImageError
from captune.serving.api import calls, strict_json
from captune.serving.api.calls import decode_base64
from captune.serving.api.strict_json import parse_strict_json
from captune.serving.errors import ApiError
from captune.serving.settings import RequestLimits

_VALUES = strategies.recursive(
    strategies.none()
    | strategies.integers(-9, 9)
    | strategies.text(alphabet='ab"\\\u00e9\n[{', max_size=30),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture
def short_limits(monkeypatch):
    monkeypatch.setattr(strict_json, "_LONG", 4)
    monkeypatch.setattr(strict_json, "_PIECE", 3)
    monkeypatch.setattr(calls, "_PIECE", 8)


@pytest.mark.slow
def test_cutting_long_strings_changes_no_value(short_limits):
    @given(value=_VALUES, is_ascii=strategies.booleans())
    @settings(max_examples=500, deadline=None, database=None)
    def check(value, is_ascii):
        content = json.dumps(value, ensure_ascii=is_ascii).encode()
        assert parse_strict_json(content) == value

    check()


@pytest.mark.slow
def test_cutting_long_strings_accepts_nothing_that_is_not_json(short_limits):
    @given(content=strategies.text(alphabet='"abcde:,[]{} \t\x01\u00e9', max_size=40))
    @settings(max_examples=1500, deadline=None, database=None)
    def check(content):
        try:
            expected = json.loads(content)
        except ValueError:
            with pytest.raises(ApiError):
                parse_strict_json(content.encode())
            return
        try:
            found = parse_strict_json(content.encode())
        except ApiError as error:
            assert "twice" in error.message
            return
        assert found == expected

    check()


@pytest.mark.parametrize(
    "text",
    ["x" * 200_000 + "\x01", "x" * 200_000 + "\n" + "y" * 100_000, "\x00" * 70_000],
)
def test_a_control_character_in_a_long_string_is_refused(text):
    with pytest.raises(ApiError, match="not JSON"):
        parse_strict_json(b'{"a": "%b"}' % text.encode())


def test_a_long_string_that_is_not_utf_8_is_refused():
    with pytest.raises(ApiError, match="not JSON"):
        parse_strict_json(b'{"a": "' + b"\xff" * 100_000 + b'"}')


@pytest.mark.parametrize("size", [0, 1, 2, 3, 785_999, 786_000, 786_431, 786_432, 2_000_001])
def test_base64_of_any_length_is_decoded(size):
    content = os.urandom(size)
    assert decode_base64(base64.b64encode(content).decode(), RequestLimits()) == content


@pytest.mark.parametrize("text", ["QQ==QUJD", "QUI=QUJD", "QQ=", "Q", "QUJD\n", "QU-_", "é" * 8])
def test_what_is_not_base64_is_refused(short_limits, text):
    for before in ("", "QUJDQUJD", "QUJDQUJDQUJD"):
        with pytest.raises(ApiError, match="not valid base64"):
            decode_base64(before + text, RequestLimits())


def test_base64_of_too_many_bytes_is_an_error_of_its_image():
    text = base64.b64encode(bytes(2000)).decode()
    found = decode_base64(text, RequestLimits(image_bytes=1999 - 3))
    assert isinstance(found, ImageError)
    assert found.what == "too_many_bytes"

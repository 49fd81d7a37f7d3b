"""Errors state what is wrong, where, and the fix, also after a transfer between processes."""

from __future__ import annotations

import pickle

import pytest

from captune import errors
from captune.errors import CaptuneError, ImageError

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and kind.__module__ == errors.__name__
]


def test_an_error_prints_what_where_and_the_fix() -> None:
    error = CaptuneError("no images", where="data.path", fix="give a folder")
    assert str(error) == "no images\n  where: data.path\n  fix:   give a folder"
    assert str(CaptuneError("no images")) == "no images"


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_users_error_and_survives_pickling(kind: type[CaptuneError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a", where="b", fix="c")))
    assert type(error) is kind
    assert (error.what, error.where, error.fix, error.exit_code) == ("a", "b", "c", 2)


def test_an_image_error_is_a_data_error() -> None:
    assert issubclass(ImageError, errors.DataError)

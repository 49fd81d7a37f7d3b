"""Files of contact sheets: sizes that a format cannot hold, and sheets that are too large."""

from __future__ import annotations

import pytest
from PIL import Image

from captune.data import contact_sheet, make_shapes, write_picture
from captune.errors import DataError, OutputError


@pytest.mark.parametrize(("name", "height"), [("a.webp", 16_384), ("a.jpg", 65_501)])
def test_a_picture_that_its_format_cannot_hold_is_refused(tmp_path, name, height) -> None:
    with pytest.raises(OutputError, match=r"pixels per side") as caught:
        write_picture(Image.new("RGB", (2, height)), tmp_path / name)
    assert ".png" in caught.value.fix
    assert list(tmp_path.iterdir()) == []
    write_picture(Image.new("RGB", (2, height)), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.size == (2, height)


@pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.PDF"])
def test_the_largest_picture_of_a_format_is_written(tmp_path, name) -> None:
    longest = 16_383 if name == "a.webp" else 65_500
    write_picture(Image.new("RGB", (1, longest)), tmp_path / name)
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.slow
def test_a_sheet_that_is_too_large_is_refused_before_it_is_drawn() -> None:
    with pytest.raises(DataError, match="too large") as caught:
        contact_sheet(make_shapes(1), cell_width=20_000)
    assert "narrower cells" in caught.value.fix
    with pytest.raises(DataError, match="too large"):
        contact_sheet(make_shapes(700), columns=1, cell_width=800)

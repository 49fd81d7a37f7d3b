"""A data format of your own: captions inside one XML file beside the images.

    python examples/new_format.py FOLDER

    <photos>
      <photo file="a.jpg"><caption>A dog runs.</caption><caption>A dog on grass.</caption></photo>
    </photos>

A format is two functions: `find` looks at a place and reports what it found there, `read` reads
it. `read` only has to yield rows; `gather_rows` merges the captions of an image, finds its file,
applies filters, and lists what cannot be used. To make it part of captune, put both into
`src/captune/data/readers/photo_xml.py` and add one row to `SOURCES` in `readers/__init__.py`:

    "photo_xml": Source("photos.xml with <photo> elements", find_photos, read_photos),
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from captune.data import LoadedData, LoadOptions
from captune.data.rows.gather import Row, gather_rows
from captune.errors import DataError


def find_photos(place: Path) -> str | None:
    """Report the XML file of a folder; `None` if this is another format."""
    file = place / "photos.xml"
    return f"{file.name} with captions" if file.is_file() else None


def read_photos(place: Path, options: LoadOptions) -> LoadedData:
    """Read the captions of `photos.xml`.

    Raises:
        DataError: The file is not valid XML.
    """
    return gather_rows(_iter_rows(place / "photos.xml"), options, format="photo_xml", root=place)


def _iter_rows(file: Path) -> Iterator[Row]:
    try:
        photos = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise DataError(f"{file} is not valid XML: {error}", fix="correct this place") from error
    for photo in photos.iter("photo"):
        captions = tuple(caption.text or "" for caption in photo.iter("caption"))
        # The remaining attributes can be used by filters: `data.filters: {licence: cc0}`.
        yield Row(name=photo.get("file", ""), captions=captions, columns=dict(photo.attrib))


def main() -> None:
    folder = Path(sys.argv[1])
    print(find_photos(folder) or f"no photos.xml in {folder}")
    loaded = read_photos(folder, LoadOptions())
    for record in loaded.records:
        print(f"{record.image_id}: {' / '.join(record.captions)}")
    for image in loaded.skipped:
        print(f"skipped {image.file}: {image.reason}")


if __name__ == "__main__":
    main()

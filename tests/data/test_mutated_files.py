"""Damaged data sets of every format: each is read, or raises an error of captune."""

from __future__ import annotations

import base64
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from captune.data import check_data, load_records
from captune.errors import CaptuneError
from support.soak import FIRST_SEED, rounds, soak

SEED = 20261128 + FIRST_SEED

INSERTIONS = (
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"\n", b"\r", b",", b"\t", b"{", b"[", b"]"),
    *(b"null", b"NaN", b"1e999", b"9" * 5000, b"-1", b"[" * 2000, b'{"a":' * 1500, b"\\ud800"),
    *(b"../../etc/passwd", b"/dev/zero", b"C:\\x.png", b"\xc3", b"true", b'{"path": 3}', b"%s%n"),
)


def write_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (12, 9), (number * 20, 10, 200)).save(folder / name)


def make_csv(root: Path) -> None:
    write_images(root / "images", ["a.png", "b.png"])
    rows = ('a.png,"One, dog",1,train,g', "b.png,\"['x', 'y']\",2,val,")
    (root / "d.csv").write_text("\n".join(("image,caption,image_id,split,group", *rows)))


def make_tsv(root: Path) -> None:
    write_images(root, ["a.png", "b.png"])
    (root / "d.tsv").write_text("a.png\tOne dog\nb.png\tTwo cats\n")


def make_jsonl(root: Path) -> None:
    write_images(root, ["a.png", "b.png"])
    content = base64.b64encode((root / "b.png").read_bytes()).decode()
    lines = [
        {"image": "a.png", "captions": ["One", {"raw": "Two"}], "split": "train", "group": 4},
        {"image": {"path": "b.png", "bytes": content}, "caption": "Three", "image_id": 7},
    ]
    (root / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))


def make_json(root: Path) -> None:
    make_jsonl(root)
    lines = (root / "d.jsonl").read_text().split("\n")
    (root / "d.jsonl").unlink()
    (root / "d.json").write_text(f"[{','.join(lines)}]")


def make_coco(root: Path) -> None:
    write_images(root / "train2017", ["a.png", "b.png"])
    images = [{"id": n, "file_name": f"{name}.png", "license": 1} for n, name in enumerate("ab")]
    annotations = [{"id": n, "image_id": n, "caption": f"Caption {n}"} for n in range(2)]
    (root / "annotations").mkdir()
    (root / "annotations" / "captions_train2017.json").write_text(
        json.dumps({"info": {}, "images": images, "annotations": annotations})
    )


def make_karpathy(root: Path) -> None:
    write_images(root, ["a.png", "b.png"])
    images = [
        {"filename": f"{name}.png", "split": split, "cocoid": 5, "sentences": [{"raw": "One"}]}
        for name, split in (("a", "train"), ("b", "restval"))
    ]
    (root / "dataset_flickr8k.json").write_text(json.dumps({"images": images}))


def make_imagefolder(root: Path) -> None:
    write_images(root / "train", ["a.png", "b.png"])
    lines = [{"file_name": f"{name}.png", "text": "One"} for name in "ab"]
    (root / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))


def make_sidecars(root: Path) -> None:
    write_images(root, ["a.png", "b.png"])
    (root / "a.txt").write_text("One\nTwo")
    (root / "b.png.caption").write_text("Three")


def make_tar(root: Path, suffix: str = "tar", mode: str = "w") -> None:
    write_images(root / "in", ["a.png", "b.png"])
    (root / "in" / "a.txt").write_text("One")
    (root / "in" / "b.json").write_text('{"caption": ["Two", "Three"], "width": 3}')
    with tarfile.open(root / f"d.{suffix}", mode) as archive:  # type: ignore[call-overload]
        for path in sorted((root / "in").iterdir()):
            archive.add(path, path.name)
    shutil.rmtree(root / "in")


def make_tar_gz(root: Path) -> None:
    make_tar(root, "tar.gz", "w:gz")


def make_parquet(root: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_images(root, ["a.png"])
    content = {"bytes": (root / "a.png").read_bytes(), "path": "a.png"}
    (root / "a.png").unlink()
    table = pa.table({"image": [content, content], "caption": [["One"], ["Two", "Three"]]})
    pq.write_table(table, root / "train.parquet")


def make_zip(root: Path) -> None:
    write_images(root, ["1.png", "2.png"])
    with zipfile.ZipFile(root / "annotations.zip", "w") as archive:
        for number in (1, 2):
            value = {"uniqueID": number, "frameID": 3, "caption": "One"}
            archive.writestr(f"annotations/{number}.json", json.dumps(value))
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for number in (1, 2):
            archive.write(root / f"{number}.png", f"images/{number}.png")
            (root / f"{number}.png").unlink()


def make_flickr(root: Path) -> None:
    write_images(root / "Images", ["a.png", "b.png"])
    (root / "Flickr8k.token.txt").write_text("a.png#0\tOne\na.png#1\tTwo\nb.png#0\tThree\n")
    (root / "Flickr_8k.trainImages.txt").write_text("a.png\n")
    (root / "Flickr_8k.testImages.txt").write_text("b.png\n")


FORMATS: dict[str, Callable[[Path], None]] = {
    "csv": make_csv,
    "tsv": make_tsv,
    "jsonl": make_jsonl,
    "json": make_json,
    "coco": make_coco,
    "karpathy": make_karpathy,
    "imagefolder": make_imagefolder,
    "sidecars": make_sidecars,
    "tar": make_tar,
    "tar.gz": make_tar_gz,
    "parquet": make_parquet,
    "zip": make_zip,
    "flickr": make_flickr,
}


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return the bytes with a few changes: cuts, flips, repeats, and tokens that trip parsers."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        place = draw.randint(0, len(data))
        kind = draw.randrange(6)
        if kind == 0:
            data[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            data[place:place] = draw.choice(INSERTIONS)
        elif kind == 2:
            del data[place : place + draw.randint(1, 40)]
        elif kind == 3:
            del data[place:]
        elif kind == 4:
            begin = draw.randint(0, len(data))
            data[place:place] = data[begin : begin + draw.randint(1, 60)]
        else:
            data[place : place + 4] = draw.choice(
                (b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff" * 4, b"\0\0\0\x80")
            )
    return bytes(data)


@soak
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] if name == "parquet" else [])
        for name, make in FORMATS.items()
    ],
)
def test_damaged_data_sets_are_read_or_raise_captunes_errors(tmp_path, make):
    draw = random.Random(f"{SEED} {make.__name__}")
    whole = tmp_path / "whole"
    whole.mkdir()
    make(whole)
    assert load_records(whole).records
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    # Mostly metadata: damaged images have their own test.
    texts = [path for path in files if path.suffix != ".png"]
    for number in rounds(12, full=1500, share=len(FORMATS)):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        name = draw.choice(texts if draw.random() < 0.9 else files)
        (folder / name).write_bytes(mutate((folder / name).read_bytes(), draw))
        try:
            data = load_records(folder)
            # Decoding starts processes, and the tests of images cover it.
            check_data(replace(data, records=())).to_json()
        except CaptuneError as error:
            assert error.what
        shutil.rmtree(folder)

"""`captune.Captioner`: its inputs, images that fail, and the names it shares with transformers."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captune
from captune.errors import CaptioningError, DataError, ImageError
from captune.inference import ImageCaptioner
from support.models.tiny_models import build

FAST = {"num_beams": 1, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    build("vit-gpt2-tiny", spread=2.5).save(folder / "model")
    return folder


@pytest.fixture(scope="module")
def model(run_folder: Path) -> ImageCaptioner:
    # With `auto`, the first images are captioned before float16 weights pay: other last digits.
    return captune.load(run_folder / "model", device="cpu", precision="fp32")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "good.png")
    return tmp_path / "good.png"


@pytest.mark.slow
def test_captions_are_kept_when_other_images_fail(model: ImageCaptioner, photo: Path) -> None:
    (alone,) = model.caption(photo, **FAST)
    with pytest.raises(CaptioningError) as caught:
        model.caption([photo, "missing.jpg", b"<html>"], **FAST)
    error = caught.value
    assert error.predictions == [alone]
    assert {name: why.what for name, why in error.failures.items()} == {
        "missing.jpg": "missing",
        "2": "not_an_image",
    }
    assert error.what == "2 of 3 images have no caption: missing.jpg: missing; 2: not_an_image"
    assert "`predictions`" in error.fix


def test_many_failures_are_counted_and_a_few_are_named(model: ImageCaptioner) -> None:
    with pytest.raises(CaptioningError) as caught:
        model.caption([f"{number}.jpg" for number in range(7)], **FAST)
    assert caught.value.what.startswith("7 of 7 images have no caption: 0.jpg: missing; ")
    assert caught.value.what.endswith("4.jpg: missing; and 2 more")
    assert len(caught.value.failures) == 7


def test_the_error_can_be_sent_between_processes(model: ImageCaptioner, photo: Path) -> None:
    with pytest.raises(CaptioningError) as caught:
        model.caption([photo, "missing.jpg"], **FAST)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.predictions == caught.value.predictions
    assert list(copy.failures) == ["missing.jpg"]


def test_images_that_can_be_listed_only_once_are_captioned_too(
    model: ImageCaptioner, photo: Path
) -> None:
    photo.with_name("bad.png").write_bytes(b"<html>")
    with pytest.raises(CaptioningError) as caught:
        model.caption(photo.parent.glob("*.png"), **FAST)
    assert caught.value.what.startswith("1 of 2 images has no caption")
    assert [one.image_id for one in caught.value.predictions] == [str(photo)]


def test_one_image_that_fails_raises_its_own_error(model: ImageCaptioner) -> None:
    with pytest.raises(ImageError) as caught:
        model.caption("missing.jpg")
    assert caught.value.what == "missing"
    assert not isinstance(caught.value, CaptioningError)


def test_with_on_failure_no_error_is_raised(model: ImageCaptioner, photo: Path) -> None:
    seen: list[str] = []
    found = model.caption(
        [photo, "missing.jpg"], on_failure=lambda name, _: seen.append(name), **FAST
    )
    assert (len(found), seen) == (1, ["missing.jpg"])


def test_an_rgb_array_gets_the_caption_of_a_file_with_the_same_pixels(
    model: ImageCaptioner, photo: Path
) -> None:
    (from_file,) = model.caption(photo, **FAST)
    pixels = np.asarray(Image.open(photo))
    assert [p.caption for p in model.caption(pixels, **FAST)] == [from_file.caption]
    assert [p.image_id for p in model.caption([pixels, pixels], **FAST)] == ["0", "1"]
    assert len(model.caption(np.stack([pixels] * 3), **FAST)) == 3


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (40, 50, 4)])
def test_grey_and_rgba_arrays_get_the_captions_of_equal_pil_images(
    model: ImageCaptioner, shape: tuple[int, ...]
) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    image = Image.fromarray(array[..., 0] if shape[2:] == (1,) else array)
    assert model.caption(array, **FAST) == model.caption(image, **FAST)


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (np.zeros((3, 40, 50), np.uint8), r"uint8 \(3, 40, 50\)"),
        (np.zeros((40, 50, 3), np.float32), r"float32 \(40, 50, 3\)"),
        (np.zeros((0, 50, 3), np.uint8), r"uint8 \(0, 50, 3\)"),
        (np.zeros(7, np.uint8), r"uint8 \(7,\)"),
    ],
)
def test_other_arrays_are_refused_with_dtype_and_shape(
    model: ImageCaptioner, array: np.ndarray, shown: str
) -> None:
    with pytest.raises(DataError, match=rf"image 0 is an array of {shown}"):
        model.caption([array])


def test_the_error_for_an_object_that_is_not_an_image_names_its_type(model: ImageCaptioner) -> None:
    with pytest.raises(DataError, match="image 1 is of type int"):
        model.caption([np.zeros((9, 9), np.uint8), 5])
    with pytest.raises(DataError, match="image 0 is of type NoneType"):
        model.caption(None)


def test_a_misspelled_way_of_decoding_is_refused(model: ImageCaptioner, photo: Path) -> None:
    with pytest.raises(DataError, match="decode is 'isolate'") as caught:
        model.caption(photo, decode="isolate")  # type: ignore[arg-type]
    assert "'isolated'" in caught.value.fix


@pytest.mark.slow
def test_the_folder_of_a_run_loads_its_model(run_folder: Path, photo: Path) -> None:
    from_run = captune.load(run_folder, device="cpu").caption(photo, **FAST)
    assert from_run == captune.load(run_folder / "model", device="cpu").caption(photo, **FAST)


@pytest.mark.slow
def test_the_method_names_of_transformers_work_too(
    run_folder: Path, photo: Path, tmp_path: Path
) -> None:
    model = captune.Captioner.from_pretrained(run_folder, device="cpu", precision="fp32")
    assert model(photo, **FAST) == model.caption(photo, **FAST)
    model.save_pretrained(tmp_path / "copy")
    again = captune.load(tmp_path / "copy", device="cpu", precision="fp32")
    assert again.caption(photo, **FAST) == model.caption(photo, **FAST)
    assert model.model is model.captioner.model
    assert model.processor.tokenizer is model.captioner.tokenizer

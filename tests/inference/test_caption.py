"""Images in, captions out: order, broken images, batches, memory."""

from __future__ import annotations

import io
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

from captune.errors import DataError, ImageError, ModelError, RecipeError
from captune.inference import caption_images, decoding_config, load
from captune.inference.decoding.settings import DecodingOptions
from captune.models import Captioner
from captune.models.blip import BlipCaptioner
from captune.recipe import GenerateConfig

CONFIG = GenerateConfig(num_beams=2, max_new_tokens=8)


def _image(seed: int, size: tuple[int, int] = (70, 50)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _encoded(image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **settings)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(7):
        (tmp_path / f"{number}.png").write_bytes(_encoded(_image(number)))
    return tmp_path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, blip: tuple[Captioner, torch.Tensor]) -> Path:
    path = tmp_path_factory.mktemp("model")
    blip[0].save(path)
    return path


def test_the_device_gets_8_bit_pixels_and_computes_the_image_processors_values(
    blip, folder, monkeypatch
):
    captioner, _ = blip
    given = []
    stage_input = Captioner.stage_input

    def watch(self, inputs):
        given.append((inputs.pixel_values, stage_input(self, inputs)))
        return given[-1][1]

    monkeypatch.setattr(Captioner, "stage_input", watch)
    paths = sorted(folder.iterdir())
    list(caption_images(captioner, [(path.name, path) for path in paths], config=CONFIG))
    assert {levels.dtype for levels, _ in given} == {torch.uint8}
    expected = captioner.pixel_values([Image.open(path).convert("RGB") for path in paths])
    assert torch.equal(torch.cat([values for _, values in given]), expected)


@pytest.mark.slow
def test_captions_are_in_order_with_any_batch_size(blip, folder):
    captioner, _ = blip
    images = [(path.name, path) for path in sorted(folder.iterdir())]
    found = {
        size: list(caption_images(captioner, images, config=CONFIG, batch_size=size))
        for size in (1, 3, 50)
    }
    assert [p.image_id for p in found[1]] == [f"{n}.png" for n in range(7)]
    for size in (3, 50):
        assert [(p.image_id, p.caption) for p in found[size]] == [
            (p.image_id, p.caption) for p in found[1]
        ]
    assert len({p.caption for p in found[1]}) > 1


def test_broken_images_are_reported_in_order_and_skipped(blip, folder):
    captioner, _ = blip
    (folder / "2.png").write_bytes(b"")
    (folder / "5.png").write_bytes((folder / "4.png").read_bytes()[:3000])
    reported = []
    images = [(path.name, path) for path in sorted(folder.iterdir())]
    images.append(("gone", folder / "gone.png"))
    predictions = list(
        caption_images(
            captioner,
            images,
            config=CONFIG,
            batch_size=2,
            on_failure=lambda image_id, error: reported.append((image_id, error.what)),
        )
    )
    assert reported == [("2.png", "empty"), ("5.png", "truncated"), ("gone", "missing")]
    assert [p.image_id for p in predictions] == ["0.png", "1.png", "3.png", "4.png", "6.png"]


def test_without_on_failure_a_broken_image_is_an_error(blip):
    with pytest.raises(ImageError, match="not_an_image"):
        list(caption_images(blip[0], [("page", b"<html>404</html>")], config=CONFIG))


def test_path_bytes_and_pil_image_give_the_same_caption(blip, tmp_path):
    image = _image(3)
    path = tmp_path / "a.png"
    path.write_bytes(_encoded(image))
    images = [
        ("path", path),
        ("bytes", path.read_bytes()),
        ("pil", image),
        ("lazy", Image.open(path)),
    ]
    captions = {p.caption for p in caption_images(blip[0], images, config=CONFIG)}
    assert len(captions) == 1


def test_a_rotated_photo_gets_the_caption_of_the_upright_one(blip):
    upright = _image(4, (64, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = _encoded(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    images = [("a", upright), ("b", rotated), ("c", Image.open(io.BytesIO(rotated)))]
    assert len({p.caption for p in caption_images(blip[0], images, config=CONFIG)}) == 1


def test_a_broken_pil_image_is_reported_like_a_broken_file(blip):
    whole = _encoded(_image(5))
    reported = []
    cut = Image.open(io.BytesIO(whole[:2000]))
    predictions = list(
        caption_images(
            blip[0],
            [("cut", cut)],
            config=CONFIG,
            on_failure=lambda *failure: reported.append(failure),
        )
    )
    assert predictions == []
    assert [(image_id, error.what) for image_id, error in reported] == [("cut", "corrupt")]


def test_images_are_read_only_slightly_ahead(blip):
    read = []

    def images():
        for number in range(100):
            read.append(number)
            yield str(number), _image(number)

    predictions = caption_images(blip[0], images(), config=CONFIG, batch_size=2)
    next(predictions)
    predictions.close()
    assert len(read) <= 10


class SmallMemory(BlipCaptioner):
    """A model on a machine whose memory holds only a few images at once."""

    def encode(self, pixel_values: torch.Tensor) -> torch.Tensor:
        if len(pixel_values) > self.most:
            raise self.error
        return super().encode(pixel_values)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.8 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["class", "mps", "cpu"],
)
def test_a_batch_that_does_not_fit_is_halved_with_a_warning(blip, folder, error):
    captioner, _ = blip
    small = SmallMemory(captioner.model, captioner.tokenizer, captioner.image_processor)
    small.error = error
    small.most = 2
    images = [(path.name, path) for path in sorted(folder.iterdir())]
    expected = [(p.image_id, p.caption) for p in caption_images(captioner, images, config=CONFIG)]
    with pytest.warns(UserWarning) as caught:
        found = [(p.image_id, p.caption) for p in caption_images(small, images, config=CONFIG)]
    assert found == expected
    text = "images do not fit in the memory of cpu at once: continuing with"
    assert [str(warning.message) for warning in caught] == [f"7 {text} 3", f"3 {text} 1"]
    small.most = 0
    with pytest.warns(UserWarning), pytest.raises(ModelError, match="one image does not fit"):
        list(caption_images(small, images, config=CONFIG))


def test_an_error_that_is_not_about_memory_is_raised(blip, folder):
    captioner, _ = blip
    small = SmallMemory(captioner.model, captioner.tokenizer, captioner.image_processor)
    small.most, small.error = 0, RuntimeError("device-side assert triggered")
    with pytest.raises(RuntimeError, match="device-side assert"):
        list(caption_images(small, [("a", folder / "0.png")], config=CONFIG))


def test_load_captions_one_image_or_a_list(saved, folder):
    model = load(saved, device="cpu")
    path = folder / "0.png"
    one = model.caption(path, num_beams=2)
    assert [p.image_id for p in one] == [str(path)]
    several = model.caption([str(path), path.read_bytes(), _image(0)], num_beams=2)
    assert [p.image_id for p in several] == [str(path), "1", "2"]
    assert {p.caption for p in several} == {one[0].caption}
    assert model.caption([]) == []


def test_a_model_loaded_in_fp32_captions_as_plain_transformers_does(saved, folder):
    from transformers import BlipForConditionalGeneration, BlipProcessor

    plain = BlipForConditionalGeneration.from_pretrained(saved)
    processor = BlipProcessor.from_pretrained(saved, backend="pil")
    ours = load(saved, device="cpu", precision="fp32").caption(
        [folder / f"{n}.png" for n in range(5)], num_beams=3, max_new_tokens=12
    )
    for number, prediction in enumerate(ours):
        pixels = processor(images=_image(number), return_tensors="pt").pixel_values
        output = plain.generate(pixel_values=pixels, num_beams=3, max_new_tokens=12)
        assert prediction.caption == processor.decode(output[0], skip_special_tokens=True).strip()


def test_unusable_images_are_explained(saved, tmp_path):
    model = load(saved, device="cpu")
    with pytest.raises(DataError, match="is a folder"):
        model.caption(tmp_path)
    with pytest.raises(DataError, match="is a URL"):
        model.caption("https://example.org/a.jpg")
    with pytest.raises(ImageError, match="missing"):
        model.caption("no-such.jpg")


def test_all_wrong_settings_are_named_together(saved):
    model = load(saved, device="cpu")
    with pytest.raises(
        RecipeError, match=r"unknown setting 'num_beam' \(did you mean 'num_beams'\?\)"
    ):
        model.caption(_image(0), num_beam=3)
    with pytest.raises(RecipeError, match=r"num_beams: .* 1, not 0; top_p: .* 1, not 2"):
        decoding_config({"num_beams": 0, "top_p": 2})
    with pytest.raises(RecipeError, match="do_sample needs num_beams: 1"):
        decoding_config({"do_sample": True, "num_beams": 3})


def test_sampling_without_num_beams_uses_one_beam():
    assert decoding_config({"do_sample": True}).num_beams == 1
    assert decoding_config({}) == GenerateConfig()


def test_the_options_are_the_fields_of_the_config():
    types = {name: field.annotation for name, field in GenerateConfig.model_fields.items()}
    assert get_type_hints(DecodingOptions) == types


def test_a_folder_without_weights_and_an_absent_device_are_refused(saved, tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load(tmp_path)
    with pytest.raises(RecipeError, match="device 'abacus' is not available here"):
        load(saved, device="abacus")

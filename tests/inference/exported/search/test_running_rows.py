"""Images that join, leave and follow each other in the rows of an exported model."""

from __future__ import annotations

import pytest

from captune.inference import decoding_config
from captune.inference.exported.runtime import ExportedPass
from captune.records import Prediction
from support.models.exported_batches import assert_same, exported_batches
from support.models.wild_models import noise_images, wild_captioner

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> ExportedPass:
    """Exporting takes longer than all captions of these tests."""
    folder = tmp_path_factory.mktemp("exported")
    return exported_batches(wild_captioner("blip-tiny"), "onnx", folder)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_images_of_an_exported_batch_that_are_stopped_change_no_other_caption(
    num_beams: int, batches: ExportedPass
) -> None:
    batch = [(str(number), image) for number, image in enumerate(noise_images(6).numpy())]
    config = decoding_config({"max_new_tokens": 10, "min_new_tokens": 4, "num_beams": num_beams})
    running = batches.run(config)
    found = dict(running.add(batch[:4]) + running.step())
    for number in (0, 2):
        running.drop(number)
    found.update(running.add(batch[4:]))
    while len(found) < 4:
        found.update(running.step())
    expected = [one for (one,) in batches.caption(batch, [config])]
    kept = sorted(found)
    assert kept == [1, 3, 4, 5]
    assert_same([found[n] for n in kept], [expected[n] for n in kept], str(num_beams))


@pytest.mark.parametrize("num_beams", [1, 3])
def test_many_images_pass_through_an_exported_batch_whose_memory_is_reused(
    num_beams: int, batches: ExportedPass
) -> None:
    images = [image for image in noise_images().numpy() for _ in range(5)]
    batch = [(str(number), image) for number, image in enumerate(images)]
    config = decoding_config({"max_new_tokens": 10, "num_beams": num_beams})
    running = batches.run(config)
    found, started, places = dict[int, Prediction](), 0, list[int]()
    while len(found) < len(batch):
        room = 4 - (started - len(found))
        if room and started < len(batch):
            found.update(running.add(batch[started : started + room]))
            started = min(started + room, len(batch))
        elif started > len(found):
            found.update(running.step())
            tree = running.rows._tree
            places.append(0 if tree is None else tree._used)
    expected = [one for (one,) in batches.caption(batch, [config])]
    assert_same([found[number] for number in range(len(batch))], expected, str(num_beams))
    # Without reuse, the places of all steps would be kept.
    assert max(places) < 0.5 * num_beams * len(places)

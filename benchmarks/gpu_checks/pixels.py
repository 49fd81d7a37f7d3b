"""Check pixels and cached features on their way to the device and back.

The device normalises 8-bit pixels to the CPU's last bit; copies go through pinned memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from captune.models import ImageTransform
from captune.training.batches.features import FeatureCache, to_host
from captune.training.batches.feeding import Feed, tokenize_records
from gpu_checks.setting import Line, Setting, make_captioner, make_recipe, make_records, verdict


def check_pixels(setting: Setting) -> Iterator[Line]:
    yield check_normalising(setting)
    if setting.device.type not in ("cuda", "xpu"):
        for name in ("pixels.pinned", "features.pinned"):
            yield Line(name, "SKIP", f"{setting.device.type} has no pinned memory")
        return
    yield check_pinned(setting)
    yield check_features(setting)


def check_normalising(setting: Setting) -> Line:
    transform = make_captioner("blip-tiny").image_transform()
    if not isinstance(transform, ImageTransform):
        return Line("pixels.normalising", "FAIL", "the transform is of another kind")
    levels = torch.arange(256, dtype=torch.uint8).expand(1, 3, 1, 256)
    expected = transform.normalise(levels)
    found = transform.normalise(levels.to(setting.device)).cpu()
    differing = int((found != expected).sum())
    return Line(
        "pixels.normalising", verdict(differing == 0), f"{differing} of 768 values differ in a bit"
    )


def check_pinned(setting: Setting) -> Line:
    """Read a batch in a worker process, and copy it while the CPU continues."""
    recipe = make_recipe(
        setting, size="blip-tiny", micro_batch_size=4, global_batch_size=8, epochs=1
    )
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"num_workers": 1})})
    captioner = make_captioner("blip-tiny")
    records = make_records(8)
    data = tokenize_records(captioner, records, recipe=recipe)
    feed = Feed(captioner, data, recipe, ("original",), pin_memory=True)
    whole = feed.reader().read([(index, 0) for index in range(4)])
    batch = next(iter(feed.single_batches([(0, 1, 2, 3)])))
    if batch is None or batch.vision_inputs is None or whole.inputs is None:
        return Line("pixels.pinned", "FAIL", "no image could be read")
    pinned = batch.vision_inputs.pixel_values.is_pinned()
    copied = batch.to(setting.device).vision_inputs
    same = copied is not None and torch.equal(copied.pixel_values.cpu(), whole.inputs.pixel_values)
    both = f"pinned: {pinned}; equal after the copy: {same}"
    return Line("pixels.pinned", verdict(pinned and same), both)


def check_features(setting: Setting) -> Line:
    """Copy features from the device into a cache, and rows of it back from pinned memory."""
    batches = [torch.full((2, 3, 4), float(number), device=setting.device) for number in range(5)]
    array = np.concatenate(list(to_host(iter(batches))))
    rows = FeatureCache(array, num_views=2).rows([4, 1], [1, 0], pin_memory=True)
    back = rows.to(setting.device, non_blocking=True).cpu()
    good = rows.is_pinned() and rows.dtype == torch.float16
    equal = bool((back[0] == 4.0).all() and (back[1] == 1.0).all())
    both = f"pinned in float16: {good}; equal after both copies: {equal}"
    return Line("features.pinned", verdict(good and equal), both)

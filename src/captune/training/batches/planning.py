"""The plan of an epoch, from images to micro batches: a pure function of seed and epoch.

Rows of similar length are batched together, so there is little padding. A resumed run continues
without decoding the images that it has already used.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from captune.recipe import View

_POOL_STEPS = 16
_CROP_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The images of one optimizer step.

    Attributes:
        epoch: Epoch, from 0.
        micro_batches: Indices of images, one tuple per forward pass.
    """

    epoch: int
    micro_batches: tuple[tuple[int, ...], ...]

    @property
    def num_images(self) -> int:
        """Number of images in the step."""
        return sum(len(micro) for micro in self.micro_batches)


def plan_epoch(
    row_lengths: Sequence[int],
    epoch: int,
    *,
    seed: int,
    micro_batch_size: int,
    global_batch_size: int,
) -> list[StepPlan]:
    """Return the steps of one epoch: every image once, in a new order each epoch.

    Pools of shuffled images are sorted by row length and cut into micro batches, which are then
    shuffled, so that an optimizer step mixes lengths although a forward pass does not.

    Args:
        row_lengths: Number of tokens of each image's packed row.
        epoch: Epoch, from 0; each has its own order.
        seed: Seed of the recipe.
        micro_batch_size: Images per forward pass.
        global_batch_size: Images per optimizer step, a multiple of `micro_batch_size`.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(row_lengths))
    lengths = np.asarray(row_lengths)
    per_step = global_batch_size // micro_batch_size
    pool = global_batch_size * _POOL_STEPS
    whole: list[tuple[int, ...]] = []
    rest: list[int] = []
    for start in range(0, len(order), pool):
        members = order[start : start + pool]
        members = members[np.argsort(lengths[members], kind="stable")]
        cut = len(members) - len(members) % micro_batch_size
        # The remainder is drawn from all lengths, so that long rows are not always last.
        leftover = rng.choice(len(members), len(members) - cut, replace=False)
        rest.extend(int(i) for i in members[np.sort(leftover)])
        members = np.delete(members, leftover)
        micros = [
            tuple(int(i) for i in members[at : at + micro_batch_size])
            for at in range(0, cut, micro_batch_size)
        ]
        whole.extend(micros[i] for i in rng.permutation(len(micros)))
    whole.extend(
        tuple(rest[at : at + micro_batch_size]) for at in range(0, len(rest), micro_batch_size)
    )
    return [
        StepPlan(epoch, tuple(whole[at : at + per_step])) for at in range(0, len(whole), per_step)
    ]


def find_largest_step(plans: Sequence[StepPlan], row_lengths: Sequence[int]) -> StepPlan:
    """Return the step with the micro batch that needs the most memory."""
    return max(plans, key=lambda plan: max(_sizes(plan, row_lengths)))


def find_largest_micro_batch(plan: StepPlan, row_lengths: Sequence[int]) -> StepPlan:
    """Return a step of one micro batch: that with the most images, then with the longest row."""
    sizes = _sizes(plan, row_lengths)
    return StepPlan(plan.epoch, (plan.micro_batches[sizes.index(max(sizes))],))


def _sizes(plan: StepPlan, row_lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Return the number of images and the longest row of each micro batch."""
    return [(len(m), max(row_lengths[index] for index in m)) for m in plan.micro_batches]


def count_shares(num_images: int, num_processes: int) -> list[int]:
    """Return the number of images of each process in a shared step; they differ by at most one."""
    each, rest = divmod(num_images, num_processes)
    return [each + (rank < rest) for rank in range(num_processes)]


def take_share(
    plan: StepPlan,
    row_lengths: Sequence[int],
    *,
    rank: int,
    num_processes: int,
    micro_batch_size: int,
) -> StepPlan:
    """Return the share of a step on which one of several processes trains.

    The step's images are dealt out in order of length, so that the processes' numbers of images
    differ by at most one and their lengths are similar.

    Args:
        plan: The whole step; returned unchanged for one process.
        row_lengths: Number of tokens of each image's packed row, for the whole data set.
        rank: Number of the process, from 0.
        num_processes: Number of processes that share the step.
        micro_batch_size: Maximum number of images per forward pass.
    """
    if num_processes == 1:
        return plan
    images = [index for micro in plan.micro_batches for index in micro]
    images.sort(key=lambda index: (row_lengths[index], index))
    own = images[rank::num_processes]
    micros = (own[at : at + micro_batch_size] for at in range(0, len(own), micro_batch_size))
    return StepPlan(plan.epoch, tuple(map(tuple, micros)))


def choose_view(views: Sequence[View], index: int, *, seed: int, epoch: int) -> int:
    """Return the index in `views` of an image's view in an epoch.

    Args:
        views: Views to draw from.
        index: Index of the image in the data set.
        seed: Seed of the recipe.
        epoch: Epoch, from 0.
    """
    if len(views) == 1:
        return 0
    return int(np.random.default_rng([seed, epoch, index, 1]).integers(len(views)))


def choose_captions(
    num_captions: int, index: int, *, max_captions: int | None, key: tuple[int, int]
) -> list[int]:
    """Return the ascending indices of the captions of an image used in an epoch.

    Args:
        num_captions: Number of captions of the image.
        index: Index of the image in the data set.
        max_captions: Maximum number of captions to draw; `None`: all.
        key: Seed of the recipe, and epoch.
    """
    if max_captions is None or num_captions <= max_captions:
        return list(range(num_captions))
    rng = np.random.default_rng([*key, index, 2])
    return sorted(int(i) for i in rng.choice(num_captions, max_captions, replace=False))


def before_views(smallest: tuple[int, int], views: Sequence[View]) -> tuple[int, int]:
    """Return the width and height of an image whose views all have at least the size `smallest`."""
    if not any("crop" in view for view in views):
        return smallest
    width, height = (math.ceil(side / _CROP_SHARE) + 1 for side in smallest)
    return width, height


def apply_view(image: Image.Image, view: View, *, key: str) -> Image.Image:
    """Return a training view of an RGB image.

    Args:
        image: RGB.
        view: `original`, `flip` (left-right), `crop` (80 % of each side) or `flip_crop`.
        key: Determines the position of the crop; the same key gives the same crop.
    """
    if view == "original":
        return image
    if view in ("flip", "flip_crop"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if view == "flip":
        return image
    width, height = image.size
    kept = max(1, round(width * _CROP_SHARE)), max(1, round(height * _CROP_SHARE))
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    left = int(rng.integers(width - kept[0] + 1))
    top = int(rng.integers(height - kept[1] + 1))
    return image.crop((left, top, left + kept[0], top + kept[1]))

"""Decoded images that wait for the model: which are taken together, and in which order."""

from __future__ import annotations

import dataclasses
import threading
import time

from captune.recipe import GenerateConfig
from captune.serving.engine.batch_size import BatchSize
from captune.serving.engine.ready import ReadyImage, ReadyImages

_ONE = (GenerateConfig(num_beams=1),)
_OTHER = (GenerateConfig(num_beams=2),)


def _image(job: int, configs=_ONE) -> ReadyImage:
    return ReadyImage(job, str(job), None, configs, 0.0)


def _jobs(batch) -> list[int]:
    return [image.job for image in batch]


def test_images_with_equal_settings_are_batched_together_the_oldest_first():
    ready = ReadyImages()
    for job in range(6):
        ready.put(job, _image(job, _ONE if job % 2 else _OTHER))
    assert _jobs(ready.take(16)) == [0, 2, 4]
    assert _jobs(ready.take(2)) == [1, 3]
    assert _jobs(ready.take(2)) == [5]


def test_a_batch_is_small_if_its_settings_need_much_memory():
    ready = ReadyImages()
    large = (GenerateConfig(num_beams=16, max_new_tokens=512),)
    for job in range(4):
        ready.put(job, _image(job, large))
    assert _jobs(ready.take(16)) == [0, 1]
    huge = (GenerateConfig(num_beams=64, max_new_tokens=4096),)
    alone = ReadyImages()
    alone.put(0, _image(0, huge))
    assert _jobs(alone.take(16)) == [0]


def test_an_image_with_rare_settings_is_next_when_it_is_the_oldest():
    ready = ReadyImages()
    ready.put(0, _image(0))
    ready.put(1, _image(1, _OTHER))
    for job in range(2, 40):
        ready.put(job, _image(job))
    assert _jobs(ready.take(4)) == [0, 2, 3, 4]
    assert _jobs(ready.take(4)) == [1]


def test_an_image_that_is_cancelled_while_others_are_decoded_does_not_end_the_model():
    """An empty batch would end the model's process."""
    ready = ReadyImages()
    ready.announce(1)
    ready.announce(2)
    ready.put(1, _image(1))
    taken: list[list[int]] = []
    thread = threading.Thread(target=lambda: taken.append(_jobs(ready.take(16))))
    thread.start()
    time.sleep(0.005)
    ready.cancel(1)
    time.sleep(0.1)
    ready.put(2, _image(2))
    thread.join(5)
    assert taken == [[2]]


def test_a_cancelled_image_is_neither_decoded_nor_batched():
    ready = ReadyImages()
    for job in (1, 2, 3):
        ready.announce(job)
    ready.cancel(2)
    assert [ready.is_wanted(job) for job in (1, 2, 3)] == [True, False, True]
    for job in (1, 2, 3):
        ready.put(job, _image(job))
    ready.cancel(3)
    assert _jobs(ready.take(16)) == [1]


def test_images_that_are_being_decoded_are_waited_for_only_briefly():
    ready = ReadyImages()
    ready.announce(1)
    ready.announce(2)
    ready.put(1, _image(1))
    began = time.monotonic()
    assert _jobs(ready.take(16)) == [1]
    assert time.monotonic() - began < 5


def test_batches_shrink_when_the_memory_is_too_small_and_grow_again_slowly():
    size = BatchSize(16)
    size.note_failure(16)
    assert size.most == 8
    size.note_failure(3)
    assert size.most == 1
    for _ in range(50):
        size.note_success(1)
    assert size.most == 2
    for _ in range(1000):
        size.note_success(1)
    assert size.most == 2
    size.note_failure(1)
    assert size.most == 1
    for _ in range(5000):
        size.note_success(size.most)
    assert size.most == 16


def test_a_suspect_is_alone_in_its_batch():
    ready = ReadyImages()
    for job in range(4):
        image = _image(job)
        ready.put(job, dataclasses.replace(image, is_alone=job in (1, 2)))
    assert [_jobs(ready.take(16)) for _ in range(3)] == [[0, 3], [1], [2]]

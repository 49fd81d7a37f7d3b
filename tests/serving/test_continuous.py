"""A batch that images join while it runs, with a model that the test simulates."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from captune.models import train_tokenizer
from captune.recipe import GenerateConfig, TokenizerConfig
from captune.records import Prediction
from captune.serving.engine.batch_size import BatchSize
from captune.serving.engine.continuous import ContinuousBatch, settled_words
from captune.serving.engine.messages import (
    BatchDone,
    Captioned,
    Dropped,
    Started,
    StillRunning,
    WordsSoFar,
)
from captune.serving.engine.pace import Pace
from captune.serving.engine.ready import ReadyImage, ReadyImages

_GREEDY = (GenerateConfig(num_beams=1),)
_OTHER = (GenerateConfig(num_beams=1, prompt="rare"),)


@dataclass
class ScriptedModel:
    """A model whose captions have as many words as the inputs say; things happen at given steps."""

    at_step: dict[int, Any] = field(default_factory=dict)
    next_number: int = 0
    may_add: bool = True
    steps: int = 0
    sizes: list[int] = field(default_factory=list)
    running: dict[int, list[int]] = field(default_factory=dict)

    def add(self, batch):
        numbers = range(self.next_number, self.next_number + len(batch))
        self.next_number += len(batch)
        for number, (_, words) in zip(numbers, batch, strict=True):
            if words == 0:
                raise ValueError("a poisoned image")
            self.running[number] = [1, words]
        return self._end()

    def step(self):
        self.steps += 1
        self.sizes.append(len(self.running))
        if self.steps in self.at_step:
            self.at_step[self.steps]()
        for one in self.running.values():
            one[0] += 1
        return self._end()

    def drop(self, number):
        del self.running[number]

    def text_so_far(self, number):
        return " ".join(f"w{n}" for n in range(self.running[number][0]))

    def _end(self):
        ended = [number for number, (done, words) in self.running.items() if done == words]
        return [(number, _prediction(self.running.pop(number)[1])) for number in ended]


@dataclass
class Sent:
    """A link that keeps what is sent."""

    messages: list[Any] = field(default_factory=list)

    def send(self, message: object) -> None:
        self.messages.append(message)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]


def _prediction(words: int) -> Prediction:
    return Prediction("0", " ".join(f"w{n}" for n in range(words)), -0.5, words, "eos")


def _image(job: int, words: int, configs=_GREEDY, **settings) -> ReadyImage:
    # It has been ready for long.
    return ReadyImage(job, "0", words, configs, 0.01, **{"since": 0.0, **settings})


class Rig:
    """A batch of at most eight images, and the images that arrive at given steps."""

    def __init__(
        self, arrivals: dict[int, list[ReadyImage]], *, most: int = 8, join_after: float = 0.0
    ) -> None:
        self.ready, self.link, self.size = ReadyImages(), Sent(), BatchSize(most)
        self.pace = Pace(join_after=join_after)
        steps = {step: lambda them=images: self.put(them) for step, images in arrivals.items()}
        self.model = ScriptedModel(steps)

    def put(self, images: list[ReadyImage]) -> None:
        for image in images:
            self.ready.put(image.job, image)

    def run(self, *batch: ReadyImage) -> list[int]:
        flow = ContinuousBatch(
            self.model, ready=self.ready, size=self.size, pace=self.pace, link=self.link
        )
        return [image.job for image in flow.run(batch)]

    @property
    def order(self) -> list[int]:
        return [message.job for message in self.link.of(Captioned)]

    @property
    def joined(self) -> list[tuple[int, ...]]:
        return [message.jobs for message in self.link.of(Started)]


def test_an_image_that_arrives_later_joins_and_does_not_wait_for_a_longer_caption():
    rig = Rig({2: [_image(2, words=3)]})
    assert rig.run(_image(1, words=20)) == []
    assert rig.joined == [(2,)]
    assert rig.order == [2, 1]
    captions = [message.predictions[0].num_tokens for message in rig.link.of(Captioned)]
    assert captions == [3, 20]


def test_a_few_images_wait_a_moment_for_others():
    ready, running = ReadyImages(), _image(0, 5)
    ready.put(1, _image(1, 5, since=time.monotonic() + 60))
    assert ready.join(running, room=8, most=2) == []
    ready.put(2, _image(2, 5, since=time.monotonic() + 60))
    assert [image.job for image in ready.join(running, room=8, most=2)] == [1, 2]
    ready.put(3, _image(3, 5))
    assert [image.job for image in ready.join(running, room=8, most=2)] == [3]


def test_nothing_joins_while_images_stay_in_the_model_only_briefly():
    rig = Rig({2: [_image(2, words=3)]}, join_after=60.0)
    assert rig.run(_image(1, words=20)) == []
    assert (rig.joined, rig.order) == ([], [1])
    assert [image.job for image in rig.ready.take(8)] == [2]


def test_images_join_once_those_before_them_were_in_the_model_for_long():
    pace = Pace(join_after=1.0)
    assert not pace.is_slow(0.9)
    assert pace.is_slow(1.0)
    pace.note(3.0)
    assert pace.is_slow(0.0)
    for _ in range(30):
        pace.note(0.1)
    # Mean: 0.1 + 2.9 * 0.9 ** 30 = 0.22.
    assert not pace.is_slow(0.0)


def test_a_batch_that_runs_for_long_reports_once_per_second(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: 0.25 * next(clock))
    rig = Rig({})
    rig.run(_image(1, words=41))
    # Each of the 40 steps looks at the clock twice.
    assert len(rig.link.of(StillRunning)) == 20


def test_half_of_the_batch_joins_at_once_and_never_more_than_have_room():
    rig = Rig({1: [_image(n, words=9) for n in range(10, 30)]})
    assert rig.run(*(_image(n, words=9) for n in range(3))) == []
    assert sorted(rig.order) == [0, 1, 2, *range(10, 30)]
    assert max(rig.model.sizes) == 8
    # Five places are free: a group of four joins, and the last place waits for others.
    assert rig.joined[:2] == [(10, 11, 12, 13), (14, 15, 16, 17)]
    assert all(len(jobs) == 4 for jobs in rig.joined)


def test_an_older_image_with_other_settings_ends_the_batch():
    rare = _image(2, words=2, configs=_OTHER)
    rig = Rig({1: [rare, _image(3, words=2)]})
    assert rig.run(_image(1, words=5)) == []
    assert (rig.joined, rig.order) == ([], [1])
    assert [image.job for image in rig.ready.take(8)] == [2]


def test_an_image_that_must_be_alone_neither_joins_nor_is_overtaken():
    rig = Rig({1: [_image(2, words=2, is_alone=True), _image(3, words=2)]})
    assert rig.run(_image(1, words=5)) == []
    assert (rig.joined, rig.order) == ([], [1])
    assert [image.job for image in rig.ready.take(8)] == [2]


def test_nothing_joins_a_model_that_takes_no_images_while_it_runs():
    rig = Rig({1: [_image(2, words=2)]})
    rig.model.may_add = False
    assert rig.run(_image(1, words=5)) == []
    assert (rig.joined, rig.order) == ([], [1])


def test_after_a_failure_the_images_that_have_no_caption_are_returned():
    rig = Rig({2: [_image(3, words=0)]})
    assert rig.run(_image(1, words=2), _image(2, words=9)) == [2, 3]
    assert rig.order == [1]


def test_images_that_do_not_fit_in_memory_make_the_batch_smaller():
    def fail() -> None:
        raise MemoryError("can't allocate memory")

    rig = Rig({})
    rig.model.at_step = {2: fail}
    assert rig.run(*(_image(n, words=5) for n in range(6))) == list(range(6))
    assert rig.size.most == 3


def test_an_image_whose_client_left_leaves_the_model_and_makes_room():
    rig = Rig({3: [_image(3, words=2)]}, most=2)
    rig.model.at_step |= {2: lambda: rig.ready.cancel(1)}
    assert rig.run(_image(1, words=50), _image(2, words=9)) == []
    assert rig.order == [3, 2]
    assert rig.link.of(Dropped) == [Dropped(1)]
    assert rig.model.steps == 8


def test_a_batch_ends_when_all_clients_have_left():
    rig = Rig({})
    rig.model.at_step = {2: lambda: [rig.ready.cancel(job) for job in (1, 2, 77)]}
    assert rig.run(_image(1, words=50), _image(2, words=50)) == []
    assert (rig.order, rig.model.steps, rig.model.running) == ([], 2, {})
    assert [dropped.job for dropped in rig.link.of(Dropped)] == [1, 2]


def test_the_time_of_each_full_batch_is_reported_while_images_keep_joining():
    arrivals = {step: [_image(10 * step, words=2)] for step in range(1, 21)}
    rig = Rig(arrivals, most=4)
    assert rig.run(_image(1, words=30)) == []
    assert [done.size for done in rig.link.of(BatchDone)] == [4, 4, 4, 4, 4, 1]
    assert all(done.seconds >= 0 for done in rig.link.of(BatchDone))


def test_words_are_sent_as_they_are_decoded_to_those_who_ask_for_them():
    rig = Rig({})
    rig.run(_image(1, words=4, is_streamed=True), _image(2, words=4))
    assert rig.link.of(WordsSoFar) == [WordsSoFar(1, "w0"), WordsSoFar(1, "w0 w1")]


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("", ""),
        ("a", ""),
        ("a do", "a"),
        ("a dog .", "a dog"),
        ("don ' t", "don '"),
        ("\u4e00\u53ea\u72d7", "\u4e00\u53ea"),
        ("\u4e00\u53ea\ufffd", "\u4e00"),
        ("\u4e00 dog", "\u4e00"),
        ("\u0e2b\u0e21\u0e32", ""),
    ],
)
def test_all_words_but_the_last_are_settled(text, settled):
    assert settled_words(text) == settled


@pytest.mark.parametrize("kind", ["word", "bpe"])
@pytest.mark.parametrize("cleans_up", [True, False])
def test_settled_words_are_the_beginning_of_every_caption_that_may_follow(kind, cleans_up):
    texts = [
        "the dog's owner doesn't run, he walks .",
        "two cats ' toys , they 've been there ! i 'm",
        "\u4e00\u53ea\u72d7 on a beach caf\u00e9 \U0001f600 ...",
    ]
    config = TokenizerConfig(kind=kind, min_count=1, vocab_size=300)
    tokenizer = train_tokenizer(texts, config)
    tokenizer.clean_up_tokenization_spaces = cleans_up
    random = np.random.default_rng(1)
    rows = [tokenizer(text)["input_ids"] for text in texts]
    rows += random.integers(0, len(tokenizer), (200, 12)).tolist()
    for row in rows:
        parts = [
            tokenizer.decode(row[:end], skip_special_tokens=True).strip()
            for end in range(1, len(row) + 1)
        ]
        for earlier in range(len(parts)):
            settled = settled_words(parts[earlier])
            assert all(later.startswith(settled) for later in parts[earlier:]), (row, parts)

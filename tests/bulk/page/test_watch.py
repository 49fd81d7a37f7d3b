"""Data for the run page: fair samples, exact counts of few texts, and constant memory."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter

import pytest

from captune.bulk.items import Item
from captune.bulk.page import RunWatch
from captune.bulk.page.frequent import FrequentTexts
from captune.bulk.page.watch import MAX_LENGTH, NUM_FAILURES, NUM_SAMPLES, NUM_SUSPICIOUS
from captune.errors import ImageError
from captune.inference import ImageFile
from captune.records import Prediction
from support.soak import count, soak


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def add(
    watch: RunWatch, name: str, caption: str, *, logprob: float = -0.5, flags: tuple[str, ...] = ()
) -> None:
    item = Item(name, ImageFile(name))
    watch.add(item, Prediction(name, caption, logprob, 5, "eos", flags))


def test_lengths_are_counted_in_words_and_long_captions_share_the_last_bar() -> None:
    watch = RunWatch()
    for caption in ("a dog", "a  cat", "one", "w " * 99):
        add(watch, caption, caption)
    assert (watch.lengths[1], watch.lengths[2], watch.lengths[MAX_LENGTH]) == (1, 2, 1)


def test_samples_are_drawn_with_the_same_chance() -> None:
    drawn: Counter[int] = Counter()
    for seed in range(400):
        watch = RunWatch(seed=seed)
        for number in range(96):
            add(watch, str(number), "a dog")
        drawn.update(int(shown.name) // 24 for shown in watch.samples)
    # 400 * 24 draws over 4 quarters: 2,400 each, with a standard deviation of about 37.
    assert all(2_200 < drawn[quarter] < 2_600 for quarter in range(4))


def test_speed_is_measured_between_marks_and_idle_time_counts() -> None:
    clock = Clock()
    watch = RunWatch(clock=clock)
    for seconds in (1, 2, 10):
        clock.now = seconds
        add(watch, str(seconds), "a dog")
    assert watch.throughput() == [(1, 2.0), (9, 0.125)]


def test_the_time_before_the_first_caption_counts_from_the_loaded_model() -> None:
    clock = Clock()
    watch = RunWatch(clock=clock)
    clock.now = 5
    watch.start()
    clock.now = 9
    add(watch, "a", "a dog")
    assert watch.seconds() == 4
    watch.start()
    assert watch.seconds() == 4
    watch.stop()
    clock.now = 20
    assert watch.seconds() == 4


def test_a_batch_that_arrives_at_once_is_not_shown_as_a_burst_of_speed() -> None:
    clock = Clock()
    watch = RunWatch(clock=clock)
    for number in range(200):
        clock.now = number // 20
        add(watch, str(number), "a dog")
    assert all(rate <= 40 for _, rate in watch.throughput())


def test_a_long_run_keeps_few_marks_that_add_up() -> None:
    clock = Clock()
    watch = RunWatch(clock=clock)
    for number in range(20_000):
        clock.now += 0.1
        add(watch, str(number), "a dog")
    points = watch.throughput()
    assert len(points) < 600
    # The first interval also has the image at its start.
    assert all(rate == pytest.approx(10.0) for _, rate in points[1:])
    ends = [0.0, *(end for end, _ in points)]
    counted = sum(rate * (end - start) for start, (end, rate) in zip(ends, points, strict=False))
    assert counted == pytest.approx(20_000)


def test_flagged_uncertain_and_dissimilar_captions_are_suspicious() -> None:
    watch = RunWatch()
    for number in range(200):
        add(watch, f"{number}", "a dog runs on green grass", logprob=-0.5 - number / 1e4)
    add(watch, "loop", "a man in a man in", logprob=-0.4, flags=("repetition",))
    add(watch, "unsure", "a dog runs on green grass", logprob=-4.0)
    add(watch, "odd", "quantum zebra chandelier", logprob=-0.5)
    found = {shown.name: reasons for shown, reasons in watch.suspicious()}
    assert found["loop"] == ("repeats itself",)
    assert found["unsure"] == ("low confidence",)
    assert found["odd"] == ("unlike the others",)
    assert not [name for name, reasons in found.items() if "unlike the others" in reasons][1:]


def test_the_process_of_the_page_gets_little_and_finds_the_same_captions() -> None:
    watch = RunWatch()
    for number in range(900):
        words = f"a dog w{number % 40} v{number % 31}" if number % 100 else f"odd {number} thing"
        add(watch, str(number), words)
    sent = pickle.dumps(watch)
    # A megabyte of it marks the distinct captions.
    assert len(sent) < 1_100_000
    there, here = (
        [(one.name, reasons) for one, reasons in each.suspicious()]
        for each in (pickle.loads(sent), watch)
    )
    assert there == here
    assert any("unlike the others" in reasons for _, reasons in here)


def test_early_captions_are_not_dissimilar_just_because_they_are_early() -> None:
    watch = RunWatch()
    add(watch, "first", "a dog runs on green grass")
    for number in range(5_000):
        add(watch, f"{number}", "a dog runs on green grass")
    reasons = [reason for _, found in watch.suspicious() for reason in found]
    assert "unlike the others" not in reasons


def test_the_caption_with_the_most_reasons_is_listed_first() -> None:
    watch = RunWatch()
    for number in range(100):
        add(watch, f"{number}", "a dog runs on green grass")
    add(watch, "worst", "zebra zebra", logprob=-5.0, flags=("repetition",))
    assert watch.suspicious()[0][0].name == "worst"


def test_failures_are_counted_by_reason() -> None:
    watch = RunWatch()
    for number in range(1_000):
        watch.fail(f"{number}", ImageError("empty" if number % 4 else "truncated"))
    assert watch.failure_counts == {"empty": 750, "truncated": 250}
    assert len(watch.failures) == NUM_FAILURES


def test_images_in_memory_are_not_kept_for_long() -> None:
    watch = RunWatch()
    for number in range(2_000):
        prediction = Prediction(f"{number}", f"word{number}", -0.5, 5, "eos", ("repetition",))
        watch.add(Item(f"{number}", bytes(500_000)), prediction)
        watch.fail(f"{number}", ImageError("empty"), image=bytes(500_000))
    kept = [shown.image for shown, _ in watch.suspicious()]
    assert kept == [None] * NUM_SUSPICIOUS
    assert sum(len(shown.image) for shown in watch.samples) == 500_000 * NUM_SAMPLES  # type: ignore[arg-type]


def test_few_texts_are_counted_exactly() -> None:
    texts = FrequentTexts()
    for number in range(1_000):
        texts.add(f"text {number % 300}")
    assert texts.num_different() == 300
    assert texts.most_common(1)[0][1] == 4


MANY = """
import sys
from pathlib import Path
from captune.bulk.items import Item
from captune.bulk.page import RunWatch
from captune.hardware.process_memory import peak_of_process
from captune.inference import ImageFile
from captune.records import Prediction

watch = RunWatch()
for number in range(int(sys.argv[1])):
    if number == 10_000:
        before = peak_of_process()
    name = f"folder/{number}.jpg"
    caption = "a frequent caption" if number % 10 == 0 else f"a thing number {number} of many"
    prediction = Prediction(name, caption, -0.5, 5, "eos", ())
    watch.add(Item(name, ImageFile(name)), prediction)
(text, count), *_ = watch.frequent.most_common(1)
print(peak_of_process() - before, watch.frequent.num_different(), count, text, sep="\t")
"""


@soak
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows reports no peak")
def test_many_captions_take_little_memory_and_their_counts_are_close() -> None:
    number = count(200_000, full=1_000_000)
    run = subprocess.run(
        [sys.executable, "-c", MANY, str(number)], capture_output=True, check=True, text=True
    )
    taken, different, frequent, text = run.stdout.strip().split("\t")
    assert int(taken) < 30_000_000
    assert int(different) == pytest.approx(0.9 * number + 1, rel=0.01)
    assert text == "a frequent caption"
    assert 0.09 * number < int(frequent) <= 0.1 * number

"""An image that three actors had when they ended is tried alone, and blamed after two more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from captune.bulk.cluster.captioner import RayCaptioner
from captune.errors import ImageError
from captune.inference import RunRequest
from captune.recipe import GenerateConfig
from support.bulk.scripted_ray import ScriptedRay

NAMES = [f"{number:04}" for number in range(2000)]
BATCH = 4
# In the middle of the images that an actor has, and before most of the run.
GUILTY = "0020"


@dataclass
class Outcome:
    """What a run of all images did.

    Attributes:
        ray: The cluster.
        answered: The images in the order of their answers.
        failed: The failures among them.
        num_taken: How many images the run had taken from its source at each failure.
    """

    ray: ScriptedRay
    answered: list[str] = field(default_factory=list)
    failed: dict[str, ImageError] = field(default_factory=dict)
    num_taken: dict[str, int] = field(default_factory=dict)
    _taken: int = 0

    def images(self) -> Iterator[tuple[str, bytes]]:
        for name in NAMES:
            self._taken += 1
            yield name, b""

    def fail(self, name: str, error: ImageError) -> None:
        self.answered.append(name)
        self.failed[name] = error
        self.num_taken[name] = self._taken


def caption_all(monkeypatch: pytest.MonkeyPatch, ray: ScriptedRay, *, actors: int = 2) -> Outcome:
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    request = RunRequest("model", "torch", len(NAMES), device="cpu", precision="fp32")
    captioner = RayCaptioner(request, num_actors=actors)
    config = captioner.complete(GenerateConfig())
    outcome = Outcome(ray)
    for prediction in captioner.stream(
        outcome.images(), config=config, batch_size=BATCH, on_failure=outcome.fail
    ):
        assert prediction.caption == f"a caption of {prediction.image_id}"
        outcome.answered.append(prediction.image_id)
    captioner.close()
    return outcome


@pytest.mark.parametrize("actors", [1, 2])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_image_that_four_actors_had_when_they_ended_is_captioned(monkeypatch, number, actors):
    # As if nodes were taken away: the last of four kills hits the actor that tries it alone.
    outcome = caption_all(monkeypatch, ScriptedRay({GUILTY: number}), actors=actors)
    assert len(outcome.ray.deaths) == number
    assert outcome.failed == {}
    assert sorted(outcome.answered) == NAMES


@pytest.mark.parametrize("actors", [1, 2])
def test_an_image_that_ends_every_actor_costs_five_and_itself_only(monkeypatch, actors):
    outcome = caption_all(monkeypatch, ScriptedRay({GUILTY: 99}), actors=actors)
    assert [death.image for death in outcome.ray.deaths] == [GUILTY] * 5
    together, alone = outcome.ray.deaths[:3], outcome.ray.deaths[3:]
    assert [death.held for death in alone] == [(GUILTY,), (GUILTY,)]
    shared = set.intersection(*(set(death.held) for death in together)) - {GUILTY}
    assert shared
    # These too are captioned, once each.
    assert sorted(outcome.answered) == NAMES
    assert list(outcome.failed) == [GUILTY]
    error = outcome.failed[GUILTY]
    assert (error.what, error.where, error.fix) == (
        "worker_crash",
        "",
        f"the actor with the model ended on this image several times: killed by {GUILTY}",
    )


def test_captions_do_not_wait_until_the_run_has_blamed_an_image(monkeypatch):
    # Captions are written in order: those behind this image wait for its failure.
    outcome = caption_all(monkeypatch, ScriptedRay({GUILTY: 99}))
    assert outcome.num_taken[GUILTY] < len(NAMES) / 4
    blamed = outcome.answered.index(GUILTY)
    assert blamed < 100
    # The other actor continued.
    assert [name for name in outcome.answered[:blamed] if name > GUILTY]


def test_each_of_two_images_that_end_actors_is_blamed(monkeypatch):
    outcome = caption_all(monkeypatch, ScriptedRay({GUILTY: 99, "0021": 99}))
    assert sorted(outcome.failed) == [GUILTY, "0021"]
    assert all(error.fix.endswith(f"killed by {name}") for name, error in outcome.failed.items())
    assert sorted(outcome.answered) == NAMES
    assert len([death for death in outcome.ray.deaths if death.held == (GUILTY,)]) == 2
    assert len([death for death in outcome.ray.deaths if death.held == ("0021",)]) == 2


def test_an_image_that_ends_actors_long_before_its_turn_is_found_too(monkeypatch):
    # A death counts for the images of two batches, and this one is behind them at first.
    ahead = 10 * BATCH
    outcome = caption_all(monkeypatch, ScriptedRay({"0700": 99}, looks_ahead=ahead))
    assert outcome.ray.deaths[0].held.index("0700") > 2 * BATCH
    assert list(outcome.failed) == ["0700"]
    assert sorted(outcome.answered) == NAMES


def test_only_images_that_were_in_the_model_are_suspects(monkeypatch):
    # New actors load for long, so the others, which have many images, get those of the first.
    ray = ScriptedRay({"0700": 99}, cpus=4, steps_to_load=100)
    outcome = caption_all(monkeypatch, ray, actors=4)
    assert [len(death.held) > 20 * BATCH for death in ray.deaths] == [True] * 3 + [False] * 2
    assert ray.tried_alone.count("0700") == 2
    assert len(ray.tried_alone) <= 2 * BATCH + 1
    assert list(outcome.failed) == ["0700"]
    assert sorted(outcome.answered) == NAMES

"""Images that disappear after they were prepared: a few are skipped, many end the training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from captune.errors import DataError
from captune.training import train
from captune.training.batches.lost_images import LostImages

ENGINES = ("loop", "trainer")


def write_images(records, folder: Path):
    """Return the records with their images in files, as most data sets have them."""
    folder.mkdir()
    for record in records:
        (folder / f"{record.image_id}.png").write_bytes(record.image)
    return [replace(r, image=folder / f"{r.image_id}.png") for r in records]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_whose_images_are_gone_ends_with_an_error(
    tmp_path, shapes, *, make_recipe, make_captioner, engine, workers
) -> None:
    recipe = make_recipe(
        train__engine=engine, data__num_workers=workers, data__max_bad_fraction=1.0
    )
    images = write_images(shapes[0], tmp_path / "disk")
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    with pytest.raises(DataError, match=r"8 images can no longer be read") as caught:
        train(
            *(make_captioner(recipe), (images, shapes[1])),
            recipe=recipe,
            run_folder=tmp_path / "run",
            say=lambda _: None,
        )
    assert caught.value.where == "8 images in a row"
    assert "--resume" in caught.value.fix
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_steps_before_the_images_disappeared_are_saved(
    tmp_path, shapes, *, make_recipe, make_captioner, engine
) -> None:
    recipe = make_recipe(train__engine=engine, train__epochs=1, data__pixel_store="off")
    images = write_images(shapes[0], tmp_path / "disk")
    captioner = make_captioner(recipe)
    loss, passes = captioner.loss, []

    def unmount_after_the_first_step(batch, *args):
        passes.append(len(batch.image_ids))
        # After the rehearsal of five images and a step of eight.
        if sum(passes) >= 13 and (tmp_path / "disk").is_dir():
            (tmp_path / "disk").rename(tmp_path / "unmounted")
        return loss(batch, *args)

    captioner.loss = unmount_after_the_first_step
    run = {"recipe": recipe, "run_folder": tmp_path / "run"}
    lines: list[str] = []
    with pytest.raises(DataError, match=r"can no longer be read"):
        train(captioner, (images, shapes[1]), **run, say=lines.append)
    saved = [line for line in lines if line.startswith("the training is saved at step")]
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert saved == [f"the training is saved at step {int(checkpoint.name[-6:])}"]
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    result = train(
        make_captioner(recipe), (images, shapes[1]), **run, resume=True, say=lines.append
    )
    assert result.steps == 3
    assert f"resumed at step {int(checkpoint.name[-6:])} of 3" in lines


@pytest.mark.slow
@pytest.mark.parametrize("images_per_step", [1, 8])
@pytest.mark.parametrize("engine", ENGINES)
def test_one_lost_image_is_named_once_and_skipped(
    tmp_path, shapes, *, make_recipe, make_captioner, engine, images_per_step
) -> None:
    recipe = make_recipe(
        train__engine=engine,
        train__micro_batch_size=min(4, images_per_step),
        train__global_batch_size=images_per_step,
    )
    images = write_images(shapes[0], tmp_path / "disk")
    images[3].image.unlink()
    lines: list[str] = []
    train(
        *(make_captioner(recipe), (images, shapes[1])),
        recipe=recipe,
        run_folder=tmp_path / "run",
        say=lines.append,
    )
    warning = (
        f"warning: image {images[3].image_id!r} can no longer be read (missing) and is skipped"
    )
    # Two epochs, one warning.
    assert [line for line in lines if line.startswith("warning: image")] == [warning]
    assert (tmp_path / "run" / "model").is_dir()


def test_lost_validation_images_end_the_training_too(
    tmp_path, shapes, make_recipe, make_captioner
) -> None:
    recipe = make_recipe()
    images = write_images(shapes[1], tmp_path / "disk")
    images[0].image.unlink()
    with pytest.raises(DataError, match=r"1 image can no longer be read") as caught:
        train(
            *(make_captioner(recipe), (shapes[0], images)),
            recipe=recipe,
            run_folder=tmp_path / "run",
            say=lambda _: None,
        )
    assert caught.value.where == "data.max_bad_fraction 0.05 of 6 images"


def test_an_image_that_can_be_read_ends_a_row_of_lost_ones() -> None:
    lost = LostImages(1000, 1.0, say=lambda _: None)
    for number in range(20):
        lost.count(0, {f"{number}-{n}": "io" for n in range(7)})
        lost.count(1, {})
    with pytest.raises(DataError, match="148 images can no longer be read"):
        for number in range(8):
            lost.count(0, {f"last-{number}": "io"})


def test_at_most_five_lost_images_are_listed() -> None:
    lines: list[str] = []
    lost = LostImages(1000, 1.0, say=lines.append)
    for number in range(9):
        lost.count(3, {str(number): "io"})
    assert len(lines) == 5
    assert lines[-1].endswith("and is skipped; more of them are not listed")

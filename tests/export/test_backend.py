"""`--backend` converts a plain model once, and only if that saves time."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from captune.cli import main
from captune.errors import MissingExtraError, ModelError
from captune.export import backend, choose_model
from captune.inference import (
    Probe,
    RunRequest,
    conversion_folder,
    drop_unused,
    has_conversion,
    known_model,
    write_probe,
)
from captune.inference.exported.cache import read_probe
from captune.storage import lock_folder
from support.models.wild_models import wild_captioner


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a model's folder, with a cache folder of its own."""
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    wild_captioner("blip-tiny").save(tmp_path / "model")
    return tmp_path / "model"


def request(model: Path, backend: str, num_images: int = 1) -> RunRequest:
    return RunRequest(str(model), backend, num_images, "cpu", "fp32")  # type: ignore[arg-type]


def pretend_conversion(model: Path, probe: Probe) -> Path:
    folder = conversion_folder(str(model), None, to="openvino")
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / "export.json").write_text('{"sizes": {"files": {"text_step.bin": 3}}}')
    (folder / "text_step.bin").write_bytes(b"123")
    write_probe(folder, probe, precision="fp32")
    return folder


def test_with_torch_or_few_images_the_model_is_not_converted(model: Path) -> None:
    assert known_model(request(model, "torch", 10**6)) == str(model)
    assert known_model(request(model, "auto", 1999)) == str(model)
    assert known_model(request(model, "auto", 10**6)) is None


def test_conversions_that_nobody_used_for_a_week_are_deleted_but_for_the_newest(
    model: Path,
) -> None:
    new = pretend_conversion(model, Probe(torch=1.0, exported=0.9))
    weeks = [0.5, 2, 3, 4, 5, 6, 7, 8, 9]
    others = []
    for number, ago in enumerate(weeks):
        others.append(Path(shutil.copytree(new, new.with_name(f"{number}" * 32))))
        write_probe(others[-1], Probe(1.0, 0.9), precision="fp32")
        os.utime(others[-1], (time.time() - ago * 7 * 86_400,) * 2)
    # Using one keeps it.
    os.utime(new, (0, 0))
    assert known_model(request(model, "openvino")) == str(new)
    (new.parent / "somebody's").mkdir()
    with lock_folder(new.parent, purpose=others[-1].name):
        drop_unused(new)
    left = [folder for folder in others if folder.exists()]
    # The new one and seven others; and that which another process is writing.
    assert left == [*others[:7], others[-1]]
    assert len(list(new.parent.glob("*.json"))) == 1 + len(left)
    assert (new.parent / "somebody's").is_dir()


def test_a_conversion_that_was_measured_to_be_faster_is_used_for_one_image(model: Path) -> None:
    folder = pretend_conversion(model, Probe(torch=1.0, exported=0.9))
    assert known_model(request(model, "auto")) == str(folder)
    assert known_model(request(model, "openvino")) == str(folder)


def test_a_conversion_that_was_measured_to_be_slower_is_never_chosen_by_auto(model: Path) -> None:
    folder = pretend_conversion(model, Probe(torch=1.0, exported=0.97))
    assert known_model(request(model, "auto", 10**6)) == str(model)
    assert known_model(request(model, "openvino")) == str(folder)


def test_a_conversion_that_lacks_a_part_of_its_files_is_made_again(model: Path) -> None:
    folder = pretend_conversion(model, Probe(torch=1.0, exported=0.9))
    (folder / "text_step.bin").write_bytes(b"12")
    assert known_model(request(model, "auto", 10**6)) is None
    assert known_model(request(model, "openvino")) is None
    (folder / "export.json").write_text('{"sizes": {"files": {"a\\u0000b": 3}}}')
    assert not has_conversion(folder)


def test_damaged_times_are_measured_again(model: Path) -> None:
    folder = pretend_conversion(model, Probe(torch=1.0, exported=0.9))
    (kept,) = folder.parent.glob("*.json")
    kept.write_text(f'{{"torch": {"9" * 400}, "exported": 1}}')
    assert read_probe(folder, precision="fp32") is None
    (folder / "text_step.bin").unlink()
    assert known_model(request(model, "openvino")) is None


def test_other_weights_have_another_conversion(model: Path) -> None:
    before = conversion_folder(str(model), None, to="openvino")
    weights = model / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert conversion_folder(str(model), None, to="openvino") != before
    assert conversion_folder(str(model), None, to="onnx") != before


def test_a_conversion_that_does_not_fit_the_disk_is_skipped_with_a_message(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    said: list[str] = []
    assert choose_model(request(model, "openvino"), say=said.append) == str(model)
    assert len(said) == 1
    assert "1.0 kB are free; captioning with torch" in said[0]


def test_auto_does_not_convert_if_that_would_take_over_a_twentieth_of_the_run(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock by which torch takes a millisecond per batch, however busy this machine is.
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(ticks) / 1000)
    said: list[str] = []
    assert choose_model(request(model, "auto", 10_000), say=said.append) == str(model)
    assert said == []


def test_finding_out_costs_two_probes_and_a_conversion() -> None:
    # BLIP base: 2 GB as a conversion, 11 s to load it and to caption 16 images in torch.
    assert backend.seconds_to_find_out(11.0, num_bytes=2e9) == 122.0
    assert backend.seconds_to_find_out(0.0, num_bytes=0.0) == 20.0


def test_the_error_for_a_missing_backend_names_what_to_install(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python then finds no such module.
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert known_model(request(model, "auto", 10**6)) == str(model)
    with pytest.raises(MissingExtraError) as caught:
        choose_model(request(model, "openvino"), say=print)
    assert caught.value.fix == "pip install 'captune[openvino]'"


@pytest.mark.slow
def test_captune_caption_converts_once(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from captune.data import make_shapes

    photo = tmp_path / "photo.png"
    image = make_shapes(1)[0].image
    assert isinstance(image, bytes)
    photo.write_bytes(image)
    captions = []
    for number, name in enumerate(("torch", "openvino", "openvino")):
        with pytest.raises(SystemExit) as end:
            # Random weights may end a caption at once.
            exact = ["--precision", "fp32", "--min-new-tokens", "3"]
            main(["caption", str(model), str(photo), "--backend", name, *exact])
        shown = capsys.readouterr()
        assert end.value.code == 0, shown.err
        captions.append(shown.out)
        assert ("once; kept in" in shown.err) == (number == 1)
    assert len(set(captions)) == 1
    folder = conversion_folder(str(model), None, to="openvino")
    assert folder is not None and has_conversion(folder)
    shutil.rmtree(folder)


@pytest.mark.slow
def test_auto_times_both_and_reports_which_one_captions(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tiny model's run is never long enough for a conversion to be a twentieth of it.
    monkeypatch.setattr(backend, "_MAX_SHARE", 1e6)
    said: list[str] = []
    chosen = choose_model(request(model, "auto", 2000), say=said.append)
    folder = conversion_folder(str(model), None, to="openvino")
    assert folder is not None and has_conversion(folder)
    assert len(said) == 2
    assert said[0].startswith("converting") and "once; kept in" in said[0]
    assert said[1].startswith("torch takes ") and " s per image, openvino " in said[1]
    winner = said[1].rpartition(" ")[2]
    assert chosen == {"openvino": str(folder), "torch": str(model)}[winner]
    # From now on it is known, for one image too.
    assert known_model(request(model, "auto", 1)) == chosen


def test_a_damaged_model_is_reported_before_it_is_converted(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        choose_model(request(model, "openvino"), say=print)


def test_a_conversion_by_another_process_is_waited_for_and_used(model: Path) -> None:
    folder = conversion_folder(str(model), None, to="openvino")
    assert folder is not None
    is_locked, is_waited_for = threading.Event(), threading.Event()
    said: list[str] = []

    def convert() -> None:
        with lock_folder(folder.parent, purpose=folder.name):
            is_locked.set()
            assert is_waited_for.wait(60)
            pretend_conversion(model, Probe(torch=1.0, exported=1.0))

    def say(line: str) -> None:
        said.append(line)
        is_waited_for.set()

    other = threading.Thread(target=convert)
    other.start()
    assert is_locked.wait(60)
    assert choose_model(request(model, "openvino"), say=say) == str(folder)
    other.join()
    assert said == [f"waiting for another process, which converts {model}"]


def test_the_size_of_a_model_in_the_hubs_cache_counts_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("c0ffee")
    shutil.copytree(model, repo / "snapshots" / "c0ffee")
    hub = RunRequest("owner/name", "auto", 1, "cpu", "fp32")
    assert backend._needed_bytes(hub) == backend._needed_bytes(request(model, "auto")) > 1e6
    absent = RunRequest("owner/other", "auto", 1, "cpu", "fp32")
    assert backend._needed_bytes(absent) == 0

"""A file of captions belongs to one model and decoding, is a regular file, and has one writer."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from captune.errors import OutputError
from captune.inference import digest_model, open_destination
from captune.records import Prediction

MADE_BY = {"model": "a", "revision": None, "digest": "1", "decoding": {"num_beams": 1}}


def prediction(image_id: str, caption: str = "a dog") -> Prediction:
    return Prediction(image_id, caption, -0.5, 3, "eos", ())


def file_at(path: Path, made_by=MADE_BY, **settings):
    return open_destination("jsonl", [], out=path, made_by=made_by, **settings)


def write(path: Path, *image_ids: str, **settings) -> None:
    with file_at(path, **settings) as destination:
        for image_id in image_ids:
            destination.write(prediction(image_id))
        destination.finish()


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["image_id"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"digest": "2", "model": "b"}, "model: a -> b"),
        ({"digest": "2"}, "model: a with earlier weights -> other weights now"),
        ({"digest": None, "model": "b"}, "model: a -> b"),
        ({"digest": None, "revision": "v2"}, "revision: None -> v2"),
        ({"decoding": {"num_beams": 5}}, "num_beams: 1 -> 5"),
    ],
)
def test_a_finished_file_of_another_model_or_decoding_is_refused(tmp_path, other, difference):
    path = tmp_path / "c.jsonl"
    write(path, "a.jpg")
    before = path.read_bytes()
    with pytest.raises(OutputError) as error:
        file_at(path, made_by={**MADE_BY, **other})
    assert error.value.what == f"{path} holds captions of another model or decoding ({difference})"
    assert "--force" in error.value.fix
    assert path.read_bytes() == before


def test_force_replaces_the_captions_and_their_record(tmp_path):
    path, other = tmp_path / "c.jsonl", {**MADE_BY, "digest": "2"}
    write(path, "a.jpg", "b.jpg")
    write(path, "a.jpg", made_by=other, force=True)
    assert ids_in(path) == ["a.jpg"]
    write(path, "b.jpg", made_by=other)
    assert ids_in(path) == ["a.jpg", "b.jpg"]
    with pytest.raises(OutputError, match="holds captions of another model"):
        file_at(path)


def test_the_same_model_under_another_name_adds_to_the_file(tmp_path):
    path = tmp_path / "c.jsonl"
    write(path, "a.jpg")
    write(path, "b.jpg", made_by={**MADE_BY, "model": "moved/a"})
    assert ids_in(path) == ["a.jpg", "b.jpg"]


def test_a_file_without_a_record_is_kept_and_not_added_to(tmp_path):
    path = tmp_path / "c.jsonl"
    write(path, "a.jpg")
    shutil.rmtree(tmp_path / ".captune")
    with file_at(path) as destination:
        assert destination.has("a.jpg")
        with pytest.raises(OutputError, match="has no record of the model and decoding"):
            destination.check_addition()
        with pytest.raises(OutputError, match="has no record of the model and decoding"):
            destination.write(prediction("b.jpg"))
    assert ids_in(path) == ["a.jpg"]


def test_a_damaged_record_does_not_count(tmp_path):
    path = tmp_path / "c.jsonl"
    write(path, "a.jpg")
    (tmp_path / ".captune" / "c.jsonl.made_by").write_bytes(b"\0" * 20)
    with file_at(path) as destination, pytest.raises(OutputError, match="has no record"):
        destination.check_addition()


def test_a_journal_of_version_0_1_is_resumed(tmp_path):
    header = {"made_by": {"model": "a", "revision": None, "decoding": {"num_beams": 1}}}
    row = {"image_id": "a.jpg", "caption": "a dog"}
    # The key of that version.
    old_key = "".join(("a", "new"))
    lines = [json.dumps({**header, old_key: False}), json.dumps(row)]
    (tmp_path / "c.jsonl.part").write_text("".join(f"{line}\n" for line in lines))
    with file_at(tmp_path / "c.jsonl") as destination:
        assert destination.has("a.jpg")
        destination.finish()
    assert ids_in(tmp_path / "c.jsonl") == ["a.jpg"]


@pytest.mark.parametrize("header", ["{}", "[]", '{"made_by": null}', '{"made_by": [1]}', "7"])
def test_a_journal_with_another_first_line_is_refused_and_kept(tmp_path, header):
    journal = tmp_path / "c.jsonl.part"
    journal.write_text(f"{header}\n")
    with pytest.raises(OutputError, match="is not a journal of captions"):
        file_at(tmp_path / "c.jsonl")
    assert journal.read_text() == f"{header}\n"


@pytest.mark.skipif(os.name == "nt", reason="devices, pipes and sockets in the file system")
@pytest.mark.parametrize("name", ["/dev/full", "/dev/null", "/dev/stdout", "pipe", "socket"])
def test_only_regular_files_are_written(tmp_path, name):
    place = Path(name) if name.startswith("/") else tmp_path / name
    if name == "pipe":
        os.mkfifo(place)
    if name == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(place))
    with pytest.raises(OutputError, match="captune writes regular files only") as error:
        file_at(place)
    assert "stdout" in error.value.fix


def test_a_folder_with_the_name_of_the_file_is_refused(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        file_at(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_behind_stdout_is_reported(tmp_path):
    class Full:
        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with (
        open_destination("jsonl", [], out=Full(), made_by={}) as destination,  # type: ignore[arg-type]
        pytest.raises(OutputError, match="cannot write the captions to stdout: No space"),
    ):
        destination.write(prediction("a.jpg"))


def test_the_digest_of_a_model_depends_on_weights_and_settings_only(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(5_000_000))
    first = digest_model(str(model))
    (model / "README.md").write_text("a card")
    assert digest_model(str(model)) == first
    assert digest_model(str(shutil.copytree(model, tmp_path / "run" / "model").parent)) == first
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert digest_model(str(model)) != first
    (model / "model.safetensors").write_bytes(bytes(5_000_000))
    assert digest_model(str(model)) == first
    (model / "generation_config.json").write_text('{"num_beams": 5}')
    assert digest_model(str(model)) != first
    assert digest_model("Salesforce/blip-image-captioning-base") is None


@pytest.mark.skipif(os.name == "nt", reason="a process limit replaces a full disk")
def test_a_full_disk_is_reported_and_earlier_captions_are_kept(tmp_path):
    import resource
    import signal

    path = tmp_path / "c.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with file_at(path) as destination:
            destination.write(prediction("a.jpg"))
            size = path.with_name("c.jsonl.part").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
            with pytest.raises(OutputError, match=r"cannot write .*c\.jsonl\.part") as error:
                destination.write(prediction("b.jpg"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "free some disk space" in error.value.fix
    assert "resumes where it stopped" in error.value.fix
    with file_at(path) as destination:
        assert destination.has("a.jpg")
        assert not destination.has("b.jpg")

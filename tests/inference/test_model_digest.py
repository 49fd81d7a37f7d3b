"""What identifies a local model."""

from __future__ import annotations

import os
import shutil

from captune.inference import digest_model


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


def test_the_digest_sees_that_one_matrix_of_a_large_file_has_changed(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    with weights.open("wb") as file:
        file.truncate(1_000_000_000)
    seen = {digest_model(str(tmp_path))}
    # As large as a projection of a model 256 wide in float32, at places that share no step.
    for place in (70_000_001, 333_333_333, 987_000_000):
        with weights.open("r+b") as file:
            file.seek(place)
            file.write(b"x" * 4 * 256 * 260)
        seen.add(digest_model(str(tmp_path)))
    assert len(seen) == 4

"""`captune score` with metrics that need images, models, objects or the training set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from transformers import CLIPModel
from typer.testing import CliRunner

from captune.cli.score import score
from captune.errors import CaptuneError, MetricError
from captune.metrics import METRIC_GROUPS, METRICS
from captune.metrics.neural.clip import ClipScorer, compute_clip_score
from support.models.tiny_clip import name_like_openai, save_clip

REFERENCES = {"1": ["a red dog runs", "a dog runs"], "12": ["two cats sit"], "7": ["a bird"]}
PREDICTIONS = {"1": "a dog and a frisbee", "12": "two cats sit", "7": "a bird sings"}
COLOURS = {"1": "red", "12": "green", "7": "blue"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "tiny-clip")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPTUNE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "references.json").write_text(json.dumps(REFERENCES))
    (tmp_path / "predictions.json").write_text(json.dumps(PREDICTIONS))
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for image_id, colour in COLOURS.items():
        folder = tmp_path / "images" / ("deep" if image_id == "7" else "")
        name = f"COCO_val2014_{int(image_id):012d}.png" if image_id != "7" else "7.jpg"
        Image.new("RGB", (48, 40), colour).save(folder / name)
    return tmp_path


def run(folder: Path, *arguments: str, predictions: tuple[str, ...] = ("predictions.json",)) -> str:
    app = typer.Typer()
    app.command()(score)
    given = [part for name in predictions for part in ("--predictions", str(folder / name))]
    references = [] if "--references" in arguments else ["--references", "references.json"]
    references = [str(folder / part) if "." in part else part for part in references]
    result = CliRunner().invoke(app, [*references, *given, *arguments])
    if isinstance(result.exception, CaptuneError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def scores(folder: Path, *arguments: str, **settings) -> dict[str, float]:
    run(folder, *arguments, "--json", str(folder / "scores.json"), "--force", **settings)
    return json.loads((folder / "scores.json").read_text())["metrics"]


def expected(clip: Path, *, weight: float) -> dict[str, float]:
    scorer = ClipScorer.load(clip)
    images = [Image.new("RGB", (48, 40), colour) for colour in COLOURS.values()]
    features = scorer.embed_images(images)
    # The file in the subfolder is a JPEG, whose pixels differ slightly.
    return compute_clip_score(
        REFERENCES, PREDICTIONS, image_features=features, scorer=scorer, weight=weight
    ).corpus


def test_clip_scores_of_a_folder_equal_those_of_the_function(files: Path, clip: Path) -> None:
    arguments = ["--images", str(files / "images"), "--clip-model", str(clip)]
    found = scores(files, "--metrics", "clip,bleu_1", *arguments)
    assert list(found) == ["bleu_1", "clip_score", "ref_clip_score"]
    wanted = expected(clip, weight=2.5)
    for name in ("clip_score", "ref_clip_score"):
        assert found[name] == pytest.approx(wanted[name], abs=5e-3)
    kept = list((files / "cache" / "image-features").iterdir())
    assert len(kept) == 1


def test_features_are_kept_between_runs_and_files(files: Path, clip: Path) -> None:
    (files / "more.json").write_text(json.dumps(PREDICTIONS))
    arguments = ["--images", str(files / "images"), "--clip-model", str(clip)]
    arguments += ["--metrics", "clip_score", "--json", str(files / "scores.json"), "--force"]

    def score_both() -> list[float]:
        run(files, *arguments, predictions=("predictions.json", "more.json"))
        systems = json.loads((files / "scores.json").read_text())["systems"]
        return [systems[name]["metrics"]["clip_score"] for name in ("predictions", "more")]

    first = score_both()
    assert first[0] == first[1] > 0
    assert score_both() == first
    (kept,) = (files / "cache" / "image-features").iterdir()
    np.save(kept, np.zeros_like(np.load(kept)))
    assert score_both() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_pac_s_uses_its_checkpoint_and_its_own_factor(files: Path, clip: Path, kind: str) -> None:
    torch.save(name_like_openai(CLIPModel.from_pretrained(clip)), files / "clip_ViT.pth")
    place = files / "clip_ViT.pth" if kind == "file" else clip
    arguments = ["--images", str(files / "images"), "--clip-model", str(clip)]
    arguments += ["--pac-checkpoint", str(place)]
    found = scores(files, "--metrics", "pac", *arguments)
    wanted = expected(clip, weight=2.0)
    assert found["pac_s"] == pytest.approx(wanted["clip_score"], abs=5e-3)
    assert found["ref_pac_s"] == pytest.approx(wanted["ref_clip_score"], abs=5e-3)
    assert "weight:2|" in run(files, "--metrics", "pac_s", *arguments)


def test_image_paths_in_jsonl_need_no_folder(files: Path, clip: Path) -> None:
    rows = [
        {"image_id": i, "captions": own, "image": str(next(files.rglob(f"*{i}.*g")))}
        for i, own in REFERENCES.items()
    ]
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--metrics", "clip_score", "--clip-model", str(clip)]
    with_paths = scores(files, *arguments, "--references", str(files / "rows.jsonl"))
    assert with_paths == scores(files, *arguments, "--images", str(files / "images"))


def test_file_names_of_coco_annotations_are_found_in_the_folder(files: Path, clip: Path) -> None:
    names = {"1": "b.png", "12": "a.png", "7": "c.png"}
    (files / "named").mkdir()
    for image_id, name in names.items():
        Image.new("RGB", (48, 40), COLOURS[image_id]).save(files / "named" / name)
    content = {
        "images": [{"id": int(i), "file_name": name} for i, name in names.items()],
        "annotations": [
            {"image_id": int(i), "caption": c} for i, own in REFERENCES.items() for c in own
        ],
    }
    (files / "coco.json").write_text(json.dumps(content))
    arguments = ["--metrics", "clip_score", "--clip-model", str(clip)]
    arguments += ["--images", str(files / "named"), "--references", str(files / "coco.json")]
    wanted = expected(clip, weight=2.5)["clip_score"]
    assert scores(files, *arguments)["clip_score"] == pytest.approx(wanted, abs=1e-6)


def test_missing_inputs_are_errors_before_any_model_is_loaded(files: Path) -> None:
    with pytest.raises(MetricError, match="clip_score needs the images") as caught:
        run(files, "--metrics", "clip_score")
    assert caught.value.fix == "give the images: --images FOLDER"
    with pytest.raises(MetricError, match="pac_s needs the PAC-S checkpoint"):
        run(files, "--metrics", "pac_s", "--images", str(files / "images"))
    next(files.rglob("7.jpg")).unlink()
    with pytest.raises(MetricError, match=r"1 image has no file in .*images: 7"):
        run(files, "--metrics", "clip_score", "--images", str(files / "images"))
    with pytest.raises(MetricError, match="is not a folder"):
        run(files, "--metrics", "clip_score", "--images", str(files / "none"))


def test_a_broken_image_is_named(files: Path, clip: Path) -> None:
    broken = next(files.rglob("7.jpg"))
    broken.write_bytes(b"not an image")
    arguments = ["--images", str(files / "images"), "--clip-model", str(clip)]
    with pytest.raises(CaptuneError, match="not_an_image") as caught:
        run(files, "--metrics", "clip_score", *arguments)
    assert "7.jpg" in str(caught.value)


def test_all_uses_the_given_inputs_and_prints_what_it_skips(
    files: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTUNE_SPICE_HOME", str(files))
    # METEOR's tables take 20 s to build, so they come from the user's cache.
    monkeypatch.delenv("CAPTUNE_CACHE")
    output = run(files, "--metrics", "all")
    image_metrics = "clip_score, ref_clip_score, pac_s, ref_pac_s"
    assert f"skipped: {image_metrics} (to enable them: give the images: --images FOLDER)" in output
    assert "skipped: bert_score, bert_score_raw (to enable them: " in output
    arguments = ["--images", str(files / "images"), "--clip-model", str(clip)]
    found = scores(files, "--metrics", "all", "--cache", str(files / "cache"), *arguments)
    skipped = {"spice", "meteor", "bert_score", "bert_score_raw", "pac_s", "ref_pac_s"}
    skipped.update(METRIC_GROUPS["samples"])
    assert set(METRICS) - set(found) <= skipped
    assert "clip_score" in found


def test_objects_of_boxes_count_as_present(files: Path) -> None:
    without = scores(files, "--metrics", "chair")
    assert without == {"chair_i": 0.25, "chair_s": pytest.approx(1 / 3)}
    (files / "objects.json").write_text(json.dumps({"1": ["frisbee"], "99": ["dog"]}))
    arguments = ["--metrics", "chair", "--objects", str(files / "objects.json")]
    assert scores(files, *arguments) == {"chair_i": 0.0, "chair_s": 0.0}
    assert "truth:references+objects" in run(files, *arguments)


def test_objects_are_read_from_coco_instances_and_jsonl_too(files: Path) -> None:
    instances = {
        "annotations": [{"image_id": 1, "category_id": 34}],
        "categories": [{"id": 34, "name": "frisbee"}],
    }
    (files / "instances.json").write_text(json.dumps(instances))
    (files / "objects.jsonl").write_text('{"image_id": 1, "objects": ["frisbee"]}\n')
    for name in ("instances.json", "objects.jsonl"):
        arguments = ["--metrics", "chair_s", "--objects", str(files / name)]
        assert scores(files, *arguments) == {"chair_s": 0.0}


@pytest.mark.parametrize(
    "content", ['{"1": "frisbee"}', '[["frisbee"]]', "3", '{"annotations": [{"image_id": 1}]}']
)
def test_objects_in_an_unknown_format_are_named(files: Path, content: str) -> None:
    (files / "objects.json").write_text(content)
    with pytest.raises(MetricError, match=r"objects|COCO instances"):
        run(files, "--metrics", "chair", "--objects", str(files / "objects.json"))


def test_a_given_list_of_words_replaces_cocos_classes(files: Path) -> None:
    (files / "words.txt").write_text("song, sings\n")
    arguments = ["--metrics", "chair", "--object-words", str(files / "words.txt")]
    assert scores(files, *arguments) == {"chair_i": 1.0, "chair_s": pytest.approx(1 / 3)}


def test_the_training_set_gives_a_constant_caption_and_the_share_of_copies(files: Path) -> None:
    training = {"a": ["Two cats sit.", "some cats sit"], "b": ["two cats sit on grass"]}
    (files / "training.json").write_text(json.dumps(training))
    arguments = ["--metrics", "bleu_1", "--training", str(files / "training.json")]
    output = run(files, *arguments, "--json", str(files / "scores.json"))
    copied = "33.3\u00a0% of the captions are word-for-word copies of training captions"
    assert f"predictions: {copied}" in output
    content = json.loads((files / "scores.json").read_text())
    assert content["copied_share"] == pytest.approx(1 / 3)
    assert content["constant_caption"]["caption"] in {c for own in training.values() for c in own}
    assert set(content["constant_caption"]["metrics"]) == {"bleu_1"}
    assert list(content["metrics"]) == ["bleu_1"]

"""`captune score`: from files of captions to files of scores."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from captune.cli.score import METRICS_HELP, score
from captune.errors import CaptuneError, MetricError, OutputError, RecipeError
from captune.evaluation import metric_label
from captune.metrics import METRIC_GROUPS, METRICS, resolve_metrics
from support.places import REAL_DATA

REFERENCES = {"1": ["a red dog runs", "a dog runs"], "2": ["two cats sit"], "3": ["a bird flies"]}
GOOD = {"1": "a red dog runs", "2": "two cats sit", "3": "a bird sings"}
POOR = [{"image_id": 1, "caption": "a man"}, {"image_id": 3, "caption": "cats"}]
POOR.append({"image_id": 2, "caption": "two cats"})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "references.json").write_text(json.dumps(REFERENCES))
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    (tmp_path / "poor.json").write_text(json.dumps(POOR))
    return tmp_path


def run(folder: Path, *arguments: str, predictions: tuple[str, ...] = ("good.json",)) -> str:
    app = typer.Typer()
    app.command()(score)
    given = [part for name in predictions for part in ("--predictions", str(folder / name))]
    command = ["--references", str(folder / "references.json"), *given, *arguments]
    result = CliRunner().invoke(app, command)
    if isinstance(result.exception, CaptuneError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table_has_values_intervals_and_signatures_and_the_file_has_every_digit(
    files: Path,
) -> None:
    output = run(files, "--metrics", "bleu_1,rouge_l", "--json", str(files / "scores.json"))
    lines = [line.split() for line in output.splitlines()]
    assert ["BLEU-1", "0.900"] in lines
    assert ["[0.667,", "1.000]"] in lines
    assert any(line[:2] == ["ROUGE-L", "(COCO)"] for line in lines)
    content = json.loads((files / "scores.json").read_text())
    assert content["metrics"]["bleu_1"] == 0.8999999998200003
    assert "bleu_1|variant:coco|reflen:closest|tok:ptb-3.4.1|refs:1-2|images:3" in output
    assert "3 images; in brackets: 95 % bootstrap intervals." in output


def test_json_has_the_documented_keys(files: Path) -> None:
    run(files, "--metrics", "bleu,cider,distinct_1", "--json", str(files / "out" / "scores.json"))
    content = json.loads((files / "out" / "scores.json").read_text())
    assert set(content) >= {"metrics", "intervals", "num_images", "signature"}
    assert list(content["metrics"]) == [
        "bleu_1",
        "bleu_2",
        "bleu_3",
        "bleu_4",
        "cider",
        "distinct_1",
    ]
    assert content["num_images"] == 3
    assert set(content["intervals"]) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "cider"}
    low, high = content["intervals"]["cider"]
    assert low <= content["metrics"]["cider"] <= high
    assert content["signature"].startswith("bleu_1|variant:coco")


def test_per_image_lines_have_an_id_and_one_key_per_metric(files: Path) -> None:
    run(files, "--metrics", "bleu_1,cider", "--per-image", str(files / "rows.jsonl"))
    rows = [json.loads(line) for line in (files / "rows.jsonl").read_text().splitlines()]
    assert [row["image_id"] for row in rows] == ["1", "2", "3"]
    assert all(set(row) == {"image_id", "bleu_1", "cider"} for row in rows)


def test_several_files_are_shown_side_by_side_and_tested_against_the_first(files: Path) -> None:
    arguments = ["--metrics", "rouge_l,wer", "--json", str(files / "scores.json")]
    arguments += ["--per-image", str(files / "rows.jsonl")]
    output = run(files, *arguments, predictions=("poor.json", "good.json"))
    assert "poor" in output
    assert "good" in output
    assert "3 better, 0 equal, 0 worse" in output
    content = json.loads((files / "scores.json").read_text())
    assert list(content["systems"]) == ["poor", "good"]
    assert content["tested_against"] == "poor"
    assert content["paired"]["good"]["rouge_l"]["delta"] > 0
    assert content["paired"]["good"]["wer"]["delta"] < 0
    rows = [json.loads(line) for line in (files / "rows.jsonl").read_text().splitlines()]
    assert [(r["predictions"], r["image_id"]) for r in rows][:4] == [
        ("poor", "1"),
        ("poor", "2"),
        ("poor", "3"),
        ("good", "1"),
    ]


def test_files_with_the_same_name_are_named_by_their_paths(files: Path) -> None:
    (files / "b").mkdir()
    (files / "b" / "good.json").write_text(json.dumps(GOOD))
    path = files / "scores.json"
    given = ("good.json", "b/good.json")
    run(files, "--metrics", "bleu_1", "--json", str(path), predictions=given)
    assert list(json.loads(path.read_text())["systems"]) == [str(files / name) for name in given]


def test_a_file_with_the_name_of_the_constant_caption_is_a_file(files: Path) -> None:
    (files / "constant_caption.json").write_text(json.dumps(GOOD))
    path = files / "scores.json"
    run(files, "--metrics", "bleu_1", "--json", str(path), predictions=("constant_caption.json",))
    content = json.loads(path.read_text())
    assert list(content["systems"]) == ["constant_caption (file)"]
    assert content["metrics"]["bleu_1"] > 0


def test_an_error_names_the_file_among_several(files: Path) -> None:
    (files / "few.json").write_text('{"1": "a dog"}')
    with pytest.raises(MetricError, match=r"2 without a prediction \(2, 3\)") as caught:
        run(files, predictions=("good.json", "few.json"))
    assert caught.value.where == str(files / "few.json")
    with pytest.raises(MetricError, match="clip_score needs the images") as caught:
        run(files, "--metrics", "clip")
    assert caught.value.where == ""


@pytest.mark.parametrize("name", ["cpu:7", "toaster"])
def test_an_unavailable_device_is_an_error_before_any_model_is_loaded(
    files: Path, name: str
) -> None:
    with pytest.raises(RecipeError, match=f"device '{name}' is not available here") as caught:
        run(files, "--metrics", "bleu_1", "--device", name)
    assert caught.value.where == "--device"


def test_a_file_given_twice_is_an_error(files: Path) -> None:
    with pytest.raises(MetricError, match=r"good\.json is given twice"):
        run(files, predictions=("good.json", "good.json"))


def test_the_seed_fixes_the_intervals(files: Path) -> None:
    intervals = []
    for seed in ("1", "1", "2"):
        path = files / "scores.json"
        drawn = ["--seed", seed, "--resamples", "50"]
        run(files, "--metrics", "cider", *drawn, "--json", str(path), "--force")
        intervals.append(json.loads(path.read_text())["intervals"])
    assert intervals[0] == intervals[1] != intervals[2]


def test_images_without_a_prediction_are_an_error_unless_only_predicted_is_given(
    files: Path,
) -> None:
    few = {key: GOOD[key] for key in ("1", "3")}
    (files / "few.json").write_text(json.dumps(few))
    with pytest.raises(MetricError, match=r"1 without a prediction \(2\)") as caught:
        run(files, predictions=("few.json",))
    assert caught.value.exit_code == 2
    path = files / "scores.json"
    arguments = ["--only-predicted", "--metrics", "bleu_1", "--json", str(path)]
    run(files, *arguments, predictions=("few.json",))
    assert json.loads(path.read_text())["num_images"] == 2


@pytest.mark.slow
def test_metrics_skipped_because_of_a_missing_extra_are_reported(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPTUNE_SPICE_HOME", str(files))
    output = run(files, "--metrics", "all")
    assert "skipped: spice (to enable it: pip install 'captune[java]', or set CAPTUNE" in output
    assert "skipped" not in run(files, "--metrics", "bleu")


SAMPLES = {"1": ["a red dog", "a dog"], "2": ["two cats", "two cats"], "3": ["a bird", "birds"]}


def test_samples_add_their_metrics_to_the_table_and_files(files: Path) -> None:
    (files / "samples.json").write_text(json.dumps(SAMPLES))
    (files / "same.json").write_text(
        json.dumps({key: [own[0]] * 2 for key, own in SAMPLES.items()})
    )
    given = [part for n in ("same", "samples") for part in ("--samples", str(files / f"{n}.json"))]
    written = ["--json", str(files / "scores.json"), "--per-image", str(files / "rows.jsonl")]
    training = ["--training", str(files / "references.json")]
    arguments = [*given, *written, *training, "--metrics", "cider"]
    output = run(files, *arguments, predictions=("good.json", "poor.json"))
    assert "mbleu_4|variant:coco|reflen:closest|samples:2|tok:ptb-3.4.1" in output
    content = json.loads((files / "scores.json").read_text())
    names = ("cider", *METRIC_GROUPS["samples"])
    values = {name: content["systems"][name]["metrics"] for name in ("good", "poor")}
    values["constant"] = content["constant_caption"]["metrics"]
    assert all(tuple(own) == names for own in values.values())
    assert values["good"]["mbleu_1"] == pytest.approx(1.0, abs=1e-6)
    assert values["constant"]["mbleu_1"] == pytest.approx(1.0, abs=1e-6)
    assert values["poor"]["mbleu_1"] < 0.8
    assert content["paired"]["poor"]["self_cider"]["wins"] == 2
    row = json.loads((files / "rows.jsonl").read_text().splitlines()[0])
    assert set(row) == {"image_id", "predictions", *names}


def test_samples_of_images_without_a_prediction_are_skipped(files: Path) -> None:
    (files / "few.json").write_text(json.dumps({"1": "a dog", "2": "cats"}))
    (files / "samples.json").write_text(json.dumps(SAMPLES))
    arguments = ["--samples", str(files / "samples.json"), "--metrics", "mbleu"]
    assert "2 images" in run(files, *arguments, "--only-predicted", predictions=("few.json",))


def test_one_file_of_samples_for_two_of_predictions_is_an_error(files: Path) -> None:
    (files / "samples.json").write_text(json.dumps(SAMPLES))
    with pytest.raises(MetricError, match="1 file of samples for 2 of predictions") as caught:
        given = ("good.json", "poor.json")
        run(files, "--samples", str(files / "samples.json"), predictions=given)
    assert "in the same order" in caught.value.fix
    with pytest.raises(MetricError, match="mbleu_1 compares several captions of each image"):
        run(files, "--metrics", "mbleu")


def test_the_help_names_every_metric_and_group() -> None:
    named = set(re.findall(r"\w+", METRICS_HELP))
    assert named >= {*METRICS, *METRIC_GROUPS}


def test_no_image_in_common_is_an_error(files: Path) -> None:
    (files / "other.json").write_text('{"99": "a dog"}')
    with pytest.raises(MetricError, match="no image of the predictions is among") as caught:
        run(files, "--only-predicted", predictions=("other.json",))
    assert "has ids such as '99'" in caught.value.what
    assert "such as '1'" in caught.value.what


def test_an_unknown_metric_stops_before_any_file_is_read(files: Path) -> None:
    with pytest.raises(MetricError, match=r"'bleu4' \(did you mean 'bleu_4'\?\)\n.*: --metrics"):
        run(files, "--metrics", "bleu4", predictions=("none.json",))


def test_cached_references_give_the_same_scores(files: Path) -> None:
    arguments = ["--metrics", "bleu,rouge_l,cider", "--cache", str(files / "cache")]
    first, again = run(files, *arguments), run(files, *arguments)
    assert first == again == run(files, *arguments[:2])
    assert len(list((files / "cache").iterdir())) == 1


def test_given_document_frequencies_are_named_in_the_signature(files: Path) -> None:
    from captune.metrics import References

    References(REFERENCES).frequencies.save(files / "df.npz")
    arguments = ["--metrics", "cider", "--document-frequencies", str(files / "df.npz")]
    assert "df:df.npz" in run(files, *arguments)


DATA = REAL_DATA / "metrics"


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference values at {DATA}")
def test_the_scores_of_fakecap_equal_pycocoevalcaps_to_the_last_digit(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(score)
    command = [f"--{n}={DATA / f'fakecap_{n}.json'}" for n in ("references", "predictions")]
    file = tmp_path / "scores.json"
    output = CliRunner().invoke(app, [*command, "--json", str(file)]).output
    expected = {
        "bleu_4": 0.1908290437674253,
        "rouge_l": 0.39625269357570847,
        "cider": 0.5997905185184199,
        "meteor": 0.19525467177780284,
    }
    if "meteor" not in resolve_metrics(["default"]):
        del expected["meteor"]
    scores = json.loads(file.read_text())["metrics"]
    assert {name: scores[name] for name in expected} == expected
    shown = [line.split("[")[0].split() for line in output.splitlines()]
    for name, value in expected.items():
        assert [*metric_label(name).split(), f"{value:.3f}"] in shown


PATHS = {"photos/COCO_val2014_000000000001.jpg": "a red dog runs", "photos/2.JPG": "two cats sit"}


def test_files_are_not_overwritten_without_force(files: Path) -> None:
    for flag, name in (("--json", "scores.json"), ("--per-image", "rows.jsonl")):
        (files / name).write_text("mine")
        with pytest.raises(OutputError, match=f"{name} exists already"):
            run(files, "--metrics", "bleu_1", flag, str(files / name), predictions=("none.json",))
        assert (files / name).read_text() == "mine"
        run(files, "--metrics", "bleu_1", flag, str(files / name), "--force")
        assert "bleu_1" in (files / name).read_text()


def test_a_file_that_is_read_is_not_overwritten_even_with_force(files: Path) -> None:
    for flag in ("--json", "--per-image"):
        before = (files / "references.json").read_text()
        with pytest.raises(OutputError, match="is read by this command"):
            run(files, "--metrics", "bleu_1", flag, str(files / "references.json"), "--force")
        assert (files / "references.json").read_text() == before
        (files / "objects.json").write_text("mine")
        for given in ("--objects", "--object-words", "--document-frequencies"):
            named = [given, str(files / "objects.json"), flag, str(files / "objects.json")]
            with pytest.raises(OutputError, match="is read by this command"):
                run(files, "--metrics", "bleu_1", *named, "--force")


def test_a_file_is_not_written_over_a_folder(files: Path) -> None:
    # Before any work: the predictions do not exist.
    with pytest.raises(OutputError, match="is a folder"):
        run(files, "--json", str(files), "--force", predictions=("none.json",))


def test_one_file_for_two_outputs_is_refused(files: Path) -> None:
    place = str(files / "out.json")
    with pytest.raises(OutputError, match="two options name"):
        run(files, "--metrics", "bleu_1", "--json", place, "--per-image", place)


def test_ids_that_are_paths_are_matched_to_the_ids_of_the_references(files: Path) -> None:
    (files / "paths.json").write_text(json.dumps(PATHS | {"c/3.png": "a bird sings"}))
    path = files / "scores.json"
    output = run(files, "--json", str(path), "--metrics", "bleu_1", predictions=("paths.json",))
    assert "3 image ids are matched to those of the references by the number at the end" in output
    assert json.loads(path.read_text())["metrics"]["bleu_1"] == 0.8999999998200003


def test_only_predicted_matches_ids_that_are_paths_too(files: Path) -> None:
    (files / "paths.json").write_text(json.dumps(PATHS))
    output = run(files, "--only-predicted", "--metrics", "bleu_1", predictions=("paths.json",))
    assert "2 image ids are matched" in output
    assert "2 images; in brackets" in output


def test_samples_are_matched_like_their_predictions(files: Path) -> None:
    samples = {key: [caption, "a dog"] for key, caption in PATHS.items()}
    (files / "paths.json").write_text(json.dumps(PATHS))
    (files / "samples.json").write_text(json.dumps(samples))
    arguments = ["--samples", str(files / "samples.json"), "--metrics", "div_1"]
    assert "div_1" in run(files, *arguments, "--only-predicted", predictions=("paths.json",))


def test_references_written_as_python_lists_are_read_as_lists(files: Path) -> None:
    texts = {key: str(captions) for key, captions in REFERENCES.items()}
    expected = run(files, "--metrics", "bleu,cider")
    (files / "references.json").write_text(json.dumps(texts))
    note, _, rest = run(files, "--metrics", "bleu,cider").partition("\n")
    assert note.startswith("note: 3 texts in ")
    assert note.endswith("read as Python lists")
    assert rest == expected


def test_characters_are_scored_on_request_and_the_signature_shows_it(files: Path) -> None:
    (files / "references.json").write_text(json.dumps({"1": ["一只狗在跑"], "2": ["两只猫"]}))
    (files / "zh.json").write_text(json.dumps({"1": "一只狗跑", "2": "两只猫"}))
    output = run(files, "--metrics", "bleu_1", "--tokenize", "char", predictions=("zh.json",))
    # Seven of seven characters are right, and the reference has eight: exp(1 - 8 / 7).
    assert ["BLEU-1", "0.867"] in [line.split() for line in output.splitlines()]
    assert "bleu_1|variant:coco|reflen:closest|tok:char|" in output


def test_three_files_are_tested_pair_by_pair(files: Path) -> None:
    (files / "third.json").write_text(json.dumps(dict.fromkeys("123", "two cats sit")))
    path = files / "scores.json"
    given = ("poor.json", "good.json", "third.json")
    output = run(files, "--metrics", "rouge_l", "--json", str(path), predictions=given)
    rows = [line.split()[:2] for line in output.splitlines()]
    assert ["good", "poor"] in rows
    assert ["third", "poor"] in rows
    assert ["third", "good"] in rows
    assert "not corrected for 3 pairs" in output
    content = json.loads(path.read_text())
    pairs = {"good_vs_poor", "third_vs_poor", "third_vs_good"}
    assert set(content["paired"]) == {*pairs, "good", "third"}


def test_names_of_files_are_printed_unchanged(files: Path) -> None:
    (files / "run_tty.json").write_text(json.dumps(GOOD))
    assert "run_tty" in run(files, "--metrics", "bleu_1", predictions=("run_tty.json",))


def test_every_file_of_scores_has_the_same_shape(files: Path) -> None:
    path = files / "scores.json"
    run(files, "--metrics", "bleu_1", "--json", str(path))
    one = json.loads(path.read_text())
    assert one["schema"] == 1
    assert list(one["systems"]) == ["good"]
    assert one["systems"]["good"]["metrics"] == one["metrics"]
    assert one["paired"] == {}
    given = ("good.json", "poor.json")
    run(files, "--metrics", "bleu_1", "--json", str(path), "--force", predictions=given)
    several = json.loads(path.read_text())
    assert {"schema", "systems", "paired", "num_images"} <= set(several)
    test = several["paired"]["poor_vs_good"]["bleu_1"]
    assert set(test) == {"delta", "interval", "p_value", "wins", "ties", "losses"}
    assert several["paired"]["poor"]["bleu_1"]["low"] == test["interval"][0]

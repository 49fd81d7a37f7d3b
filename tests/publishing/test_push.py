"""Pushing a run: what is uploaded, what is not, and what each refusal explains."""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from safetensors import safe_open

from captune.cli import main
from captune.errors import ModelError, OutputError
from captune.publishing import push_run
from support.hub.repos import INVALID, READER, HubServer, Repo

MODEL_FILES = (
    *("README.md", "config.json", "generation_config.json", "model.safetensors"),
    *("preprocessor_config.json", "processor_config.json"),
    *("tokenizer.json", "tokenizer_config.json"),
)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def push(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["push", *map(str, words)])
    return int(caught.value.code or 0)


def test_a_run_is_pushed_in_one_commit_with_all_its_files(hub: HubServer, run: Path) -> None:
    pushed = push_run(run, "me/mine", private=True)
    repo = hub.repos["models/me/mine"]
    assert repo.private
    assert repo.messages == ["initial commit", "Push mine with captune"]
    assert pushed.commit == repo.head
    assert set(repo.files) == {
        *(".gitattributes", *MODEL_FILES, "recipe.yaml"),
        *("scores.json", "plots/loss.png", "plots/captions.png", "plots/samples.png"),
        *("plots/before_after.png", "examples/1.jpg", "examples/2.jpg", "examples/3.jpg"),
    }
    assert repo.files["model.safetensors"] == (run / "model/model.safetensors").read_bytes()


def test_the_card_names_its_repository_and_shows_examples_and_plots(
    hub: HubServer, run: Path
) -> None:
    push_run(run, "me/mine")
    card = ModelCard(hub.repos["models/me/mine"].files["README.md"].decode())
    # Image 0 has no caption and image 1 is gone.
    assert [(e["src"], e["output"]["text"]) for e in card.data.widget] == [
        ("examples/1.jpg", "caption 2"),
        ("examples/2.jpg", "caption 3"),
        ("examples/3.jpg", "caption 4"),
    ]
    assert 'captune.load("me/mine")' in card.text
    assert "![loss](plots/loss.png)" in card.text
    assert "gone" not in card.text
    assert "../" not in card.text


def test_local_paths_are_not_pushed(hub: HubServer, run: Path) -> None:
    push_run(run, "me/mine")
    files = hub.repos["models/me/mine"].files
    assert yaml.safe_load(files["recipe.yaml"])["data"]["path"] == "secret-project"
    assert not [name for name, content in files.items() if str(run.parent).encode() in content]


@pytest.mark.parametrize(
    ("broken", "what"),
    [('{"image_id": "1"', "damaged, not JSON"), ('{"image_id": "1"}', "not a prediction")],
)
def test_a_broken_line_of_predictions_is_named_and_nothing_is_pushed(
    broken: str, what: str, hub: HubServer, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = run / "predictions" / "after.jsonl"
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join([lines[0], broken, *lines[2:]]))
    assert push(run, "me/mine") == 2
    error = capsys.readouterr().err
    assert what in error
    assert f"{predictions}, line 2" in error
    assert "models/me/mine" not in hub.repos


def test_images_of_the_data_are_not_pushed_on_request(hub: HubServer, run: Path) -> None:
    push_run(run, "me/mine", with_images=False)
    files = hub.repos["models/me/mine"].files
    assert {name for name in files if name.endswith((".png", ".jpg"))} == {
        "plots/loss.png",
        "plots/before_after.png",
    }
    card = files["README.md"].decode()
    assert "captions.png" not in card
    assert "widget" not in card


def test_a_push_without_images_removes_those_of_an_earlier_push(hub: HubServer, run: Path) -> None:
    push_run(run, "me/mine")
    push_run(run, "me/mine", with_images=False)
    files = hub.repos["models/me/mine"].files
    assert not [name for name in files if name.startswith("examples/")]
    assert {name for name in files if name.startswith("plots/")} == {
        "plots/loss.png",
        "plots/before_after.png",
    }


def test_a_push_changes_nothing_local(hub: HubServer, run: Path) -> None:
    before = digests(run)
    push_run(run, "me/mine")
    assert digests(run) == before


def test_a_second_push_sends_only_what_changed(hub: HubServer, run: Path) -> None:
    first = push_run(run, "me/mine").commit
    hub.requests.clear()
    assert push_run(run, "me/mine").commit == first
    assert hub.asked("^PUT") == []
    (run / "scores.json").write_text('{"new": 1}')
    assert push_run(run, "me/mine").commit != first
    assert hub.asked("^PUT") == []


def test_weights_of_an_earlier_model_are_removed(hub: HubServer, run: Path) -> None:
    push_run(run, "me/mine")
    weights = run / "model" / "model.safetensors"
    shard = "model-00001-of-00001.safetensors"
    with safe_open(weights, "pt") as file:
        index = {"metadata": {}, "weight_map": dict.fromkeys(file.keys(), shard)}
    (run / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    weights.rename(weights.with_name(shard))
    push_run(run, "me/mine")
    found = [name for name in hub.repos["models/me/mine"].files if "safetensors" in name]
    assert sorted(found) == [shard, "model.safetensors.index.json"]


def test_an_interrupted_push_changes_neither_side_and_can_be_repeated(
    hub: HubServer, run: Path
) -> None:
    before = digests(run)
    hub.refusals.append(("^POST .*/commit/", 400))
    with pytest.raises(OutputError) as caught:
        push_run(run, "me/mine")
    assert "cannot push to me/mine: " in caught.value.what
    assert "run the same command to try again" in caught.value.fix
    assert digests(run) == before
    assert set(hub.repos["models/me/mine"].files) == {".gitattributes"}
    hub.refusals.clear()
    hub.requests.clear()
    push_run(run, "me/mine")
    assert "model.safetensors" in hub.repos["models/me/mine"].files
    # The weights arrived the first time.
    assert hub.asked("^PUT") == []


@pytest.mark.parametrize(
    ("token", "what", "fix"),
    [
        (None, "you are not logged in to the hub", "with the role `write`"),
        (INVALID, "the hub does not accept your token (from HF_TOKEN)", "create a new one at"),
        (READER, "your token (from HF_TOKEN) may not write to me/mine", "with the role `write`"),
    ],
)
def test_an_invalid_token_is_explained(
    hub: HubServer,
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    what: str,
    fix: str,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(OutputError) as caught:
        push_run(run, "me/mine")
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert "hf auth login" in caught.value.fix
    assert hub.repos == {}


def test_an_owner_without_permission_is_explained(hub: HubServer, run: Path) -> None:
    with pytest.raises(OutputError) as caught:
        push_run(run, "stranger/mine")
    assert 'namespace "stranger"' in caught.value.what


def test_a_hub_that_is_down_is_named(
    hub: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OutputError) as caught:
        push_run(run, "me/mine")
    assert "the hub at http://127.0.0.1:9 does not answer" in caught.value.what


@pytest.mark.parametrize("proxy", ["nope://host", "::", "socks5://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_named(
    hub: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    from huggingface_hub import close_session

    if proxy.startswith("socks") and find_spec("socksio"):
        pytest.skip("SOCKS proxies can be used")
    monkeypatch.setenv("ALL_PROXY", proxy)
    close_session()
    with pytest.raises(OutputError) as caught:
        push_run(run, "me/mine")
    assert "the proxy of the environment cannot be used" in caught.value.what
    assert "unset ALL_PROXY" in caught.value.fix


def test_private_weights_are_not_pushed_to_a_public_repository(hub: HubServer, run: Path) -> None:
    hub.repos["models/me/mine"] = Repo()
    hub.repos["models/me/mine"].commit({"README.md": b"old"})
    with pytest.raises(OutputError, match="me/mine is already public"):
        push_run(run, "me/mine", private=True)
    assert hub.repos["models/me/mine"].files == {"README.md": b"old"}


def test_a_folder_without_a_model_creates_no_repository(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no config"):
        push_run(tmp_path, "me/mine")
    assert hub.requests == []


def test_a_model_whose_tokenizer_is_a_broken_link_is_not_pushed_without_it(
    hub: HubServer, run: Path
) -> None:
    (run / "model" / "tokenizer.json").unlink()
    (run / "model" / "tokenizer.json").symlink_to("nowhere")
    with pytest.raises(ModelError, match=r"tokenizer\.json' is a link that leads nowhere"):
        push_run(run, "me/mine")
    assert hub.requests == []


def test_a_model_folder_is_pushed_without_run_files(hub: HubServer, run: Path) -> None:
    push_run(run / "model", "me/mine")
    assert set(hub.repos["models/me/mine"].files) == {
        *(".gitattributes", *MODEL_FILES),
    }


def test_the_places_of_a_card_get_images_with_their_captions_and_plots(
    hub: HubServer, run: Path
) -> None:
    place = run / "model" / "README.md"
    place.write_text(
        "---\nlicense: mit\n---\n\n<!-- captune: examples -->\n\n<!-- captune: plots -->\n"
    )
    pushed = push_run(run, "me/mine")
    card = hub.repos["models/me/mine"].files["README.md"].decode()
    assert pushed.has_license
    assert card.split("\n\n", 1)[1].strip().split("\n") == [
        "| image | this model | a human |",
        "|---|---|---|",
        "| ![Example 1](examples/1.jpg) | caption 2 | a |",
        "| ![Example 2](examples/2.jpg) | caption 3 | a |",
        "| ![Example 3](examples/3.jpg) | caption 4 | a |",
        "",
        "## Plots",
        "",
        "![before after](plots/before_after.png)",
        "![captions](plots/captions.png)",
        "![loss](plots/loss.png)",
        "![samples](plots/samples.png)",
    ]


def test_without_images_the_places_of_a_card_show_no_photographs(hub: HubServer, run: Path) -> None:
    place = run / "model" / "README.md"
    place.write_text("<!-- captune: examples -->\n\n<!-- captune: plots -->\n")
    pushed = push_run(run, "me/mine", with_images=False)
    card = hub.repos["models/me/mine"].files["README.md"].decode()
    assert not pushed.has_license
    assert card.strip().split("\n") == [
        "## Plots",
        "",
        "![before after](plots/before_after.png)",
        "![loss](plots/loss.png)",
    ]


def test_a_model_without_a_card_gets_a_bare_one(hub: HubServer, run: Path) -> None:
    (run / "model" / "README.md").unlink()
    push_run(run / "model", "me/mine")
    card = ModelCard(hub.repos["models/me/mine"].files["README.md"].decode())
    assert "It has not been evaluated yet" in card.text
    assert 'captune.load("me/mine")' in card.text


def test_the_command_prints_the_address_of_the_push(hub: HubServer, run: Path, capsys) -> None:
    assert push(run, "mine", "--private") == 0
    printed = capsys.readouterr().out
    assert f"{hub.url}/me/mine (private)" in printed
    assert "captune caption me/mine PHOTO.jpg" in printed


def test_the_command_explains_a_name_that_the_hub_refuses(
    hub: HubServer, run: Path, capsys
) -> None:
    assert push(run, "me/mi ne") == 2
    assert "cannot push to me/mi ne" in capsys.readouterr().err


def test_a_card_that_is_not_utf_8_is_refused_before_a_repository_is_created(
    hub: HubServer, run: Path
) -> None:
    (run / "model" / "README.md").write_bytes("# Modèle".encode("latin-1"))
    with pytest.raises(ModelError, match="not UTF-8") as caught:
        push_run(run, "me/mine")
    assert str(run / "model" / "README.md") in caught.value.where
    assert hub.repos == {}


@pytest.mark.parametrize("yaml_lines", ["- a list", "just words", "a: [1"])
def test_a_card_whose_metadata_is_not_a_mapping_is_refused(
    hub: HubServer, run: Path, yaml_lines: str
) -> None:
    (run / "model" / "README.md").write_text(f"---\n{yaml_lines}\n---\n\n# mine\n")
    with pytest.raises(ModelError, match="the metadata of"):
        push_run(run, "me/mine")
    assert hub.repos == {}


def test_a_card_with_a_byte_order_mark_keeps_its_metadata(hub: HubServer, run: Path) -> None:
    place = run / "model" / "README.md"
    place.write_text(place.read_text(), encoding="utf-8-sig")
    push_run(run, "me/mine")
    card = ModelCard(hub.repos["models/me/mine"].files["README.md"].decode())
    assert card.data.tags == ["captune"]
    assert len(card.data.widget) == 3

"""Chats of other trainers, and JSON objects whose keys name images, are read as captions."""

from __future__ import annotations

import base64
import json

import pytest

from captune.data import LoadOptions, load_records
from captune.errors import DataError


@pytest.fixture
def folder(tmp_path, draw_image):
    for name in ("1.png", "2.png"):
        draw_image(tmp_path / name)
    return tmp_path


def captions_of(data):
    return {record.file_name: record.captions for record in data.records}


def llava(name, *answers):
    turns = [{"from": "human", "value": "<image>\nDescribe it."}]
    return {"image": name, "conversations": turns + [{"from": "gpt", "value": a} for a in answers]}


def openai(name, answer):
    shown = {"type": "image_url", "image_url": {"url": name}}
    asked = {"role": "user", "content": [{"type": "text", "text": "Describe it."}, shown]}
    return {"messages": [asked, {"role": "assistant", "content": answer}]}


def unsloth(name, answer):
    asked = [{"type": "text", "text": "Describe it."}, {"type": "image", "image": name}]
    told = [{"type": "text", "text": answer}]
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
    return {"messages": turns}


def llama_factory(name, answer):
    return {"instruction": "<image>Describe it.", "input": "", "output": answer, "images": [name]}


def ms_swift(name, answer):
    return {"query": "Describe it.", "response": answer, "images": [name]}


@pytest.mark.parametrize("form", [llava, openai, unsloth, llama_factory, ms_swift])
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_a_chat_about_one_image_has_its_answer_as_the_caption(folder, form, ending):
    records = [form("1.png", "a dog"), form("2.png", "a cat")]
    text = json.dumps(records) if ending == "json" else "\n".join(map(json.dumps, records))
    (folder / f"data.{ending}").write_text(text)
    assert captions_of(load_records(folder)) == {"1.png": ("a dog",), "2.png": ("a cat",)}


def test_chats_with_several_answers_or_images_are_listed_and_not_guessed(folder):
    two = {**ms_swift("1.png", "two pictures"), "images": ["1.png", "2.png"]}
    records = [llava("1.png", "a dog", "It is brown."), two, llava("2.png", "a cat")]
    reasons = []
    for number, record in enumerate(records[:2]):
        (folder / "data.json").write_text(json.dumps([record, records[-1]]))
        data = load_records(folder)
        assert captions_of(data) == {"2.png": ("a cat",)}
        reasons += [(number, image.reason, image.detail) for image in data.skipped]
    assert reasons == [
        (0, "ambiguous", "a chat with 2 answers, not one caption"),
        (1, "ambiguous", "a chat about 2 images, not about one"),
    ]


def test_an_image_inside_a_chat_is_read(folder):
    content = base64.b64encode((folder / "1.png").read_bytes()).decode()
    record = openai(f"data:image/png;base64,{content}", "a dog")
    (folder / "data.jsonl").write_text(json.dumps(record))
    (found,) = load_records(folder).records
    assert found.captions == ("a dog",)
    assert found.image == (folder / "1.png").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        {"1.png": "a dog", "2.png": ["a cat", "one cat"]},
        # The files of sd-scripts: names without endings, and tags beside the caption.
        {"1": {"caption": "a dog", "tags": "1dog"}, "2": {"caption": ["a cat", "one cat"]}},
    ],
)
@pytest.mark.parametrize("name", ["captions.json", "meta_cap.json"])
def test_one_object_for_all_images_is_read(folder, content, name):
    (folder / name).write_text(json.dumps(content))
    data = load_records(folder)
    assert [record.captions for record in data.records] == [("a dog",), ("a cat", "one cat")]
    assert load_records(folder / name).records == data.records


def test_other_json_objects_are_no_data_sets(folder):
    (folder / "config.json").write_text('{"name": "1.jpg", "version": "2"}')
    with pytest.raises(DataError, match="no known data set format"):
        load_records(folder)


def test_an_object_without_captions_is_an_error_that_lists_its_keys(folder):
    (folder / "meta_tag.json").write_text('{"1": {"tags": "1dog, grass"}}')
    with pytest.raises(DataError, match="no caption column; the columns are: tags, image"):
        load_records(folder / "meta_tag.json", LoadOptions(format="jsonl"))
    data = load_records(folder, LoadOptions(caption_column="tags"))
    assert captions_of(data) == {"1": ("1dog, grass",)}

"""A served caption equals the library's under any mix of requests."""

from __future__ import annotations

import asyncio
import base64
import json
import random

import pytest

import captune
from captune.data import make_shapes
from captune.export import ExportOptions, export_model
from support.models.tiny_models import build
from support.serving.live_server import live_server
from support.serving.pictures import picture, png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_WAYS = (
    {"num_beams": 1, "max_new_tokens": 6, "min_new_tokens": 3},
    {"num_beams": 3, "max_new_tokens": 6, "min_new_tokens": 3},
    {"do_sample": True, "num_beams": 1, "seed": 3, "max_new_tokens": 6, "min_new_tokens": 3},
    {
        "do_sample": True,
        "num_beams": 1,
        "seed": 4,
        "temperature": 1.3,
        "max_new_tokens": 6,
        "min_new_tokens": 3,
    },
    {"num_beams": 2, "prompt": "a", "max_new_tokens": 5, "min_new_tokens": 3},
)
_NUM_IMAGES = 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    build("blip-tiny", spread=2.5).save(folder / "blip")
    export_model(
        str(folder / "blip"),
        folder / "exported",
        options=ExportOptions("openvino", min_equal=0.9),
        records=make_shapes(12),
        say=lambda _: None,
    )
    return folder


@pytest.fixture(scope="module")
def server(folders):
    """A server of both models, one run by torch and one by OpenVINO."""
    # In half precision a caption may depend on its batch, in the library too.
    flags = ("--backend", "auto", "--device", "cpu", "--precision", "fp32", "--warmup")
    models = [folders / "blip", folders / "exported"]
    with live_server(
        folders / "served", models, *flags, CAPTUNE_CACHE=str(folders / "cache")
    ) as running:
        yield running


def _served(server, model: str) -> dict[tuple[int, int], dict]:
    """Ask for every image in every way, at once and in a random order."""
    asked = [(image, way) for image in range(_NUM_IMAGES) for way in range(len(_WAYS))] * 2
    random.Random(5).shuffle(asked)

    async def run():
        async with server.asynchronous() as client:
            gate = asyncio.Semaphore(24)

            async def ask(image: int, way: int):
                query = {"generate": json.dumps(_WAYS[way]), "model": model}
                headers = {"content-type": "image/png"}
                async with gate:
                    answer = await client.post(
                        "/v1/caption", content=png(image, side=40), headers=headers, params=query
                    )
                return (image, way), answer.json()["results"][0]

            return await asyncio.gather(*(ask(*one) for one in asked))

    found: dict[tuple[int, int], dict] = {}
    for key, result in asyncio.run(run()):
        assert found.setdefault(key, result).get("caption") == result.get("caption")
    return found


@pytest.mark.parametrize("model", ["blip", "exported"])
def test_a_served_caption_equals_that_of_the_library(folders, server, model):
    library = captune.load(folders / model, device="cpu", precision="fp32")
    name = f'captune_batch_images_count{{model="{model}"}}'
    before = server.metric(name)
    served = _served(server, model)
    sizes = server.metric(name) - before
    assert sum("caption" in result for result in served.values()) > 0.8 * len(served)
    assert 0 < sizes < 2 * _NUM_IMAGES * len(_WAYS)
    for way, settings in enumerate(_WAYS):
        for image in range(_NUM_IMAGES):
            (expected,) = library.caption([picture(image, side=40)], decode="inline", **settings)
            found = served[image, way]
            if not expected.caption.strip():
                assert found["error"]["code"] == "empty_caption"
                continue
            assert found["caption"] == expected.caption, (settings, image)
            assert found["mean_logprob"] == pytest.approx(expected.mean_logprob, abs=1e-4)
            assert found["finish_reason"] == expected.finish_reason
            assert found["flags"] == list(expected.flags)


@pytest.mark.parametrize("model", ["blip", "exported"])
def test_a_streamed_caption_equals_that_of_the_library(folders, server, model):
    library = captune.load(folders / model, device="cpu", precision="fp32")
    num_pieces = 0
    for way, settings in enumerate(_WAYS):
        for image in range(4):
            (expected,) = library.caption([picture(image, side=40)], decode="inline", **settings)
            pieces = _streamed(server, png(image, side=40), settings, model=model)
            if pieces is None:
                assert not expected.caption.strip()
                continue
            assert "".join(pieces) == expected.caption, (way, image)
            num_pieces += len(pieces)
    assert num_pieces > 20


def _streamed(server, content: bytes, settings: dict, *, model: str) -> list[str] | None:
    """Return the pieces of a caption; `None`: it is empty."""
    url = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    image = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [image]}]
    body = {"model": model, "messages": messages, "stream": True, "generate": settings}
    with server.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    if answer.status_code == 422:
        assert answer.json()["error"]["code"] == "empty_caption"
        return None
    *events, done = [line.removeprefix("data: ") for line in answer.text.split("\n") if line]
    assert done == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    return [delta["content"] for delta in deltas if delta.get("content")]


def test_a_prompt_too_long_for_any_caption_is_a_client_error(server):
    with server.client() as client:
        query = {"generate": json.dumps({"prompt": "a," * 500}), "model": "blip"}
        answer = client.post(
            "/v1/caption", content=png(1), headers={"content-type": "image/png"}, params=query
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "prompt_too_long")


def test_a_server_of_torch_and_exported_models_serves_both(server):
    # Models with random weights may end a caption at once.
    generate = json.dumps(_WAYS[0] | {"prompt": "a"})
    texts = set()
    with server.client() as client:
        for model in ("blip", "exported"):
            answer = client.post(
                "/v1/caption",
                content=png(1, side=40),
                headers={"content-type": "image/png"},
                params={"model": model, "generate": generate},
            )
            assert answer.status_code == 200, answer.text
            texts.add(answer.json()["results"][0]["caption"])
        runs = {one["id"]: one for one in client.get("/v1/models").json()["data"]}
    assert len(texts) == 1
    assert set(runs) == {"blip", "exported"}

"""The OpenAPI file, and the answers to random requests and images: never a status 5xx."""

from __future__ import annotations

import json
import warnings

import hypothesis
import pytest
from hypothesis import strategies

from support.serving.pictures import encoded, picture, png
from support.soak import count, soak

pytestmark = pytest.mark.filterwarnings("ignore")

_RAW = {"content-type": "application/octet-stream"}


def _schema(server) -> dict:
    with server.client() as client:
        return client.get("/openapi.json").json()


def _bodies(schema: dict):
    for path, methods in schema["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        body = content.get("application/json", {})
        examples = [one["value"] for one in body.get("examples", {}).values()]
        examples += [body["example"]] if "example" in body else []
        for example in examples:
            yield path, body["schema"], example


@pytest.mark.slow
def test_every_example_fits_its_schema_and_gets_a_caption(server):
    import jsonschema

    found = list(_bodies(_schema(server)))
    assert len(found) >= 3
    with server.client() as client:
        for path, schema, example in found:
            jsonschema.validate(example, schema)
            assert client.post(path, json=example).status_code == 200, path


def test_the_limits_of_the_schema_are_those_of_the_server(server):
    from captune.serving.settings import RequestLimits

    limits = RequestLimits()
    paths = _schema(server)["paths"]
    body = paths["/v1/caption"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    settings = body["properties"]["generate"]["properties"]
    assert body["properties"]["images"]["maxItems"] == limits.images
    assert body["properties"]["num_captions"]["maximum"] == limits.captions
    assert settings["num_beams"]["maximum"] == limits.beams
    assert settings["max_new_tokens"]["maximum"] == limits.new_tokens
    assert settings["prompt"]["maxLength"] == limits.prompt_characters


def _walk_with_schemathesis(server, num_examples: int) -> None:
    import schemathesis
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    checks = [
        schemathesis.checks.not_a_server_error,
        response_schema_conformance,
        status_code_conformance,
        content_type_conformance,
    ]
    for found in schema.get_all_operations():
        operation = found.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=num_examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def ask(case):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                case.call_and_validate(base_url=server.url, checks=checks)

        ask()


@pytest.mark.slow
@soak
def test_random_requests_never_get_status_5xx(server):
    _walk_with_schemathesis(server, count(15, full=1000))


@soak
@pytest.mark.slow
def test_many_random_requests_never_get_status_5xx(server):
    _walk_with_schemathesis(server, count(60, full=1000))


_IMAGES = [
    png(1, side=32),
    encoded(picture(2, side=48), "JPEG"),
    encoded(picture(3, side=32), "GIF"),
    encoded(picture(4, side=32), "WEBP"),
    encoded(picture(5, side=32), "TIFF"),
    encoded(picture(6, side=32), "BMP"),
]


@strategies.composite
def _damaged(draw) -> bytes:
    """Draw an image file with some bytes changed, cut or added."""
    content = bytearray(draw(strategies.sampled_from(_IMAGES)))
    for _ in range(draw(strategies.integers(0, 8))):
        content[draw(strategies.integers(0, len(content) - 1))] = draw(strategies.integers(0, 255))
    end = draw(strategies.integers(0, len(content)))
    return bytes(content[: end or None]) + draw(strategies.binary(max_size=20))


@soak
def test_damaged_images_get_a_caption_or_a_client_error(server):
    with server.client() as client:

        @hypothesis.given(content=strategies.one_of(_damaged(), strategies.binary(max_size=400)))
        @hypothesis.settings(max_examples=count(150, full=20_000), deadline=None, database=None)
        def ask(content):
            answer = client.post("/v1/caption", content=content, headers=_RAW)
            assert answer.status_code < 500, answer.text
            assert "error" in answer.json()["results"][0] or answer.status_code == 200

        ask()


_VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.floats(allow_nan=False)
    | strategies.integers()
    | strategies.text(max_size=20),
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(strategies.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
_KEYS = (
    *("model", "images", "num_captions", "generate", "messages", "n", "stream", "temperature"),
    *("stop", "response_format", "tool_choice", "max_tokens", "stream_options"),
)


@pytest.mark.slow
@soak
def test_any_json_gets_a_client_error(server):
    with server.client() as client:

        @hypothesis.given(
            body=_VALUES | strategies.dictionaries(strategies.sampled_from(_KEYS), _VALUES),
            path=strategies.sampled_from(["/v1/caption", "/v1/chat/completions"]),
        )
        @hypothesis.settings(max_examples=count(150, full=20_000), deadline=None, database=None)
        def ask(body, path):
            content = json.dumps(body).encode()
            answer = client.post(
                path, content=content, headers={"content-type": "application/json"}
            )
            assert 400 <= answer.status_code < 500, answer.text

        ask()

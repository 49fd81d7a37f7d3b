"""What the server answers to good and bad images, in every form of request."""

from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest
from PIL import Image

from captune.recipe import GenerateConfig
from captune.serving.api.answering import alternative_configs
from captune.serving.api.calls import CaptionCall
from support.bombs import encode
from support.bulk.stub_captioner import caption_of, poison
from support.serving.pictures import encoded, picture, png, stub_caption


def _data(content: bytes) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode()}


def _send(server, content: bytes, **query):
    headers = {"content-type": "application/octet-stream"}
    with server.client() as client:
        return client.post("/v1/caption", content=content, headers=headers, params=query)


def _result(answer) -> dict:
    return answer.json()["results"][0]


@pytest.mark.slow
def test_a_raw_image_gets_its_caption(server):
    answer = _send(server, png(1))
    assert answer.status_code == 200
    assert answer.json() == {
        "schema": 1,
        "model": "stub",
        "results": [
            {
                "caption": stub_caption(1),
                "mean_logprob": -0.5,
                "alternatives": [],
                "finish_reason": "eos",
                "flags": [],
            }
        ],
    }
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_json_and_multipart_get_a_result_per_image_in_order(server):
    contents = [png(n) for n in range(5)]
    expected = [stub_caption(n) for n in range(5)]
    with server.client() as client:
        as_json = client.post("/v1/caption", json={"images": [_data(c) for c in contents]})
        files = [("images", (f"{n}.png", c)) for n, c in enumerate(contents)]
        as_form = client.post("/v1/caption", files=files)
    for answer in (as_json, as_form):
        assert [one["caption"] for one in answer.json()["results"]] == expected


def test_alternatives_are_sampled_with_a_seed_each(server):
    with server.client() as client:
        body = {"images": [_data(png(2))], "num_captions": 3}
        result = _result(client.post("/v1/caption", json=body))
        sampled = {**body, "generate": {"do_sample": True, "seed": 7}}
        other = _result(client.post("/v1/caption", json=sampled))
    text = stub_caption(2)
    assert result["caption"] == text
    assert [a["caption"] for a in result["alternatives"]] == [f"{text} of seed {n}" for n in (1, 2)]
    assert other["caption"] == f"{text} of seed 7"
    assert [a["caption"] for a in other["alternatives"]] == [f"{text} of seed {n}" for n in (8, 9)]


def test_alternatives_keep_the_settings_that_hold_for_samples_too():
    asked = {"num_beams": 3, "min_new_tokens": 4, "repetition_penalty": 1.5, "temperature": 0.6}
    first = GenerateConfig.model_validate(asked)
    (other,) = alternative_configs(first, CaptionCall(None, (b"",), 2, asked))
    assert other == GenerateConfig.model_validate(
        {**asked, "num_beams": 1, "do_sample": True, "top_p": 0.9, "seed": 1}
    )
    (other,) = alternative_configs(first, CaptionCall(None, (b"",), 2, {"top_p": 0.5}))
    assert other.top_p == first.top_p


def test_a_bad_image_fails_alone(server):
    images = [_data(png(1)), _data(b"<html>"), _data(png(3)), _data(b"")]
    with server.client() as client:
        answer = client.post("/v1/caption", json={"images": images})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [r.get("caption") for r in results] == [stub_caption(1), None, stub_caption(3), None]
    assert [r["error"]["code"] for r in results if "error" in r] == [
        "image_unsupported",
        "image_corrupt",
    ]


def _png_of_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


def _text_bomb() -> bytes:
    chunk = b"zTXt" + b"k\0\0" + zlib.compress(b"a" * 70_000_000, 9)
    piece = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content = png()
    return content[:33] + piece + content[33:]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        pytest.param(lambda: b"", 400, "image_corrupt", id="no bytes"),
        pytest.param(lambda: b"<!doctype html><h1>404", 415, "image_unsupported", id="html"),
        pytest.param(
            lambda: encoded(picture(1, side=200), "JPEG")[:4000], 400, "image_corrupt", id="cut"
        ),
        pytest.param(lambda: _png_of_header(9000, 9000), 413, "image_too_large", id="81 Mpx"),
        pytest.param(lambda: _png_of_header(14000, 14000), 413, "image_too_large", id="196 Mpx"),
        pytest.param(_text_bomb, 400, "image_corrupt", id="zTXt bomb"),
        pytest.param(
            lambda: (
                b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
                b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script>&x;</svg>"
            ),
            415,
            "image_unsupported",
            id="svg",
        ),
        pytest.param(
            lambda: b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(200),
            415,
            "image_unsupported",
            id="heic",
        ),
        pytest.param(
            lambda: encode(Image.new("RGB", (20_000, 10)), "PNG"), 400, "image_corrupt", id="narrow"
        ),
    ],
)
def test_an_image_that_cannot_be_used_has_a_status_and_a_code(server, content, status, code):
    answer = _send(server, content())
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert _result(answer)["error"]["code"] == code


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_an_image_of_any_mode_gets_a_caption(server, mode):
    image = Image.new("L", (16, 16), 80).convert("I") if mode == "I;16" else picture(3)
    format = "TIFF" if mode == "CMYK" else "PNG"
    assert _send(server, encoded(image.convert(mode), format)).status_code == 200


def test_a_rotated_photograph_gets_the_caption_of_the_upright_one(server):
    image = picture(4, side=40).crop((0, 0, 40, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = image.transpose(Image.Transpose.ROTATE_90)
    answer = _send(server, encoded(turned, "PNG", exif=exif))
    assert _result(answer)["caption"] == caption_of(image)


def test_only_the_first_frame_of_an_animation_is_captioned(server):
    frames = [picture(n) for n in range(50)]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    result = _result(_send(server, content))
    assert (result["caption"], result["flags"]) == (stub_caption(0), ["animated"])


def test_damaged_metadata_does_not_matter(server):
    content = encoded(
        picture(5, side=64), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", quality=95
    )
    assert _send(server, content).status_code == 200


def test_one_pixel_gets_a_caption(server):
    assert _send(server, encoded(Image.new("RGB", (1, 1), "navy"))).status_code == 200


def test_an_empty_caption_is_an_error(server):
    answer = _send(server, encoded(poison("empty")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "empty_caption")


def test_a_repeating_caption_has_a_flag(server):
    result = _result(_send(server, encoded(poison("repetition"))))
    assert (result["flags"], result["finish_reason"]) == (["repetition"], "length")


@pytest.mark.parametrize("fault", ["error", "assertion"])
def test_an_image_on_which_the_model_fails_fails_alone(server, fault):
    images = [png(n) for n in range(3)] + [encoded(poison(fault))] + [png(n) for n in range(3, 7)]
    with server.client() as client:
        answer = client.post("/v1/caption", json={"images": [_data(c) for c in images]})
    results = answer.json()["results"]
    assert results[3]["error"]["code"] == "model_error"
    assert [r["caption"] for r in results if "caption" in r] == [stub_caption(n) for n in range(7)]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"[" * 10_000 + b"]" * 10_000, 400, "invalid_json"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "invalid_json"),
        (b'{"images": [], "num_captions": NaN}', 400, "invalid_json"),
        (b'{"images": [], "num_captions": -Infinity}', 400, "invalid_json"),
        (b'{"images": [], "images": []}', 400, "invalid_json"),
        (b'{"images": [], "num_captions": ' + b"9" * 5000 + b"}", 400, "invalid_json"),
        (b'{"images": "\\ud800"}', 400, "invalid_json"),
        (b'{"images": [' + b"{}," * 200_000 + b"{}]}", 400, "invalid_json"),
        (b"\xff\xfe{}", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"[]", 422, "invalid_request"),
        (b'{"images": {}}', 422, "invalid_request"),
        (b'{"images": []}', 400, "no_image"),
        (b'{"images": [{"data": "?"}]}', 400, "invalid_image_data"),
        (b'{"images": [{"data": "data:text/html;base64,AAAA"}]}', 400, "invalid_image_data"),
        (b'{"images": [{"data": "data:image/png;base64,%%%"}]}', 400, "invalid_image_data"),
        (b'{"images": [{"url": "https://example.org/a.png"}]}', 400, "url_forbidden"),
        (b'{"images": [{"data": "", "url": ""}]}', 422, "invalid_request"),
        (b'{"images": [' + b'{"data": ""},' * 16 + b'{"data": ""}]}', 413, "too_many_images"),
        (b'{"model": "other", "images": [{"data": ""}]}', 404, "model_not_found"),
        (b'{"no_such_key": 1, "images": []}', 422, "invalid_request"),
    ],
)
def test_a_malformed_body_is_refused(server, body, status, code):
    with server.client() as client:
        answer = client.post(
            "/v1/caption", content=body, headers={"content-type": "application/json"}
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


@pytest.mark.parametrize(
    "settings",
    [
        {"num_captions": 1_000_000},
        {"num_captions": 0},
        {"num_captions": True},
        {"num_captions": 1.5},
        {"generate": {"max_new_tokens": 1_000_000_000}},
        {"generate": {"max_new_tokens": "513"}},
        {"generate": {"max_new_tokens": 1e3}},
        {"generate": {"max_new_tokens": int("9" * 4000)}},
        {"generate": {"min_new_tokens": 4000}},
        {"generate": {"num_beams": 17}},
        {"generate": {"num_beams": "64"}},
        {"generate": {"temperature": int("9" * 400)}},
        {"generate": {"prompt": "a" * 1001}},
        {"generate": {"no_such_setting": 1}},
        {"generate": []},
        {"model": 5},
    ],
)
def test_a_setting_beyond_its_limit_is_refused(server, settings):
    with server.client() as client:
        answer = client.post("/v1/caption", json={"images": [_data(png())], **settings})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")
    assert len(answer.text) < 1000


def test_an_infinite_number_is_refused(server):
    body = json.dumps({"images": [_data(png())]})[:-1] + ', "generate": {"temperature": 1e400}}'
    headers = {"content-type": "application/json"}
    with server.client() as client:
        answer = client.post("/v1/caption", content=body, headers=headers)
    assert answer.status_code == 422


def test_settings_at_their_limits_are_used(server):
    generate = {"num_beams": 16, "max_new_tokens": 512, "prompt": "a photo of"}
    with server.client() as client:
        body = {"images": [_data(png(1))], "num_captions": 8, "generate": generate}
        result = _result(client.post("/v1/caption", json=body))
    assert result["caption"] == f"a photo of {stub_caption(1)}"
    assert len(result["alternatives"]) == 7


def test_form_fields_are_settings(server):
    fields = {"num_captions": "2", "generate": '{"prompt": "the"}', "model": "stub"}
    with server.client() as client:
        answer = client.post("/v1/caption", files={"images": png(1)}, data=fields)
    assert _result(answer)["caption"] == f"the {stub_caption(1)}"


def test_settings_in_the_query_hold_for_every_kind_of_body(server):
    query = {"generate": '{"prompt": "the"}'}
    with server.client() as client:
        form = client.post("/v1/caption", files={"images": png(1)}, params=query)
        content = client.post("/v1/caption", json={"images": [_data(png(1))]}, params=query)
    for answer in (form, content, _send(server, png(1), **query)):
        assert _result(answer)["caption"] == f"the {stub_caption(1)}"


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ({"num_caption": 2}, {}),
        ({"num_captions": [2, 2]}, {}),
        ({"num_captions": 2}, {"num_captions": "2"}),
        ({}, {"images": "not a file"}),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(server, query, fields):
    with server.client() as client:
        file = {"images": png(1)}
        answer = client.post("/v1/caption", files=file, data=fields, params=query)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_request")


def test_html_in_a_caption_is_text_in_json(server):
    answer = _send(server, png(1), generate='{"prompt": "<script>]]>\\"\\u202e"}')
    assert answer.headers["content-type"] == "application/json"
    assert _result(answer)["caption"].startswith('<script>]]>"\u202e')

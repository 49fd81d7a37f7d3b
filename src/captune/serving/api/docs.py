"""Request bodies and answers in OpenAPI, with examples: the routes read bodies themselves."""

from __future__ import annotations

from typing import Any

_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8UaHBgA0wMeAAg1MCAB4nAXgllso1"
    "AAAAAElFTkSuQmCC"
)
_GENERATE = {
    "type": "object",
    "description": "Decoding settings, named as in transformers.",
    "properties": {
        "num_beams": {"type": "integer", "minimum": 1, "maximum": 16},
        "max_new_tokens": {"type": "integer", "minimum": 1, "maximum": 512},
        "do_sample": {"type": "boolean"},
        "temperature": {"type": "number", "exclusiveMinimum": 0},
        "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "seed": {"type": "integer", "minimum": 0},
        "prompt": {"type": "string"},
    },
}
_IMAGE = {
    "oneOf": [
        {
            "type": "object",
            "required": ["data"],
            "additionalProperties": False,
            "properties": {"data": {"type": "string", "description": "base64, or a data: URL"}},
        },
        {
            "type": "object",
            "required": ["url"],
            "additionalProperties": False,
            "properties": {"url": {"type": "string", "description": "https, of an allowed host"}},
        },
    ]
}
_CALL = {
    "type": "object",
    "required": ["images"],
    "additionalProperties": False,
    "properties": {
        "model": {"type": "string"},
        "images": {"type": "array", "minItems": 1, "maxItems": 16, "items": _IMAGE},
        "num_captions": {"type": "integer", "minimum": 1, "maximum": 8},
        "generate": _GENERATE,
    },
}
_FORM = {
    "type": "object",
    "required": ["images"],
    "properties": {
        "model": {"type": "string"},
        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "num_captions": {"type": "integer", "minimum": 1, "maximum": 8},
        "generate": {"type": "string", "description": "JSON of decoding settings"},
    },
}
_ANSWER = {
    "schema": 1,
    "model": "my-model",
    "results": [
        {
            "caption": "a dog runs on the beach",
            "mean_logprob": -0.41,
            "alternatives": [],
            "finish_reason": "eos",
            "flags": [],
        },
        {"error": {"code": "image_corrupt", "message": "the image ends early"}},
    ],
}
_FAULT = {"schema": 1, "error": {"code": "queue_full", "message": "64 images are waiting"}}

CAPTION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _CALL,
                "examples": {
                    "one image": {"value": {"images": [{"data": _PIXEL}]}},
                    "alternatives": {
                        "value": {"images": [{"data": _PIXEL}], "num_captions": 3},
                    },
                },
            },
            "multipart/form-data": {"schema": _FORM},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def _example(description: str, value: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": value}}}


FAULTS: dict[int | str, dict[str, Any]] = {
    status: _example(text, _FAULT)
    for status, text in {
        400: "A malformed request or image.",
        401: "The key is missing or wrong.",
        403: "A page of another origin asked.",
        404: "No model has this name.",
        408: "The body was sent too slowly.",
        413: "Too many bytes, pixels or images.",
        415: "Neither an image nor a supported body.",
        421: "The Host header names another server.",
        422: "A value is not allowed.",
        429: "Too many images wait; see Retry-After.",
        500: "The model failed at the image.",
        503: "The model is not ready; see Retry-After.",
        504: "No caption within the deadline.",
    }.items()
}
CAPTION_RESPONSES = {200: _example("A result per image, in order.", _ANSWER), **FAULTS}

CHAT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}},
                        "n": {"type": "integer", "minimum": 1, "maximum": 8},
                        "stream": {"type": "boolean"},
                        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 512},
                        "temperature": {"type": "number", "minimum": 0},
                        "generate": _GENERATE,
                    },
                },
                "example": {
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {
                                    "type": "image_url",
                                    "image_url": {"url": f"data:image/png;base64,{_PIXEL}"},
                                }
                            ],
                        }
                    ]
                },
            }
        },
    }
}

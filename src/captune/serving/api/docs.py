"""OpenAPI schemas of bodies and answers, with examples.

FastAPI cannot derive them, because the routes read bodies themselves.
"""

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
        "prompt": {"type": "string", "maxLength": 1000},
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
            "properties": {"url": {"type": "string", "description": "https, allowed hosts only"}},
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
_FORM: dict[str, Any] = {
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
_FAULT = {
    "schema": 1,
    "error": {
        "code": "queue_full",
        "message": "the queue of my-model is full: it holds 64 images",
        "type": "invalid_request_error",
    },
}
_ONE_ERROR = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string"},
        "message": {"type": "string"},
        "type": {"type": "string"},
    },
}
_MEAN = {"type": ["number", "null"], "description": "mean log-probability per token"}
_RESULT = {
    "oneOf": [
        {
            "type": "object",
            "required": ["caption", "mean_logprob", "alternatives", "finish_reason", "flags"],
            "properties": {
                "caption": {"type": "string"},
                "mean_logprob": _MEAN,
                "alternatives": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["caption", "mean_logprob"],
                        "properties": {"caption": {"type": "string"}, "mean_logprob": _MEAN},
                    },
                },
                "finish_reason": {"enum": ["eos", "length"]},
                "flags": {"type": "array", "items": {"type": "string"}},
            },
        },
        {"type": "object", "required": ["error"], "properties": {"error": _ONE_ERROR}},
    ]
}
_ANSWER_SCHEMA = {
    "type": "object",
    "required": ["schema", "model", "results"],
    "properties": {
        "schema": {"const": 1},
        "model": {"type": "string"},
        "results": {"type": "array", "minItems": 1, "maxItems": 16, "items": _RESULT},
    },
}
_FAULT_SCHEMA = {
    "type": "object",
    "required": ["schema", "error"],
    "properties": {
        "schema": {"const": 1},
        "error": _ONE_ERROR,
        "model": {"type": "string"},
        "results": {"type": "array", "items": _RESULT},
    },
}

KEY_HEADERS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The two headers in which a request may send its key, by name."""
NO_KEY: dict[str, Any] = {"security": []}
"""For a route that needs none."""

CAPTION_BODY: dict[str, Any] = {
    # For bodies that are an image; the others may hold these settings themselves.
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": _FORM["properties"][name]}
        for name in ("model", "num_captions", "generate")
    ],
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
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}


def _example(description: str, value: Any, schema: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": value}}
    return {"description": description, "content": content}


FAULTS: dict[int | str, dict[str, Any]] = {
    status: _example(text, _FAULT, _FAULT_SCHEMA)
    for status, text in {
        400: "A malformed request or image.",
        401: "The key is missing or wrong.",
        403: "The request came from a page of another origin.",
        404: "No model has this name.",
        408: "The body was sent too slowly.",
        413: "Too many bytes, pixels or images.",
        415: "The body or image has an unsupported format.",
        421: "The Host header names another server.",
        422: "A value is not allowed.",
        429: "Too many images are waiting; see Retry-After.",
        500: "The model failed on the image.",
        503: "The model is not ready; see Retry-After.",
        504: "There was no caption within the deadline.",
    }.items()
}
CAPTION_RESPONSES = {
    200: _example("One result per image, in order.", _ANSWER, _ANSWER_SCHEMA),
    **FAULTS,
}
_CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "my-model",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "a dog runs on the beach", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 0, "completion_tokens": 8, "total_tokens": 8},
}
_CHAT_SCHEMA = {
    "type": "object",
    "required": list(_CHAT_ANSWER),
    "properties": {"object": {"const": "chat.completion"}, "choices": {"type": "array"}},
}
CHAT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One choice per caption; with `stream`, server-sent events.",
        "content": {
            "application/json": {"schema": _CHAT_SCHEMA, "example": _CHAT_ANSWER},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    },
    **FAULTS,
}

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
                        "stop": {
                            "oneOf": [
                                {"type": "string", "minLength": 1},
                                {
                                    "type": "array",
                                    "maxItems": 4,
                                    "items": {"type": "string", "minLength": 1},
                                },
                            ]
                        },
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

"""`captune serve`: models over HTTP."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from captune.cli.flags.decoding import Backend, Precision, Revision
from captune.errors import MissingExtraError
from captune.progress import print_line
from captune.storage import expand_home

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        help="Folders or hub ids, each also as NAME=MODEL; requests that name none get the first.",
    ),
]
Host = Annotated[
    str, typer.Option(help="Address to listen at; any but this machine's own needs keys.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: a free one.")]
ApiKeyFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Keys, one per line; read again when the file changes.",
        show_default="no key needed",
    ),
]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A further name of this server in Host headers."),
]
AllowUrlHost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST",
        help="Host from which images are downloaded, over https.",
        show_default="images at URLs are refused",
    ),
]
MaxQueue = Annotated[
    int, typer.Option(min=1, help="Images that may wait per model; more get status 429.")
]
Deadline = Annotated[
    float, typer.Option(min=1.0, max=3600.0, help="Seconds until a request gets status 504.")
]
Warmup = Annotated[
    bool, typer.Option("--warmup", help="Run each model once before it reports ready.")
]
MaxBatch = Annotated[int, typer.Option(min=1, help="Images captioned at once.")]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        help="auto, cpu, cuda, cuda:N, xpu or mps; repeat it for a process per device.",
        show_default="auto",
    ),
]


def serve_models(
    models: Models,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    api_key_file: ApiKeyFile = None,
    allow_host: AllowHost = None,
    allow_url_host: AllowUrlHost = None,
    max_queue: MaxQueue = 64,
    deadline: Deadline = 60.0,
    warmup: Warmup = False,
    max_batch: MaxBatch = 16,
    device: Devices = None,
    precision: Precision = "auto",
    backend: Backend = "auto",
    revision: Revision = None,
) -> None:
    """Serve models over HTTP, until Ctrl-C or SIGTERM.

    POST /v1/caption takes images; OpenAI's clients work with /v1/chat/completions. The log on
    stderr has one JSON object per line. When it is stopped, the server answers what it has
    accepted, and exits with 0.
    """
    from captune.inference import RunRequest
    from captune.serving import ServedModel, ServerSettings, name_served_models

    _require_extra()
    devices = tuple(device or ("auto",))
    # A server captions without end: a conversion pays.
    request = functools.partial(
        RunRequest,
        backend=backend,
        num_images=1_000_000,
        device=devices[0],
        precision=precision,
        revision=revision,
    )
    named = name_served_models(models)
    settings = ServerSettings(
        models=tuple(ServedModel(name, request(model), devices) for name, model in named),
        host=host,
        port=port,
        api_key_file=None if api_key_file is None else expand_home(api_key_file),
        allow_hosts=tuple(allow_host or ()),
        allow_url_hosts=tuple(name.lower() for name in allow_url_host or ()),
        max_queue=max_queue,
        deadline=deadline,
        warmup=warmup,
        max_batch=max_batch,
    )
    from captune.serving import run_server

    run_server(settings, say=functools.partial(print_line, to_stderr=True))


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"serving needs {error.name}", fix="pip install 'captune[serve]'"
        ) from error

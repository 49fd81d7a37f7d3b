"""docs/guides/serving.md names every flag, route, metric and error code."""

from __future__ import annotations

import re

import pytest

from captune.serving.app import build_app
from captune.serving.settings import ServerSettings
from captune.serving.watch.metrics import ServerMetrics
from support.bulk.stub_captioner import write_stub
from support.places import ROOT
from support.serving.error_codes import server_codes
from support.serving.stub_model import served_stub

TEXT = (ROOT / "docs" / "guides" / "serving.md").read_text(encoding="utf-8")


def test_every_error_code_is_documented():
    codes = server_codes()
    assert len(codes) > 25
    assert not [code for code in sorted(codes) if f"`{code}`" not in TEXT]


def test_every_flag_is_documented():
    source = (ROOT / "src/captune/cli/serving/serve.py").read_text(encoding="utf-8")
    names = re.findall(r"^    (\w+): \w+(?: = .+)?,$", source, re.MULTILINE)
    flags = [f"--{name.replace('_', '-')}" for name in names if name != "models"]
    assert len(flags) >= 10
    assert not [flag for flag in flags if f"`{flag}" not in TEXT]


def test_every_route_and_metric_is_documented(tmp_path):
    write_stub(tmp_path / "stub")
    app, _ = build_app(ServerSettings((served_stub(tmp_path / "stub"),)))
    assert {"/v1/caption", "/metrics"} <= app.paths
    # As OpenAPI writes them.
    paths = [path.replace(":path}", "}") for path in app.paths]
    assert not [path for path in paths if not path.startswith("/page") and path not in TEXT]
    names = re.findall(r"^# TYPE (\w+) ", ServerMetrics().render().decode(), re.MULTILINE)
    named = {name for name in names if not name.endswith("_created")}
    assert not [name for name in sorted(named) if f"`{name}`" not in TEXT]


@pytest.mark.parametrize(
    "number", [400, 401, 403, 404, 408, 413, 415, 421, 422, 429, 500, 503, 504]
)
def test_every_status_is_documented(number):
    assert re.search(rf"^\| {number}\b", TEXT, re.MULTILINE)

"""The cluster file of the guide is one that `ray up` accepts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from support.places import ROOT

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow


def cluster_file() -> dict[str, Any]:
    guide = (ROOT / "docs" / "guides" / "machines.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(cluster_name:.*?)```", guide, re.DOTALL)
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def check(config: dict[str, Any]) -> dict[str, Any]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    complete: dict[str, Any] = prepare_config(config)
    validate_config(complete)
    return complete


def test_ray_accepts_the_file_of_the_guide():
    complete = check(cluster_file())
    assert complete["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert complete["available_node_types"]["gpu"]["max_workers"] == 8
    assert complete["setup_commands"] == ["pip install 'captune[ray,s3]'"]


@pytest.mark.parametrize("fault", ["resources", "workers"])
def test_ray_refuses_a_file_with_a_fault(fault):
    config = cluster_file()
    if fault == "resources":
        del config["available_node_types"]["gpu"]["resources"]
    else:
        config["max_workers"] = 3
    from jsonschema import ValidationError

    with pytest.raises((ValidationError, ValueError)):
        check(config)

"""Errors of hub data sets that cannot be loaded, with the real client."""

from __future__ import annotations

import pytest

from support.hub.refusals import Asked, collect_refusals
from support.hub.repos import READER, Repo
from support.hub.server import hub_server

_ASK = """
from captune.data import load_records

def ask(source, revision):
    return len(load_records(source).records)
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    home = tmp_path_factory.mktemp("hub-home")
    (home / "hub" / "datasets--tiny--birds").mkdir(parents=True)
    with hub_server() as hub:
        hub.repos["datasets/tiny/gated"] = Repo(gated=True)
        hub.repos["datasets/tiny/gated"].commit({"data.csv": b"image,caption\n"})
        names = ("tiny/brids", "tiny/gated")
        cases = {name: Asked(name, READER) for name in names}
        return collect_refusals(hub, home, ask=_ASK, cases=cases)


@pytest.mark.slow
def test_a_misspelt_data_set_names_the_nearest_cached_one(reported) -> None:
    what, _ = reported["tiny/brids"]
    assert "cannot load the hub data set tiny/brids" in what
    assert "(did you mean 'tiny/birds'?)" in what


def test_a_gated_data_set_names_the_page_to_request_access(reported) -> None:
    what, fix = reported["tiny/gated"]
    assert "'tiny/gated' is a gated dataset" in what
    assert "/datasets/tiny/gated to ask for access" in what
    assert "did you mean" not in what
    assert "hf auth login" in fix

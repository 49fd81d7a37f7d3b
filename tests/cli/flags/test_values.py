"""Values of flags that no type refuses: NaN, infinities, and `~` that a shell did not replace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
import typer

from captune.cli import main
from captune.progress import print_line


@pytest.mark.parametrize("value", ["nan", "-nan", "inf", "1e400"])
def test_a_number_that_is_not_finite_is_refused(
    add_command: Callable[..., None], capsys: pytest.CaptureFixture[str], value: str
) -> None:
    def show(share: Annotated[float, typer.Option()]) -> None:
        print_line(f"share {share}")

    add_command(show)
    with pytest.raises(SystemExit) as caught:
        main(["x", f"--share={value}"])
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert "share" not in printed.out
    assert f"{value} is not a finite number" in printed.err


def test_a_tilde_in_a_path_is_the_home_folder(
    add_command: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def show(out: Annotated[Path, typer.Option()], more: list[Path], name: str = "") -> None:
        print_line(" ".join(map(str, (out, *more, name))))

    add_command(show)
    monkeypatch.setenv("HOME", "/homes/ann")
    monkeypatch.setenv("USERPROFILE", "/homes/ann")
    with pytest.raises(SystemExit) as caught:
        main(["x", "--out=~/a", "~/b", "c", "--name=~/d"])
    assert caught.value.code == 0
    homes = Path("/homes/ann")
    assert capsys.readouterr().out == f"{homes / 'a'} {homes / 'b'} c ~/d\n"

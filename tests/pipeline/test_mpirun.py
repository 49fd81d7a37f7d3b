"""Two processes with the variables of mpirun, in one folder and in folders of their own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from captune.recipe import save_recipe
from support.runs.forks import run_captune
from support.runs.ranks import free_port
from support.runs.recipes import recipe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def run_processes(folders: list[Path], command: str) -> tuple[list[int], list[str]]:
    """Run a command as one process per folder; return exit codes and outputs.

    When one fails, the others are ended, as `mpirun` does.
    """
    port, size = free_port(), len(folders)
    processes = [
        run_captune(
            command.split(),
            folder=folder,
            environment={
                "OMPI_COMM_WORLD_SIZE": str(size),
                "OMPI_COMM_WORLD_RANK": str(rank),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
                "OMPI_COMM_WORLD_LOCAL_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank, folder in enumerate(folders)
    ]
    try:
        while all(process.poll() in (None, 0) for process in processes):
            if all(process.poll() == 0 for process in processes):
                break
            time.sleep(0.2)
        for process in processes:
            if any(other.returncode for other in processes):
                process.terminate()
        outputs = [process.communicate(timeout=60)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs


def test_processes_of_mpirun_train_together(tmp_path: Path) -> None:
    save_recipe(recipe(evaluate__baseline=False), tmp_path / "r.yaml")
    codes, outputs = run_processes([tmp_path, tmp_path], "train r.yaml --out run")
    assert codes == [0, 0], "\n".join(outputs)
    assert "2 share the 12 images of a step: 6, 6" in outputs[0]
    assert outputs[1] == ""


def test_machines_without_a_shared_folder_are_told_so(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        save_recipe(recipe(evaluate__baseline=False), folder / "r.yaml")
    codes, outputs = run_processes(folders, "train r.yaml --out run")
    assert codes[1] == 2, "\n".join(outputs)
    assert "does not see the run's folder" in outputs[1]
    assert str(folders[1] / "run") in outputs[1]
    assert "give --out on a disk that all machines share" in outputs[1]

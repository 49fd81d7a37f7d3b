"""A power cut loses what is not synced: the journal never claims a file that is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from captune.bulk.formats import open_per_image
from captune.bulk.items import Item
from captune.bulk.journal.changes import hash_bytes
from captune.bulk.journal.database import Database
from captune.bulk.journal.names import encode_path
from captune.bulk.journal.runs import begin_run
from captune.bulk.writing.disk import Disk
from captune.bulk.writing.per_image import FileWriter
from captune.bulk.writing.tasks import CaptionTask, Outcome
from captune.bulk.writing.writer import ResultWriter, WriteJob
from captune.inference import ImageFile
from captune.records import Prediction


class LossyDisk(Disk):
    """A disk that remembers what a power cut would leave: synced names with synced content."""

    def __init__(self, *, forgets: Sequence[str] = ()) -> None:
        self.durable: dict[Path, bytes] = {}
        self._synced: dict[Path, bytes] = {}
        self._renamed: dict[Path, bytes] = {}
        self._forgets = forgets

    def write(self, temporary: Path, content: bytes, *, like: Path) -> None:
        super().write(temporary, content, like=like)
        self._synced[temporary] = b"" if "write" in self._forgets else content

    def replace(self, temporary: Path, target: Path) -> None:
        super().replace(temporary, target)
        self._renamed[target] = self._synced.pop(temporary)

    def create(self, temporary: Path, target: Path) -> bool:
        is_created = super().create(temporary, target)
        # Without links, it was a replacement.
        if is_created and temporary in self._synced:
            self._renamed[target] = self._synced.pop(temporary)
        return is_created

    def sync_folder(self, folder: Path) -> None:
        super().sync_folder(folder)
        if "folder" not in self._forgets:
            for target in [path for path in list(self._renamed) if path.parent == folder]:
                self.durable[target] = self._renamed.pop(target)


class WatchedDatabase(Database):
    """A journal whose claims can be compared with what a power cut would leave."""

    disk: LossyDisk

    def check(self) -> int:
        """Return how many files the journal claims that a power cut would not leave."""
        rows = self.rows("SELECT target, new FROM changes WHERE state = 'done'")
        kept = {
            encode_path(path, self.folder): hash_bytes(text)
            for path, text in self.disk.durable.items()
        }
        return sum(kept.get(target) != new for target, new in rows)


def lost_claims(folder: Path, disk: LossyDisk) -> tuple[int, int]:
    """Write 200 captions; return claims of lost files at any commit, and claims at the end."""
    database = WatchedDatabase(folder / ".captune" / "bulk.sqlite")
    database.disk = disk
    form = open_per_image("txt")
    run = begin_run(database, ["txt"], maker=1, recipe=1, existing="skip", command="")
    files = FileWriter({"txt": form}, existing="skip", disk=disk)
    writer = ResultWriter(database, run, files=files, collected={}, outcome=Outcome())
    lost = 0
    for number in range(200):
        path = folder / f"{number % 3}" / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        prediction = Prediction(str(path), f"caption {number}", -0.5, 3, "eos")
        item = Item(str(path), ImageFile(str(path)))
        task = CaptionTask(item, {"txt": None}, prediction=prediction)
        writer.put(WriteJob(task, prediction))
        lost += database.check()
    writer.close()
    lost += database.check()
    ((num_done,),) = database.rows("SELECT count(*) FROM changes WHERE state = 'done'")
    database.close()
    return lost, int(num_done)


def test_the_journal_claims_no_file_that_a_power_cut_would_lose(tmp_path):
    assert lost_claims(tmp_path, LossyDisk()) == (0, 200)


@pytest.mark.parametrize("forgotten", ["write", "folder"])
def test_a_disk_that_skips_a_sync_is_caught(tmp_path, forgotten):
    lost, num_done = lost_claims(tmp_path, LossyDisk(forgets=[forgotten]))
    assert num_done == 200
    assert lost > 0

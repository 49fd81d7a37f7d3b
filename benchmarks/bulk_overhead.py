"""Images per second of a bulk run beside the bare loop of the same captioner, a stub.

`python benchmarks/bulk_overhead.py [--images 5000] [--seconds 0.002]` prints the ratio. The stub
waits a settable time per image, as a model on an accelerator would; the bare loop decodes and
captions the same files and writes nothing. As in the command, the model of the run is in a process
of its own, so the run costs nothing where a core is free. Time counts from the loaded model to the
last commit; the page of the run, made once at the end, is printed beside it in seconds. So are CPU
seconds per image of the run itself.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from captune.bulk import StreamCaptioner, open_model
from captune.inference import RunRequest
from captune.recipe import GenerateConfig
from support.bulk.fork_server import stub_environment
from support.bulk.hostile_images import write_photos
from support.bulk.library import StubModel, caption
from support.bulk.stub_captioner import Behaviour, load_stub, write_stub


class WorkerModel(StubModel):
    """The stub in a process of its own."""

    def load(self, num_images: int, *, was_killed: bool = False) -> StreamCaptioner:  # noqa: ARG002
        """Return the stub."""
        request = RunRequest(str(self.folder), "torch", num_images, "cpu", "auto")
        return open_model(request, was_killed=True)


def main() -> None:
    os.environ.update(stub_environment())
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--images", type=int, default=5000)
    words.add_argument("--seconds", type=float, default=0.002)
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = write_stub(folder / "model", behaviour=Behaviour(seconds_per_image=given.seconds))
        paths = write_photos(folder / "photos", given.images)
        ratios = []
        for number in range(given.rounds):
            bare = _time_bare(model, paths)
            shares = [f"bare {given.images / bare:.0f} images/s"]
            for form in ("jsonl", "txt"):
                out = folder / f"{number}.jsonl" if form == "jsonl" else None
                began, used = time.perf_counter(), time.process_time()
                result = caption(
                    WorkerModel(model), folder / "photos", to=(form,), out=out, existing="overwrite"
                )
                # Without loading and the page, which cost the same however many images there are.
                seconds = result.ended - max(began, result.began)
                page = time.perf_counter() - result.ended
                used = (time.process_time() - used) / given.images
                assert result.outcome.num_done == given.images
                shares.append(
                    f"{form} {given.images / seconds:.0f} ({bare / seconds:.1%},"
                    f" {used * 1e6:.0f} us of CPU per image, page {page:.1f} s)"
                )
                if form == "jsonl":
                    ratios.append(bare / seconds)
            print(", ".join(shares))
        print(f"median of jsonl: {statistics.median(ratios):.1%} of the bare loop")


def _time_bare(model: Path, paths: list[Path]) -> float:
    captioner = load_stub(model)
    began = time.perf_counter()
    images = ((str(path), path) for path in paths)
    config = captioner.complete(GenerateConfig())
    num = sum(1 for _ in captioner.stream(images, config=config, decode="inline"))
    assert num == len(paths)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()

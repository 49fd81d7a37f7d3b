"""Isolated decoding: the same pixels, one image lost per bomb, and no child left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captune.data import IsolatedDecoder, decode_image, make_shapes, open_decoder
from captune.data.decoders import program
from captune.data.decoders.limits import Limits
from captune.errors import CaptuneError, DataError, ImageError
from support import bombs
from support.mutated_images import mutated_images, whole_images
from support.soak import FIRST_SEED, rounds, soak

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory limits and /proc are Linux's")
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files or signals")

QUICK = Limits(base_seconds=1.5, seconds_per_megapixel=0.0)
GOOD = make_shapes(1)[0].image


def pixels(image: Image.Image) -> tuple[tuple[int, int], str, bytes]:
    return image.size, image.mode, image.tobytes()


def size(image: Image.Image) -> tuple[int, int]:
    return image.size


@pytest.fixture
def quick() -> Iterator[IsolatedDecoder]:
    """Return a decoder with one child and 1.5 seconds per image."""
    with IsolatedDecoder(1, limits=QUICK) as decoder:
        yield decoder


def reason(decoder: IsolatedDecoder, source: Path | bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        decoder.decode(source, size)
    return caught.value


@pytest.fixture(scope="module", autouse=True)
def _others() -> None:
    """Set aside what tests of other files left running, such as exiftool or a fork server."""
    OTHERS.clear()
    OTHERS.update(children())


OTHERS: set[int] = set()


def children() -> set[int]:
    """Return the child processes of this process, without those of other files' tests."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found |= {int(pid) for pid in (thread / "children").read_text().split()}
    return found - OTHERS


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


# --- the same as inline ------------------------------------------------------------------------


def test_the_pixels_are_those_of_inline_decoding(tmp_path):
    sources: list[Path | bytes] = list(whole_images())
    # Larger than one strip of the window, and large enough to ask for slots.
    for name, width, height in (("wide", 1500, 1100), ("large", 2300, 1900)):
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png", compress_level=0)
        sources.append(tmp_path / f"{name}.png")
    with IsolatedDecoder(1) as decoder:
        for source in sources:
            assert decoder.decode(source, pixels) == pixels(decode_image(source))


def test_pixels_pass_through_the_pipe_without_shared_memory(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1500, 3), dtype=np.uint8)
    content = bombs.encode(Image.fromarray(noise), "PNG")
    with IsolatedDecoder(1) as decoder:
        assert decoder.decode(content, pixels) == pixels(decode_image(content))


def test_many_threads_share_few_children_and_get_their_own_images():
    records = make_shapes(60)
    with IsolatedDecoder(2) as decoder, ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda record: decoder.decode(record.image, pixels), records))
    assert found == [pixels(decode_image(record.image)) for record in records]


def test_errors_name_the_path_as_given(tmp_path, monkeypatch):
    with IsolatedDecoder(1) as decoder:
        decoder.decode(GOOD, size)
        # The child was started in another folder.
        monkeypatch.chdir(tmp_path)
        Path("page.jpg").write_bytes(b"<html>404</html>")
        error = reason(decoder, Path("page.jpg"))
    assert error.what == "not_an_image"
    assert error.where.startswith("page.jpg: starts with '<html>")


# --- bombs -------------------------------------------------------------------------------------


@linux
def test_an_image_that_needs_too_much_memory_fails_alone():
    with IsolatedDecoder(1, limits=Limits(base_seconds=60.0)) as decoder:
        error = reason(decoder, bombs.tiff_of_shared_tags())
        assert error.what == "memory"
        assert "--decode inline" in error.fix
        assert decoder.decode(GOOD, size) == size(decode_image(GOOD))


@pytest.mark.slow
@pytest.mark.parametrize("make", [bombs.gif_of_comments, bombs.ppm_of_comments])
def test_an_image_that_takes_too_long_fails_alone(quick, make):
    error = reason(quick, make())
    assert error.what == "too_slow"
    assert quick.decode(GOOD, size) == size(decode_image(GOOD))


@pytest.mark.slow
def test_a_jpeg_of_thousands_of_scans_ends_at_the_time_limit(quick):
    started = time.monotonic()
    assert reason(quick, bombs.jpeg_of_scans(num_scans=6_000)).what == "too_slow"
    assert time.monotonic() - started < 15
    assert quick.decode(GOOD, size) == size(decode_image(GOOD))


@pytest.mark.parametrize("make", [bombs.png_of_texts, bombs.png_with_profile])
def test_texts_that_unpack_to_megabytes_are_reported(quick, make):
    assert reason(quick, make()).what == "text_bomb"


def test_animations_and_exif_bombs_give_their_first_frame(quick):
    assert quick.decode(bombs.exif_of_shared_tags(), size) == (8, 8)
    assert quick.decode(bombs.webp_of_frames(num_frames=5, side=300), size) == (300, 300)


@linux
@pytest.mark.parametrize(
    ("ended_by", "expected"), [(signal.SIGKILL, "memory"), (signal.SIGSEGV, "crash")]
)
def test_a_child_that_dies_loses_one_image_and_is_replaced(ended_by, expected):
    bomb = bombs.gif_of_comments()
    with IsolatedDecoder(1, limits=Limits(base_seconds=60.0)) as decoder:
        decoder.decode(GOOD, size)
        (child,) = children()
        threading.Timer(0.3, os.kill, (child, ended_by)).start()
        assert reason(decoder, bomb).what == expected
        assert decoder.decode(GOOD, size) == size(decode_image(GOOD))


@linux
def test_a_child_that_dies_while_idle_loses_no_image():
    with IsolatedDecoder(1) as decoder:
        decoder.decode(GOOD, size)
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        # Dead, not merely dying: its pipes are closed.
        state = Path(f"/proc/{child}/stat")
        assert wait_for(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z")
        assert decoder.decode(GOOD, size) == size(decode_image(GOOD))


# --- unreadable files -------------------------------------------------------------------------


@posix
def test_unreadable_files_are_reported_without_waiting(quick, tmp_path):
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    assert reason(quick, fifo).what == "io"
    assert reason(quick, tmp_path).what == "io"
    assert reason(quick, Path("/dev/zero")).what == "io"
    assert reason(quick, tmp_path / ("x" * 5000)).what == "io"
    assert reason(quick, tmp_path / "none.jpg").what == "missing"


@linux
def test_a_read_error_is_a_reason(quick):
    error = reason(quick, Path("/proc/self/mem"))
    assert (error.what, error.where) == ("io", "/proc/self/mem: Input/output error")


# --- the end -----------------------------------------------------------------------------------


@linux
def test_closing_ends_a_child_that_decodes_a_bomb():
    decoder = IsolatedDecoder(1)
    bomb = bombs.gif_of_comments()
    outcome: list[Exception] = []

    def decode() -> None:
        try:
            decoder.decode(bomb, size)
        except CaptuneError as error:
            outcome.append(error)

    thread = threading.Thread(target=decode)
    thread.start()
    assert wait_for(lambda: bool(children()))
    time.sleep(0.5)
    decoder.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(outcome) == 1
    assert children() == set()


@linux
def test_a_child_can_start_before_the_first_image():
    before = children()
    with IsolatedDecoder(2) as decoder:
        decoder.start_early()
        assert wait_for(lambda: len(children() - before) == 1)
        assert decoder.decode(GOOD, size)
        assert len(children() - before) <= 2
    assert wait_for(lambda: children() == before)


@linux
def test_a_decoder_that_is_closed_while_it_starts_leaves_no_child():
    before = children()
    decoder = IsolatedDecoder(1)
    decoder.start_early()
    decoder.close()
    time.sleep(1.0)
    assert wait_for(lambda: children() == before)


@linux
def test_a_garbage_collected_decoder_leaves_no_child():
    decoder = IsolatedDecoder(1)
    decoder.decode(GOOD, size)
    assert len(children()) == 1
    del decoder
    gc.collect()
    assert wait_for(lambda: not children())


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_is_terminated_leaves_no_child(number, tmp_path):
    script = tmp_path / "decode.py"
    script.write_text(
        "import signal, time\n"
        "from pathlib import Path\n"
        "from captune.data import IsolatedDecoder, make_shapes\n"
        # A shell starts background jobs with SIGINT ignored, and this process inherits that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "decoder = IsolatedDecoder(1)\n"
        "decoder.decode(make_shapes(1)[0].image, lambda image: None)\n"
        "print(Path('/proc/self/task').joinpath(str(__import__('os').getpid()),\n"
        "    'children').read_text(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(number)
        parent.wait(20)
        assert wait_for(lambda: not _is_running(child))


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_group_of_processes_is_left_to_the_parent(number):
    with IsolatedDecoder(1) as decoder:
        before = decoder.decode(GOOD, size)
        (child,) = children()
        os.kill(child, number)
        assert decoder.decode(GOOD, size) == before
        assert children() == {child}


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_closed_decoder_raises_an_error():
    decoder = IsolatedDecoder(1)
    decoder.close()
    decoder.close()
    with pytest.raises(DataError, match="the decoder is closed"):
        decoder.decode(GOOD, size)


def test_a_child_that_cannot_start_is_an_error_with_a_fix(monkeypatch):
    monkeypatch.setattr(program, "_PROGRAM", "raise ImportError('no module named captune')")
    with IsolatedDecoder(1) as decoder, pytest.raises(DataError) as caught:
        decoder.decode(GOOD, size)
    assert caught.value.what == (
        "the process that decodes images does not start: it ended with code 1:"
        " ImportError: no module named captune"
    )
    assert "--decode inline" in caught.value.fix


def test_children_load_neither_torch_nor_numpy():
    script = (
        "import sys, captune.data.decoders.child;"
        "sys.exit(bool({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


# --- broken at random --------------------------------------------------------------------------


@soak
@pytest.mark.parametrize("mode", ["isolated", "inline"])
def test_mutated_images_of_every_format_are_images_or_image_errors(mode):
    reasons = set()
    with open_decoder(mode) as decoder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numbers = rounds(500, full=50_000, share=2)
        for _, content in zip(numbers, mutated_images(seed=5 + FIRST_SEED), strict=False):
            try:
                decoder.decode(content, size)
            except ImageError as error:
                reasons.add(error.what)
    assert {"truncated", "corrupt"} <= reasons
    assert not reasons & {"crash", "too_slow", "memory"}

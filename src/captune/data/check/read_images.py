"""Read every image of a data set for the check: in threads, workers, or from kept findings."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from captune.data.check.fingerprint_process import FingerprintWorkers, PrintsRead
from captune.data.check.fingerprints import FINGERPRINT, Fingerprints, fingerprint_row
from captune.data.check.kept_findings import (
    KEY,
    FingerprintStore,
    KeptFindings,
    copy_rows,
    find_kept,
    image_keys,
    select_fingerprints,
)
from captune.data.dataset import SkippedImage
from captune.data.decoders.decoder import DecodeOptions, count_threads, open_decoder
from captune.data.decoders.interface import ImageDecoder
from captune.data.images import describe_source
from captune.data.record_store import PlainSource, iter_plain, pick_records
from captune.errors import ImageError
from captune.records import CaptionRecord

_MIN_KEPT = 1000
"""Fewer images are read again faster than their findings are worth a file."""
_MIN_FOR_WORKERS = 1000
_PER_REQUEST = 64
_PER_THREAD = 8
_REQUESTS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class ReadImages:
    """The images of a data set after each was read.

    Attributes:
        places: Positions of the readable images among the records, ascending.
        prints: Their fingerprints, in that order.
        unreadable: The others, with the reason.
    """

    places: npt.NDArray[np.int64]
    prints: Fingerprints
    unreadable: list[SkippedImage] = field(default_factory=list)


def fingerprint_records(
    records: Sequence[CaptionRecord],
    *,
    decoding: DecodeOptions,
    kept: KeptFindings | None = None,
    report: Callable[[int], object] | None = None,
) -> ReadImages:
    """Fingerprint every image.

    Args:
        records: The images.
        decoding: How they are decoded.
        kept: Where findings are kept between runs; `None`: every image is read.
        report: Called with the number of images done.
    """
    count = len(records)
    if kept is None or count < _MIN_KEPT:
        with FingerprintStore() as store:
            return _Reading(records, np.zeros(count, KEY), store).read(decoding, report=report)
    # Before any image is read: one that changes meanwhile is read again next time.
    keys = image_keys((record.source for record in iter_plain(records)), count)
    old = kept.load()
    found = find_kept(keys, old[0], max_pixels=decoding.max_pixels)
    if (found >= 0).all():
        if report is not None:
            report(count)
        return ReadImages(np.arange(count), select_fingerprints(*old, rows=found))
    with kept.open_store(count) as store:
        hits = np.flatnonzero(found >= 0)
        copy_rows(found[hits], old, store=store)
        reading = _Reading(records, keys, store, hits)
        read = reading.read(decoding, report=report)
        kept.keep(store)
    return read


class _Reading:
    """One pass over the images of a data set, some of which may be in the store already.

    Args:
        records: The images.
        keys: Their keys.
        store: Gets the fingerprints.
        done: Positions of the images that the store begins with.
    """

    def __init__(
        self,
        records: Sequence[CaptionRecord],
        keys: npt.NDArray[np.void],
        store: FingerprintStore,
        done: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._records, self._keys, self._store = records, keys, store
        self._done = np.zeros(0, np.int64) if done is None else done

    def read(
        self, decoding: DecodeOptions, *, report: Callable[[int], object] | None
    ) -> ReadImages:
        """Read the images that are not in the store, in order."""
        waiting = np.setdiff1d(np.arange(len(self._records)), self._done).tolist()
        places, unreadable = [self._done], []
        count = len(self._done)
        for chunk, answer in _read_chunks(self._records, waiting, decoding=decoding):
            unreadable += [_skip(self._records[chunk[n]], e) for n, e in answer.errors.items()]
            good = np.array([p for n, p in enumerate(chunk) if n not in answer.errors], np.int64)
            self._store.add(answer.rows, self._keys[good])
            places.append(good)
            for _ in chunk:
                count += 1
                if report is not None:
                    report(count)
        added = np.concatenate(places)
        order = np.argsort(added, kind="stable")
        prints = select_fingerprints(*self._store.read(), rows=order)
        return ReadImages(added[order], prints, unreadable)


def _read_chunks(
    records: Sequence[CaptionRecord], places: Sequence[int], *, decoding: DecodeOptions
) -> Iterator[tuple[Sequence[int], PrintsRead]]:
    """Yield groups of positions and what was read there, in order."""
    num_threads = decoding.num_threads or count_threads()
    has_workers = decoding.mode == "inline" and num_threads > 1 and len(places) >= _MIN_FOR_WORKERS
    size = _PER_REQUEST if has_workers else _PER_THREAD
    chunks = [places[at : at + size] for at in range(0, len(places), size)]
    # On Ctrl-C, the threads end with their decoder and their workers.
    with ExitStack() as opened:
        pool = opened.enter_context(ThreadPoolExecutor(num_threads))
        decoder = opened.enter_context(
            open_decoder(decoding.mode, num_threads=num_threads, max_pixels=decoding.max_pixels)
        )
        workers = None
        if has_workers:
            workers = opened.enter_context(
                FingerprintWorkers(num_threads, max_pixels=decoding.max_pixels)
            )

        def read(chunk: Sequence[int]) -> PrintsRead:
            chosen = pick_records(records, np.array(chunk))
            sources = [record.source for record in iter_plain(chosen)]
            answer = workers.read(sources) if workers else None
            if is_over.is_set():
                raise CancelledError
            left = range(len(chunk)) if answer is None else answer.left
            return _read_here(sources, left, answer, decoder=decoder)

        # First, where this ends early: no request of those that wait begins.
        is_over = threading.Event()
        opened.callback(pool.shutdown, wait=False, cancel_futures=True)
        opened.callback(is_over.set)
        waiting: deque[tuple[Sequence[int], Future[PrintsRead]]] = deque()
        for chunk in chunks:
            waiting.append((chunk, pool.submit(read, chunk)))
            if len(waiting) > _REQUESTS_AHEAD * num_threads:
                first, answer = waiting.popleft()
                yield first, answer.result()
        while waiting:
            first, answer = waiting.popleft()
            yield first, answer.result()


def _read_here(
    sources: Sequence[PlainSource],
    left: Sequence[int],
    answer: PrintsRead | None,
    *,
    decoder: ImageDecoder,
) -> PrintsRead:
    """Read the images that a worker left, and return them among those that it read."""
    if answer is not None and not left:
        return answer
    own: dict[int, npt.NDArray[np.void]] = {}
    errors = {} if answer is None else dict(answer.errors)
    others = [n for n in range(len(sources)) if n not in errors and n not in set(left)]
    if answer is not None:
        own.update({n: answer.rows[at : at + 1] for at, n in enumerate(others)})
    for place in left:
        source = sources[place]
        try:
            own[place] = decoder.decode(
                Path(source) if isinstance(source, str) else source, fingerprint_row
            )
        except ImageError as error:
            errors[place] = error
    rows = np.concatenate([np.zeros(0, FINGERPRINT), *(own[place] for place in sorted(own))])
    return PrintsRead(rows, dict(sorted(errors.items())))


def _skip(record: CaptionRecord, error: ImageError) -> SkippedImage:
    is_nameless = isinstance(record.image, bytes)
    name = record.image_id if is_nameless else describe_source(record.image)
    detail = f"{error.where}: {error.fix}" if error.fix else error.where
    return SkippedImage(record.image_id, record.file_name or name, error.what, detail)

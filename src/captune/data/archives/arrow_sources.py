"""The sources of Arrow data: Parquet files, `save_to_disk` folders and data sets of the hub.

They are described in the parent process and opened in the child that reads them. Images stay
encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from captune.data.archives.disk_room import keep_reserve, require_room
from captune.data.archives.parquet import ParquetLimits, open_parquet
from captune.errors import DataError
from captune.hub import WITHOUT_HUB, find_fault, hub_failures, nearest_cached, no_hub

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 16

Announce = Callable[[str], None]


class Part(Protocol):
    """The rows of one split."""

    @property
    def schema(self) -> pa.Schema:
        """Columns and types; its metadata has the features that `datasets` wrote."""

    @property
    def is_stream(self) -> bool:
        """Whether rows are fetched one by one, so that none must wait for the next."""

    def iter_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some columns."""


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """Parquet files by split.

    Attributes:
        files: The files of each split; the name may be empty.
        limits: What a file may unpack to.
    """

    files: Mapping[str, Sequence[Path]]
    limits: ParquetLimits

    def name_place(self, split: str, file: str = "") -> str:
        """Return the file; by default the first of a split, whose columns the others have too."""
        return file or str(self.files[split][0])

    def open(self, announce: Announce) -> dict[str, Part]:
        """Open the files; raises what pyarrow raises for damaged ones."""
        return {
            split: open_parquet(paths, self.limits, announce=announce)
            for split, paths in self.files.items()
        }

    def explain(self, error: Exception, place: str) -> DataError:
        """Return an error of pyarrow as one that names the file and the fix."""
        return DataError(
            f"cannot read the Parquet files: {first_line(error)}",
            where=place,
            fix="fetch it again",
        )


@dataclass(frozen=True, slots=True)
class SavedSource:
    """A folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""

    place: Path

    def name_place(self, split: str, _file: str = "") -> str:
        """Return the folder and the split."""
        return _name_split(str(self.place), split)

    def open(self, announce: Announce) -> dict[str, Part]:
        """Open the folder; raises what `datasets` raises for damaged ones."""
        import datasets

        announce(str(self.place))
        return _split_parts(datasets.load_from_disk(str(self.place)))

    def explain(self, error: Exception, place: str) -> DataError:
        """Return an error of `datasets` as one that names the folder."""
        return DataError(
            f"cannot load the saved data set {place}: {first_line(error)}",
            fix="fetch it again, or write it again with save_to_disk",
        )


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set of the hub, from the local cache if it is there.

    Attributes:
        path: Hub id, or `owner/name:configuration`.
        revision: Branch, tag or commit; `None`: the newest.
        streaming: Whether rows are read without downloading all files first.
        limits: What a Parquet file may unpack to.
        no_answer: Why the hub cannot be reached; then only the cache is searched.
    """

    path: str
    revision: str | None
    streaming: bool
    limits: ParquetLimits
    no_answer: str = ""

    def name_place(self, split: str, _file: str = "") -> str:
        """Return the hub id and the split."""
        return _name_split(self.path, split)

    def open(self, announce: Announce) -> dict[str, Part]:
        """Open the data set; raises what `datasets` and the hub's client raise."""
        import datasets

        announce(self.path)
        name, _, configuration = self.path.partition(":")
        builder = datasets.load_dataset_builder(name, configuration or None, revision=self.revision)
        if self.streaming:
            return _split_parts(builder.as_streaming_dataset())
        cache = Path(builder.cache_dir)
        if not (cache / "dataset_info.json").is_file():
            if type(builder).__name__ == "Parquet" and builder.config.data_files:
                return self._download_parquet(builder, announce)
            require_room(cache, builder.info.size_in_bytes or 0, what=self.path)
        with keep_reserve(cache, what=self.path):
            builder.download_and_prepare()
        return _split_parts(builder.as_dataset())

    def _download_parquet(self, builder: Any, announce: Announce) -> dict[str, Part]:
        # Read in place: `datasets` would write a second copy into its cache, of any size.
        import datasets

        downloads = datasets.DownloadManager(
            dataset_name=builder.dataset_name,
            base_path=builder.base_path,
            download_config=datasets.DownloadConfig(use_etag=False, token=builder.token),
        )
        with keep_reserve(Path(builder.cache_dir), what=self.path):
            files = downloads.download(dict(builder.config.data_files))
        return {
            str(split): open_parquet([Path(path) for path in paths], self.limits, announce=announce)
            for split, paths in files.items()
        }

    def explain(self, error: Exception, _place: str) -> DataError:
        """Return an error of `datasets` or the hub's client as one with a fix."""
        return _explain_hub(error, path=self.path, no_answer=self.no_answer)


ArrowSource = ParquetSource | SavedSource | HubSource


def _name_split(source: str, split: str) -> str:
    return f"{source}, split {split}" if split else source


def load_errors() -> tuple[type[Exception], ...]:
    """Return what pyarrow, `datasets` and the hub's client raise for data they cannot read."""
    import pyarrow as pa

    # TypeError and OverflowError: pyarrow's conversions of values that contradict their schema.
    pyarrow = (pa.ArrowException, LookupError, TypeError, OverflowError, NotImplementedError)
    return (*pyarrow, *hub_failures())


@dataclass(frozen=True, slots=True)
class _DatasetPart:
    data: Any

    @property
    def schema(self) -> pa.Schema:
        """The schema of the features."""
        return self._features().arrow_schema

    @property
    def is_stream(self) -> bool:
        """Whether rows are downloaded while they are read."""
        import datasets

        return isinstance(self.data, datasets.IterableDataset)

    def iter_batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Yield the rows of some columns."""
        import datasets
        import pyarrow as pa

        part = self.data.select_columns(list(columns))
        if not self.is_stream:
            for table in part.with_format("arrow").iter(batch_size=_ROWS_PER_BATCH):
                yield from table.to_batches()
            return
        features = self._features()
        features = datasets.Features({name: features[name] for name in columns})
        for name, feature in features.items():
            if isinstance(feature, datasets.Image):
                part = part.cast_column(name, datasets.Image(decode=False))
        for row in part:
            # One by one, so that nothing is read beyond the limit of images.
            encoded = features.encode_example(row)
            yield pa.RecordBatch.from_pylist([encoded], schema=features.arrow_schema)

    def _features(self) -> Any:
        return self.data.features or self.data._resolve_features().features


def _split_parts(loaded: Any) -> dict[str, Part]:
    parts = dict(loaded) if hasattr(loaded, "keys") else {"": loaded}
    return {str(split): _DatasetPart(data) for split, data in parts.items()}


def _explain_hub(error: Exception, *, path: str, no_answer: str) -> DataError:
    repo = path.partition(":")[0]
    named = f"no folder {path} exists, and captune cannot load the hub data set {path}"
    if no_answer:
        unreachable = no_hub(no_answer)
        return DataError(
            f"{named}, which is not in the cache{nearest_cached(repo, 'dataset')}:"
            f" {unreachable.what}",
            fix=unreachable.complete(f"check the spelling; {unreachable.fix}"),
        )
    message = first_line(error)
    if "script" in message.lower():
        return DataError(
            f"{path} needs a loading script, which `datasets` no longer runs",
            fix="download its files and give captune the folder, or use a Parquet copy of it",
        )
    if "config" in message.lower():
        return DataError(
            f"cannot load {path}: {message}", fix="name the configuration: owner/name:CONFIGURATION"
        )
    fault = find_fault(error, repo, kind="dataset")
    if fault is not None:
        return DataError(f"{named}: {fault.what}", fix=fault.complete(fault.fix))
    # `datasets` drops the causes of some errors, so only the text is left to search.
    near = "" if "gated" in message else nearest_cached(repo, "dataset")
    return DataError(
        f"{named}{near}: {message}",
        fix="check the spelling and the network; log in with `hf auth login` when it is gated;"
        f" a local folder needs its full path; {WITHOUT_HUB}",
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class."""
    return (str(error).strip().split("\n") or [""])[0] or type(error).__name__

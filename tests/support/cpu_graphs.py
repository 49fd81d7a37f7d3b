"""A recorder on the CPU with the rules of CUDA graphs, and their traps.

Recording leaves all memory as it was. A replay repeats the recorded operations on the same memory,
with the numbers that the host gave when they were recorded. Work that waits for the device, or
copies numbers from the host, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Results that the host needs, sizes that only the device knows, and tensors from numbers.
_REFUSED = {
    *("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2"),
    *("lift_fresh", "lift", "item"),
}
_INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_"}


class RefusedError(Exception):
    """An operation that cannot be recorded."""


class CpuRecorder:
    """See `captune.hardware.Recorder`.

    Attributes:
        num_recorded: Number of recordings.
        num_replays: Number of replays.
        num_warm_ups: Number of runs as usual.
        num_fetched: Number of copies for the host.
        lags: For each copy that was waited for, the number of copies started after it.
    """

    def __init__(self) -> None:
        self.num_recorded = self.num_replays = self.num_warm_ups = self.num_fetched = 0
        self.lags: list[int] = []

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work as usual."""
        self.num_warm_ups += 1
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Return the replay of work, whose effects are undone."""
        tape = _Tape()
        try:
            with tape:
                work()
        finally:
            tape.undo()
        self.num_recorded += 1

        def replay() -> None:
            self.num_replays += 1
            tape.replay()

        return replay

    def fetch(self, tensor: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Copy the tensor as it is now."""
        self.num_fetched += 1
        number, copied = self.num_fetched, tensor.clone()

        def wait() -> torch.Tensor:
            self.lags.append(self.num_fetched - number)
            return copied

        return wait


class _Tape(TorchDispatchMode):
    """The operations of a piece of work."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: list[tuple[Any, Any, Any, Any]] = []
        self._own: set[int] = set()
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        masks = name in _INDEXING and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if name in _REFUSED or masks:
            raise RefusedError(f"{name} cannot be recorded")
        for tensor in _written(func, args, kwargs):
            self._save(tensor.untyped_storage())
        out = func(*args, **kwargs)
        given = {_address(tensor) for tensor in _tensors((args, kwargs))}
        fresh = [tensor for tensor in _tensors(out) if _address(tensor) not in given]
        self._own |= {_address(tensor) for tensor in fresh}
        # The results are kept: another tensor must not get their memory.
        self._operations.append((func, args, kwargs, out))
        return out

    def undo(self) -> None:
        """Restore the memory that the work has written and did not allocate."""
        for storage, before in self._before.values():
            storage.copy_(before)

    def replay(self) -> None:
        """Repeat the operations."""
        for func, args, kwargs, recorded in self._operations:
            given = {_address(tensor) for tensor in _tensors((args, kwargs))}
            found = func(*args, **kwargs)
            for kept, new in zip(_tensors(recorded), _tensors(found), strict=True):
                if _address(kept) not in given:
                    kept.copy_(new)

    def _save(self, storage: torch.UntypedStorage) -> None:
        address = storage.data_ptr()
        if address not in self._own and address not in self._before:
            self._before[address] = storage, storage.clone()


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors that an operation writes."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        given = args[place] if place < len(args) else kwargs.get(argument.name)
        yield from _tensors(given)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()

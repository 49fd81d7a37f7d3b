"""A pretend accelerator on a torch that has none: tensors on `pretend:0` that hold CPU values.

It finds faults that a CPU hides: operations on tensors of two devices, float64 on a device without
it, and waits for the device. It counts its operations. It consists of a tensor subclass, a dispatch
mode and torch's Python backend, and stays active for the rest of the process: run it in a separate
process (`support.runs.pretend_script`). It has no autocast, no fused kernels, and `torch.no_grad`
instead of inference mode.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from captune.hardware import devices

KIND = "pretend"

_COPIES = {"_to_copy", "copy_", "copy"}
# Their result is a number or a size that only the device knows.
_WAITS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2"}
_NUMBERS = {"_local_scalar_dense", "equal", "is_nonzero"}
_INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_"}


@dataclass
class Counts:
    """Counts of the device's work.

    Attributes:
        operations: Operations on the device, including views.
        waits: Waits of the CPU for the device, per line of captune.
        attentions: Query shapes of torch's fused attention.
    """

    operations: int = 0
    waits: Counter[str] = field(default_factory=Counter)
    attentions: list[tuple[int, ...]] = field(default_factory=list)


class MixedDevicesError(RuntimeError):
    """An operation got tensors of both the CPU and the device."""


class PretendTensor(torch.Tensor):
    """A tensor on the device whose `values` are on the CPU."""

    values: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> PretendTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            layout=values.layout,
            device=torch.device(KIND, 0),
        )
        made.values = values
        return made

    def __repr__(self) -> str:
        return f"PretendTensor({self.values!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Save it as the CPU tensor that it holds."""
        return self.values.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _DEVICE.run(func, args, kwargs or {})


class PretendDevice(TorchDispatchMode):
    """The device, active after `start()`.

    Attributes:
        counts: Counts of its work so far.
        has_float64: Whether it supports float64; MPS does not.
        random_state: Stored only; the CPU's generator draws the numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.has_float64 = True
        self.random_state = torch.zeros(16, dtype=torch.uint8)

    def start(self, *, has_float64: bool = True) -> None:
        """Make the device visible to torch and captune."""
        self.has_float64 = has_float64
        _register()
        _teach_torch()
        self.__enter__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operation on the CPU values, like the device."""
        name = func._schema.name.partition("::")[2]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, PretendTensor)]
        target = kwargs.get("device")
        to_us = target is not None and _is_ours(target)
        if not ours and not to_us:
            return func(*args, **kwargs)
        if name not in _COPIES:
            self._refuse_mixed(name, args, tensors)
        if not self.has_float64:
            stays = to_us or target is None
            _refuse_float64(ours, args=args, dtype=kwargs.get("dtype") if stays else None)
        self._count(name, args, kwargs)
        leaves = target is not None and not to_us
        out = _on_cpu(func, args, kwargs, copies=leaves and name == "_to_copy")
        if (
            name in _NUMBERS
            or leaves
            or (name == "copy_" and not isinstance(args[0], PretendTensor))
        ):
            return out
        # A tensor that is changed in place keeps its identity.
        known = {id(tensor.values): tensor for tensor in ours}

        def placed(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return known[id(value)] if id(value) in known else PretendTensor(value)

        return tree_map(placed, out)

    def _refuse_mixed(self, name: str, args: Any, tensors: list[torch.Tensor]) -> None:
        others = [t for t in tensors if not isinstance(t, PretendTensor) and t.dim() > 0]
        if name in _INDEXING and isinstance(args[0], PretendTensor):
            # torch moves indices of the CPU to the device, which waits.
            self.counts.waits[_line()] += len(others)
            others = [tensor for tensor in others if tensor is args[0]]
        if others:
            shapes = [tuple(tensor.shape) for tensor in others]
            raise MixedDevicesError(f"{name} at {_line()}: CPU tensors of shapes {shapes}")

    def _count(self, name: str, args: Any, kwargs: dict[str, Any]) -> None:
        self.counts.operations += 1
        masks = name in _INDEXING and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if name in _WAITS or masks or (name in _COPIES and not _is_inside(name, args, kwargs)):
            self.counts.waits[_line()] += 1


_DEVICE = PretendDevice()


def pretend_device() -> PretendDevice:
    """Return the only device of this process."""
    return _DEVICE


def _on_cpu(func: Any, args: Any, kwargs: dict[str, Any], *, copies: bool) -> Any:
    args, kwargs = tree_map(
        lambda x: x.values if isinstance(x, PretendTensor) else x, (args, kwargs)
    )
    if kwargs.get("device") is not None and _is_ours(kwargs["device"]):
        kwargs = {**kwargs, "device": torch.device("cpu")}
    out = func(*args, **{k: v for k, v in kwargs.items() if k != "pin_memory"})
    # A tensor that leaves the device is a copy, although its values are on the CPU already.
    return out.clone() if copies and out is args[0] else out


def _is_inside(name: str, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether a copy stays on the device, or does not wait."""
    if kwargs.get("non_blocking"):
        return True
    if name != "_to_copy":
        return isinstance(args[0], PretendTensor) and isinstance(args[1], PretendTensor)
    target = kwargs.get("device")
    return isinstance(args[0], PretendTensor) and (target is None or _is_ours(target))


def _refuse_float64(ours: list[Any], *, args: Any, dtype: Any) -> None:
    """Refuse tensors on or to the device, and results, of the type `dtype`."""
    coming = [t for t in args[:1] if isinstance(t, torch.Tensor) and dtype is None]
    if dtype == torch.float64 or any(t.dtype == torch.float64 for t in [*ours, *coming]):
        raise TypeError(f"at {_line()}: this device does not support float64")


def _is_ours(device: Any) -> bool:
    return torch.device(device).type == KIND


def _line() -> str:
    """Return the innermost line of captune on the stack, else of accelerate."""
    frame, found = sys._getframe(1), "elsewhere"
    while frame is not None:
        file = frame.f_code.co_filename
        place = f"{'/'.join(file.split('/')[-2:])}:{frame.f_lineno}"
        if "/captune/" in file:
            return place
        if "/accelerate/" in file and found == "elsewhere":
            found = place
        frame = frame.f_back
    return found


def _register() -> None:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend(KIND)
    module = getattr(torch, KIND)
    answers = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_rng_state": lambda *_: _DEVICE.random_state,
        "set_rng_state": lambda state, *_: setattr(_DEVICE, "random_state", state),
        **dict.fromkeys(
            (
                *("set_device", "synchronize", "empty_cache", "init"),
                *("manual_seed", "manual_seed_all", "_lazy_init"),
            ),
            lambda *_: None,
        ),
        "_is_in_bad_fork": lambda: False,
    }
    for name, answer in answers.items():
        setattr(module, name, answer)
    # accelerate would search for the devices that it knows.
    os.environ["ACCELERATE_TORCH_DEVICE"] = f"{KIND}:0"
    devices._ORDER = (KIND, "cpu")


def _teach_torch() -> None:
    """Replace functions that access memory below the dispatcher: a Python backend has none."""
    _teach_tensors()
    base_state_dict = torch.nn.Module.state_dict

    def state_dict(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Return the storage of the CPU values: safetensors needs addresses."""
        found = base_state_dict(self, *args, **kwargs)
        for name, value in found.items():
            if isinstance(value, PretendTensor):
                found[name] = value.values
        return found

    torch.nn.Module.to, torch.nn.Module.state_dict = _module_to, state_dict
    functional.scaled_dot_product_attention = _attend


def _teach_tensors() -> None:
    # Fill torch's table of constructors, which `with torch.device("meta")` uses, before
    # `torch.tensor` is replaced. Otherwise transformers takes the meta device for the CPU, counts
    # its tensors as initialised, and leaves GIT's `position_ids` with arbitrary numbers.
    _device_constructors()
    base_to, base_list, base_tensor = torch.Tensor.to, torch.Tensor.tolist, torch.tensor
    base_setitem = torch.Tensor.__setitem__

    def numbered(device: Any) -> Any:
        is_device = isinstance(device, str | torch.device)
        return torch.device(KIND, 0) if is_device and _is_ours(device) else device

    def to(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(numbered, (args, kwargs))
        return base_to(self, *args, **kwargs)

    def tolist(self: torch.Tensor) -> Any:
        if not isinstance(self, PretendTensor):
            return base_list(self)
        _DEVICE.counts.waits[_line()] += 1
        return base_list(self.values)

    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
        made = base_tensor(data, **kwargs)
        return made if device is None else made.to(device)

    def setitem(self: torch.Tensor, index: Any, value: Any) -> None:
        if isinstance(self, PretendTensor):
            places = index if isinstance(index, tuple) else (index,)
            index = tuple(tensor(i, device=KIND) if isinstance(i, list) else i for i in places)
        base_setitem(self, index, value)

    torch.Tensor.to, torch.Tensor.tolist, torch.tensor = to, tolist, tensor
    torch.Tensor.__setitem__ = setitem


def _attend(query: torch.Tensor, *tensors: torch.Tensor, **settings: Any) -> torch.Tensor:
    if isinstance(query, PretendTensor):
        _DEVICE.counts.attentions.append(tuple(query.shape))
    return torch.ops.aten._scaled_dot_product_attention_math(query, *tensors, **settings)[0]


_MOVED: list[torch.Tensor] = []


def _module_to(self: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.nn.Module:
    """Implement `Module.to` with new parameters: old ones cannot become a subclass."""
    device, dtype, *_ = torch._C._nn._parse_to(*args, **kwargs)
    moved: dict[int, Any] = {}

    @torch.no_grad()
    def move(tensor: torch.Tensor) -> Any:
        if id(tensor) not in moved:
            values = tensor.detach()
            wanted = dtype if tensor.is_floating_point() else None
            new: torch.Tensor = values.to(device=device, dtype=wanted)
            if new is values:
                new = tensor
            elif isinstance(tensor, torch.nn.Parameter):
                new = torch.nn.Parameter(new, requires_grad=tensor.requires_grad)
            # Kept, because another tensor could get the address of a freed one.
            _MOVED.append(tensor)
            moved[id(tensor)] = new
        return moved[id(tensor)]

    for module in self.modules():
        for held in (module._parameters, module._buffers):
            held.update({name: move(t) for name, t in held.items() if t is not None})
    return self

"""The devices of this machine, the precision they compute in, and the memory they have left.

Names are imported on first use: `process_memory` does without torch, which takes seconds to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from captune.lazy_names import import_on_use

if TYPE_CHECKING:
    from captune.hardware.device_failures import find_device_fix
    from captune.hardware.devices import (
        VISIBLE_DEVICES,
        Hardware,
        available_kinds,
        choose_hardware,
        device_random_states,
        free_cached_memory,
        is_out_of_memory,
        refuse_numbered_device,
        rounding_products,
        set_device_random_states,
        without_autocast,
    )
    from captune.hardware.graphs import Recorder, RepeatedWork, find_recorder
    from captune.hardware.process_memory import has_limit, return_free_memory
    from captune.hardware.threads import let_waiting_threads_sleep

__all__ = [
    "VISIBLE_DEVICES",
    "Hardware",
    "Recorder",
    "RepeatedWork",
    "available_kinds",
    "choose_hardware",
    "device_random_states",
    "find_device_fix",
    "find_recorder",
    "free_cached_memory",
    "has_limit",
    "is_out_of_memory",
    "let_waiting_threads_sleep",
    "refuse_numbered_device",
    "return_free_memory",
    "rounding_products",
    "set_device_random_states",
    "without_autocast",
]

_HOMES = {
    "VISIBLE_DEVICES": "captune.hardware.devices",
    "Hardware": "captune.hardware.devices",
    "Recorder": "captune.hardware.graphs",
    "RepeatedWork": "captune.hardware.graphs",
    "available_kinds": "captune.hardware.devices",
    "choose_hardware": "captune.hardware.devices",
    "device_random_states": "captune.hardware.devices",
    "find_device_fix": "captune.hardware.device_failures",
    "find_recorder": "captune.hardware.graphs",
    "free_cached_memory": "captune.hardware.devices",
    "is_out_of_memory": "captune.hardware.devices",
    "refuse_numbered_device": "captune.hardware.devices",
    "rounding_products": "captune.hardware.devices",
    "set_device_random_states": "captune.hardware.devices",
    "without_autocast": "captune.hardware.devices",
    "has_limit": "captune.hardware.process_memory",
    "return_free_memory": "captune.hardware.process_memory",
    "let_waiting_threads_sleep": "captune.hardware.threads",
}

__getattr__ = import_on_use(__name__, _HOMES)

"""What to do if a device or its driver fails, by the text of the error: there is no class for it.

The texts are those of CUDA 11 to 13, ROCm 6 and 7, and torch 2.6 to 2.13.
"""

from __future__ import annotations

import re

_OF_A_DEVICE = re.compile(r"cuda|\bhip\b|xpu|nvidia", re.IGNORECASE)
_ON_CPU = "use the CPU: --device cpu (recipe: train.device: cpu)"
_OTHER_TORCH = f"install a version of torch that supports it, or {_ON_CPU}"
_FIXES = {
    r"no kernel image is available|\binvalid device function": "the installed torch has no code for"
    f" this GPU, which is too old or too new for it: {_OTHER_TORCH}",
    r"driver version is insufficient|driver on your system is too old": "update the GPU's driver,"
    f" or {_OTHER_TORCH}",
    r"found no nvidia driver|no (cuda|hip) gpus are available|no xpu devices? (is|are) available": (
        "check the driver, and the variables that hide devices (CUDA_VISIBLE_DEVICES); captune"
        f" doctor shows what torch sees; or {_ON_CPU}"
    ),
    r"busy or unavailable": "another program uses this GPU alone: end it (nvidia-smi lists it),"
    f" choose another device, or {_ON_CPU}",
    r"driver initialization failed|cuda unknown error|system not yet initialized"
    r"|error: initialization error": "the GPU's driver does not start: restart the container or the"
    f" machine, or {_ON_CPU}",
    r"uncorrectable ecc error|hardware stack error|unspecified launch failure": "the GPU or its"
    " driver failed: look for the cause in the system's log (dmesg), restart the machine, then run"
    f" the same command again; or {_ON_CPU}",
}


def find_device_fix(error: BaseException) -> str | None:
    """Return what to do about a failure of a device or its driver; `None`: it is another error."""
    text = str(error)
    if not isinstance(error, RuntimeError) or _OF_A_DEVICE.search(text) is None:
        return None
    found = (fix for words, fix in _FIXES.items() if re.search(words, text, re.IGNORECASE))
    return next(found, None)

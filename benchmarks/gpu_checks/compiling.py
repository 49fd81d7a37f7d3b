"""Measure what torch.compile gains in the vision encoder, and how long it takes to compile.

captune does not compile: this shows after how many images it would pay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from captune.models import inference_form
from gpu_checks.replaying import time_work
from gpu_checks.setting import Line, Setting, first_line, make_captioner, make_pixels, verdict


def check_compiling(setting: Setting) -> Iterator[Line]:
    sizes = ["vit-gpt2-tiny"] if setting.quick else ["blip-base"]
    for size in sizes:
        name = f"compile.{size}"
        try:
            with torch.inference_mode():
                yield time_compiled(setting, name, size)
        # A missing compiler has an error class of its own in every part of torch.
        except Exception as error:  # noqa: BLE001
            yield Line(name, "SKIP", f"{type(error).__name__}: {first_line(error)}")
        torch.compiler.reset()


def time_compiled(setting: Setting, name: str, size: str) -> Line:
    """Compare the encoder's layers in half precision, of a full batch with a fixed shape."""
    images = 2 if setting.quick else 64
    captioner = make_captioner(size)
    captioner.move_to(setting.device)
    dtype = setting.at(setting.fast_precision).dtype
    form = inference_form(captioner, vision=dtype, text=dtype)
    pixels = make_pixels(captioner, images).to(setting.device)
    # On a CPU, only whether the layers can be traced: compiling needs a C++ compiler.
    backend = "eager" if setting.device.type == "cpu" else "inductor"

    def encode(inputs: torch.Tensor) -> torch.Tensor:
        for stage in form.stages or ():
            inputs = stage(inputs)
        return inputs

    compiled = torch.compile(encode, dynamic=False, fullgraph=True, backend=backend)
    started = time.perf_counter()
    found = compiled(pixels)
    setting.hardware.synchronize()
    seconds = time.perf_counter() - started
    expected = encode(pixels)
    difference = ((found - expected).abs().max() / expected.abs().max()).item()
    usual, fast = (time_work(setting, lambda f=f: f(pixels)) for f in (encode, compiled))
    gain = (usual - fast) / images
    pays = f"after {seconds / gain:,.0f} images" if gain > 0 else "never"
    return Line(
        name,
        verdict(difference <= 0.05),
        f"{images / usual:.0f} images/s as usual, {images / fast:.0f} compiled; {seconds:.0f} s to"
        f" compile ({backend}), which pays {pays}; largest difference {difference:.1e}",
    )

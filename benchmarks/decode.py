"""Speed of captune and of plain transformers `generate`, side by side in one run.

Random weights of published sizes; both sides generate the same number of tokens. Without `--whole`
both start from the same vision states, so that only decoding is measured; with it, from the same
pixels. Plain transformers has weights in the precision of the run, batches, and SDPA where it
supports that. Ratios are those of medians. With one thread, CPU seconds are measured, so that other
load on the machine does not matter.

    python benchmarks/decode.py [--size blip-base] [--beams 1 3 5] [--threads 1] [--bf16] [--whole]
    python benchmarks/decode.py --whole --bf16 --batch-size 1    # latency of one image
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from captune.inference import generate
from captune.models import (
    Captioner,
    InferenceForm,
    build_size,
    inference_form,
    train_tokenizer,
)
from captune.recipe import GenerateConfig, TokenizerConfig

VOCABULARY = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", default=["blip-base", "git-base", "vit-gpt2-base"])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 on both sides")
    parser.add_argument("--whole", action="store_true", help="from pixels, not from vision states")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    work = "vision and decoding" if options.whole else "decoding only"
    print(f"{options.device}, {options.threads} threads, {dtype}, batch {options.batch_size},")
    print(f"{options.tokens} new tokens, median of {options.repeats}, images/s, {work}")
    print(f"{'ratio':>6}  {'size':14} {'beams':>5} {'captune':>8} {'plain':>8}  same captions")
    tokenizer = make_tokenizer()
    for size in options.size:
        torch.manual_seed(0)
        ours = build_size(size, tokenizer)
        ours.model.to(options.device)
        ours.eval_mode()
        plain = copy.deepcopy(ours.model).to(dtype)
        theirs = type(ours)(plain, ours.tokenizer, ours.image_processor)
        theirs.choose_attention(torch.device("cuda"))
        form = inference_form(ours, vision=dtype, text=dtype)
        for beams in options.beams:
            print(compare(form, theirs, beams, options=options, size=size), flush=True)


@torch.inference_mode()
def compare(
    form: InferenceForm, plain: Captioner, beams: int, *, options: argparse.Namespace, size: str
) -> str:
    pixels = make_pixels(form.captioner, options.batch_size)
    states = None if options.whole else form.encode(pixels)
    config = GenerateConfig(
        num_beams=beams, max_new_tokens=options.tokens, min_new_tokens=options.tokens
    )
    image_ids = [str(number) for number in range(options.batch_size)]

    def run_ours() -> list[str]:
        found = generate(
            form.captioner,
            form.encode(pixels) if states is None else states,
            image_ids=image_ids,
            config=config,
            backend=form.text,
        )
        return [prediction.caption for prediction in found]

    def run_plain() -> list[str]:
        if states is None:
            return generate_whole(plain, pixels, config)
        return generate_plain(plain, states.to(plain.model.dtype), config)

    sides: dict[str, Callable[[], list[str]]] = {"captune": run_ours, "plain": run_plain}
    alone = options.device == "cpu" and options.threads == 1
    clock = time.process_time if alone else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in sides}
    captions = {name: run() for name, run in sides.items()}
    for _ in range(options.repeats):
        for name, run in sides.items():
            start = clock()
            run()
            synchronize(options.device)
            times[name].append(clock() - start)
    ours, theirs = (options.batch_size / statistics.median(times[name]) for name in sides)
    pairs = zip(captions["captune"], captions["plain"], strict=True)
    same = sum(one == other for one, other in pairs)
    return (
        f"{ours / theirs:6.2f}  {size:14} {beams:5d} {ours:8.2f} {theirs:8.2f}"
        f"  {same}/{options.batch_size}"
    )


def make_pixels(captioner: Captioner, batch_size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    height, width = image_size(captioner)
    return torch.randn(batch_size, 3, height, width, generator=generator).to(captioner.device)


def image_size(captioner: Captioner) -> tuple[int, int]:
    size = captioner.image_processor.size
    crop = getattr(captioner.image_processor, "crop_size", None)
    side = crop if crop and "height" in crop else size
    return side["height"], side["width"]


def generate_whole(captioner: Captioner, pixels: torch.Tensor, config: GenerateConfig) -> list[str]:
    """Do what a script with plain transformers does."""
    settings = config.model_dump(include={"num_beams", "max_new_tokens", "min_new_tokens"})
    inputs = {"pixel_values": pixels.to(captioner.model.dtype)}
    if captioner.family == "git":
        start = torch.full((len(pixels), 1), captioner.bos_token_id, device=pixels.device)
        inputs["input_ids"] = start
        settings["eos_token_id"] = captioner.eos_token_id
        settings["pad_token_id"] = captioner.pad_token_id
    output = captioner.model.generate(**inputs, **settings)
    return [captioner.decode(tokens[1:]) for tokens in output.tolist()]


def generate_plain(captioner: Captioner, states: torch.Tensor, config: GenerateConfig) -> list[str]:
    """Do what `model.generate` does after its vision encoder."""
    settings = config.model_dump(include={"num_beams", "max_new_tokens", "min_new_tokens"})
    if captioner.family == "git":
        raise SystemExit("GIT's `generate` takes no vision states: use --whole")
    if captioner.family == "blip":
        start = torch.full((len(states), 1), captioner.bos_token_id, device=states.device)
        output = captioner.model.text_decoder.generate(
            input_ids=start,
            encoder_hidden_states=states,
            encoder_attention_mask=torch.ones(states.shape[:2], device=states.device).long(),
            eos_token_id=captioner.eos_token_id,
            pad_token_id=captioner.pad_token_id,
            **settings,
        )
    else:
        outputs = BaseModelOutput(last_hidden_state=states)
        output = captioner.model.generate(encoder_outputs=outputs, **settings)
    return [captioner.decode(tokens[1:]) for tokens in output.tolist()]


def make_tokenizer() -> Any:
    words = " ".join(f"w{number}" for number in range(VOCABULARY))
    config = TokenizerConfig(kind="word", min_count=1, vocab_size=VOCABULARY)
    return train_tokenizer([words], config)


def synchronize(device: str) -> None:
    with contextlib.suppress(AttributeError):
        getattr(torch, device.partition(":")[0]).synchronize()


if __name__ == "__main__":
    main()

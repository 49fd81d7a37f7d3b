"""Speed of packed beams and of plain transformers `generate`, side by side in one run.

Random weights of published sizes; both sides start from the same vision states and generate the
same number of tokens, so that only decoding is measured. Ratios are those of medians. With one
thread, CPU seconds are measured, so that other load on the machine does not matter.

    python benchmarks/decode.py [--size blip-base] [--beams 1 3 5] [--threads 1] [--bf16]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from captune.inference import generate
from captune.models import Captioner, build_size, train_tokenizer
from captune.recipe import GenerateConfig, TokenizerConfig

VOCABULARY = 30_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", nargs="+", default=["blip-base", "vit-gpt2-base"])
    parser.add_argument("--beams", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 weights on both sides")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    print(f"{options.device}, {options.threads} threads, {dtype}, batch {options.batch_size},")
    print(f"{options.tokens} new tokens, median of {options.repeats}, images/s, decoding only")
    print(f"{'ratio':>6}  {'size':14} {'beams':>5} {'packed':>8} {'plain':>8}  same captions")
    tokenizer = make_tokenizer()
    for size in options.size:
        torch.manual_seed(0)
        captioner = build_size(size, tokenizer)
        captioner.model.to(options.device, dtype)
        captioner.eval_mode()
        for beams in options.beams:
            print(compare(captioner, beams, options=options, size=size), flush=True)


@torch.inference_mode()
def compare(captioner: Captioner, beams: int, *, options: argparse.Namespace, size: str) -> str:
    states = make_states(captioner, options.batch_size)
    config = GenerateConfig(
        num_beams=beams, max_new_tokens=options.tokens, min_new_tokens=options.tokens
    )
    image_ids = [str(number) for number in range(options.batch_size)]
    sides: dict[str, Callable[[], list[str]]] = {
        "packed": lambda: [
            p.caption for p in generate(captioner, states, image_ids=image_ids, config=config)
        ],
        "plain": lambda: generate_plain(captioner, states, config),
    }
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
    packed, plain = (options.batch_size / statistics.median(times[name]) for name in sides)
    pairs = zip(captions["packed"], captions["plain"], strict=True)
    same = sum(ours == theirs for ours, theirs in pairs)
    return (
        f"{packed / plain:6.2f}  {size:14} {beams:5d} {packed:8.2f} {plain:8.2f}"
        f"  {same}/{options.batch_size}"
    )


def make_states(captioner: Captioner, batch_size: int) -> torch.Tensor:
    side = captioner.image_processor.size["height"]
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    one = captioner.encode(pixels.to(captioner.device, captioner.model.dtype))
    generator = torch.Generator(one.device).manual_seed(2)
    noise = torch.randn(
        (batch_size, *one.shape[1:]), generator=generator, device=one.device, dtype=one.dtype
    )
    return one + noise


def generate_plain(captioner: Captioner, states: torch.Tensor, config: GenerateConfig) -> list[str]:
    """Do what `model.generate` does after its vision encoder."""
    settings = config.model_dump(include={"num_beams", "max_new_tokens", "min_new_tokens"})
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

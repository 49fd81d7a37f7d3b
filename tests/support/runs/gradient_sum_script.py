"""Sum gradients over processes while the backward pass runs, and compare with plain sums."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from captune.training.steps.gradient_sum import GradientSum

BUCKET = 40
"""Values per bucket: several layers here have more, several less."""


class Net(nn.Module):
    """Tied weights, a weight that only rank 0 uses, and one that nobody does."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.unused = nn.Parameter(torch.ones(3))
        self.embedding = nn.Embedding(9, 4)
        self.convolution = nn.Conv2d(2, 4, 3, padding=1).to(memory_format=torch.channels_last)
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(4)])
        self.on_rank_0 = nn.LayerNorm(4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.doubles = nn.ParameterList([torch.ones(4, dtype=torch.float64)])

    def forward(self, ids: torch.Tensor, image: torch.Tensor, *, extra: bool) -> torch.Tensor:
        hidden = self.embedding(ids) + self.convolution(image).mean((2, 3))
        for layer in self.layers:
            hidden = torch.relu(layer(hidden)) + hidden
        hidden = self.norm(hidden) * self.doubles[0].float()
        if extra:
            hidden = self.on_rank_0(hidden)
        return torch.as_tensor((hidden @ self.embedding.weight.T).logsumexp(-1).sum())


def inputs(rank: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a micro batch; ranks have different ones."""
    generator = torch.Generator().manual_seed(10 * rank + micro)
    count = 2 + rank
    ids = torch.randint(0, 9, (count,), generator=generator)
    return ids, torch.randn(count, 2, 5, 5, generator=generator)


def summed(rank: int, world: int, *, idle: int, sent: list[int]) -> list[torch.Tensor | None]:
    """Return the summed gradients; rank `idle` has no images, and ranks have 1 + rank batches."""
    net = Net()
    parameters = list(net.parameters())
    sums = GradientSum(parameters, bucket_numbers=BUCKET)
    count = 0 if rank == idle else 1 + rank
    for micro in range(count):
        loss = net(*inputs(rank, micro), extra=rank == 0)
        if micro < count - 1:
            loss.backward()
            continue
        with sums.during_backward():
            loss.backward()
        sent.append(len(sums._sent))
    used = sums.finish()
    assert used == [
        count > 0 and p is not net.unused and (rank == 0 or p is not net.on_rank_0.weight)
        for p in parameters
    ]
    for parameter in parameters:
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()
    return [parameter.grad for parameter in parameters]


def alone(world: int, *, idle: int) -> list[torch.Tensor]:
    """Return the gradients of all ranks' micro batches in one process."""
    net = Net()
    for rank in range(world):
        for micro in range(0 if rank == idle else 1 + rank):
            net(*inputs(rank, micro), extra=rank == 0).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]


def main(folder: Path) -> None:
    """Compare on each rank; with and without an idle one."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    sent: list[int] = []
    for idle in (-1, 1):
        for ours, expected in zip(
            summed(rank, world, idle=idle, sent=sent), alone(world, idle=idle), strict=True
        ):
            torch.testing.assert_close(ours, expected)
    (folder / f"sent-{rank}.txt").write_text(str(sent[0]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Training steps against the matrix-product peak of the machine, and hierarchy against flat.

Run it with ``python benchmarks/train_step.py``. It needs no data: windows are random tokens of one
length. Each step is a whole one: batch, noise, forward, backward, clipping, AdamW.

- *Peak*: the best of a few square matrix products on the same device, in float32 and bfloat16.
- *Tokens* are those of the windows, T of each in a batch.
- *Utilisation* is model FLOPs over the peak of the precision that the matrix products are in.
  Model FLOPs per token are 6 N + 12 L d T as for PaLM (Chowdhery et al. 2022, Appendix B): N the
  weights of all blocks and of the output layer, L the layers of encoder and decoder together, d
  the model width. Causal attention is counted whole, and nothing else is counted: embeddings,
  pooling, latent gates, prior.
- *Hierarchy*: three levels (sequence, 2 bars, 1 bar; 16 dimensions each, priors conditioned from
  coarse to fine) against one level of 48 over the whole sequence. Their steps alternate, and the
  ratio is that of the medians; on a GPU they are replayed. Memory on a GPU is the most that was
  allocated, of steps that are not compiled. On a CPU it is a
  count of bytes: parameters, gradients, AdamW's two moments, and what the forward pass keeps for
  the backward pass.

On a CPU seconds are CPU seconds of one thread, so that other programs disturb them less, sizes are
small, and compiling (minutes of C++) has to be asked for: ``--variants eager bfloat16 compiled``.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aurl.config import RunConfig, from_plain
from aurl.data.attributes import ATTRIBUTES
from aurl.data.corpus import Corpus
from aurl.data.metrical import Metrical
from aurl.training.loop import Run, Trainer
from aurl.training.workers import Workers

FLAT = {"levels": [{"name": "all", "dim": 48, "span": "sequence"}]}
HIERARCHY: dict[str, Any] = {"top_down": True}
VARIANTS = ("eager", "bfloat16", "compiled", "graph")


@dataclass(frozen=True)
class Size:
    """A model and its batch."""

    d_model: int
    layers: int
    n_tokens: int
    n_bars: int
    batch_size: int

    def __str__(self) -> str:
        """As in the tables."""
        return (
            f"d {self.d_model}, {self.layers}+{self.layers} layers, T {self.n_tokens}, "
            f"batch {self.batch_size}"
        )


SIZES = {
    "full": (
        Size(512, 6, 512, 16, 128),
        Size(256, 4, 256, 8, 64),
        Size(128, 3, 16, 2, 256),
    ),
    "small": (Size(128, 3, 16, 2, 64), Size(128, 3, 256, 8, 4), Size(256, 4, 256, 8, 2)),
}


def corpus_of(size: Size) -> Corpus:
    """Random tokens: as many bars as said, evenly spaced, and notes between."""
    vocabulary = Metrical(velocity_bins=0, programs=False, tempo=False)
    rng = np.random.default_rng(0)
    count = 2 * size.batch_size + 8
    tokens = rng.integers(vocabulary.bar + 1, vocabulary.size, (count, size.n_tokens))
    tokens[:, 0] = vocabulary.start
    tokens[:, 1 :: size.n_tokens // size.n_bars] = vocabulary.bar
    split = np.zeros(count, np.int8)
    split[-8:] = [1, 1, 1, 1, 2, 2, 2, 2]
    return Corpus(
        vocabulary=vocabulary,
        n_bars=size.n_bars,
        tokens=tokens.astype(np.uint16).ravel(),
        offsets=np.arange(count + 1) * size.n_tokens,
        piece=np.arange(count, dtype=np.int32),
        first_bar=np.zeros(count, np.int32),
        split=split,
        attributes=np.zeros((count, len(ATTRIBUTES)), np.float32),
        attribute_names=ATTRIBUTES,
        piece_names=tuple(f"window {index}" for index in range(count)),
        name="random",
        licence="none needed: random tokens",
    )


def trainer_of(size: Size, latent: dict[str, Any], variant: str, device: torch.device) -> Trainer:
    """A trainer whose steps are taken in one of the ways of :data:`VARIANTS`."""
    config: RunConfig = from_plain(
        {
            "model": {
                "d_model": size.d_model,
                "n_heads": max(2, size.d_model // 64),
                "encoder_layers": size.layers,
                "decoder_layers": size.layers,
            },
            "latent": latent,
            "objective": {"beta": {"schedule": "constant", "value": 0.1}},
            "training": {
                "batch_size": size.batch_size,
                "precision": precision(variant, device),
                "compile": variant in ("compiled", "graph"),
            },
        }
    )
    run = Run(config=config, corpus=corpus_of(size), checkpoint_folder=Path("none"))
    trainer = Trainer(run, Workers(device=device))
    if variant == "compiled":
        trainer.replay = None
    return trainer


def precision(variant: str, device: torch.device) -> str:
    """Compiled variants are in bfloat16 where a GPU makes that fast."""
    is_half = variant == "bfloat16" or (variant != "eager" and device.type == "cuda")
    return "bfloat16" if is_half else "float32"


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """What one call takes: of the GPU as a whole, or of a CPU's one thread."""
    if device.type != "cuda":
        started = process_time()
        call()
        return process_time() - started
    torch.cuda.synchronize(device)
    started = perf_counter()
    call()
    torch.cuda.synchronize(device)
    return perf_counter() - started


def peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOPs per second of a large square matrix product, the best of ten."""
    width = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))
    times = [seconds(lambda: torch.mm(left, right), device) for _ in range(11)]
    return 2.0 * width**3 / min(times[1:])


def model_flops(trainer: Trainer, size: Size) -> float:
    """Of one token of one step."""
    model = trainer.model
    matrices = [*model.encoder.blocks.parameters(), *model.decoder.blocks.parameters()]
    matrices += [model.decoder.logits.weight]
    n = sum(each.numel() for each in matrices if each.dim() == 2)
    return 6.0 * n + 12.0 * 2 * size.layers * size.d_model * size.n_tokens


def throughput(size: Size, variants: list[str], steps: int, device: torch.device) -> None:
    """Print one line for each variant."""
    peaks = {name: peak(getattr(torch, name), device) for name in ("float32", "bfloat16")}
    print(
        f"\n{size}; matmul peak {peaks['float32'] / 1e12:.3f} TFLOP/s in float32, "
        f"{peaks['bfloat16'] / 1e12:.3f} in bfloat16"
    )
    eager = 0.0
    for variant in variants:
        try:
            trainer = trainer_of(size, HIERARCHY, variant, device)
            trainer.take_step()
        except torch.OutOfMemoryError:
            print(f"  {variant:9} does not fit into the memory of this GPU", flush=True)
            continue
        first = sum(seconds(trainer.take_step, device) for _ in range(6))
        each = median(seconds(trainer.take_step, device) for _ in range(steps))
        eager = eager or each
        rate = size.batch_size * size.n_tokens / each
        used = rate * model_flops(trainer, size) / peaks[precision(variant, device)]
        print(
            f"  {variant:9} {1e3 * each:9.2f} ms  {rate:10,.0f} tokens/s  {used:6.1%} of peak  "
            f"{eager / each:5.2f}x {variants[0]}   (first six steps {first:.1f} s)",
            flush=True,
        )


def hierarchy(size: Size, steps: int, device: torch.device) -> None:
    """Print what the hierarchy costs above the flat layout."""
    kept, timed = ("bfloat16", "graph") if device.type == "cuda" else ("eager", "eager")
    layouts = {"flat": FLAT, "hierarchy": HIERARCHY}
    memory = {
        name: bytes_of(trainer_of(size, latent, kept, device), device)
        for name, latent in layouts.items()
    }
    trainers = {name: trainer_of(size, latent, timed, device) for name, latent in layouts.items()}
    times: dict[str, list[float]] = {name: [] for name in layouts}
    for step in range(steps + 6):
        for name, trainer in trainers.items():
            taken = seconds(trainer.take_step, device)
            if step >= 6:
                times[name].append(taken)
    flat, deep = (median(times[name]) for name in layouts)
    print(
        f"  {size}: time {deep / flat - 1:+.1%} ({1e3 * flat:.1f} -> {1e3 * deep:.1f} ms), memory "
        f"{memory['hierarchy'] / memory['flat'] - 1:+.1%} ({memory['flat'] / 2**20:.1f} -> "
        f"{memory['hierarchy'] / 2**20:.1f} MiB)",
        flush=True,
    )


def bytes_of(trainer: Trainer, device: torch.device) -> int:
    """The most that a step holds: allocated on a GPU, counted on a CPU."""
    if device.type == "cuda":
        trainer.take_step()
        torch.cuda.reset_peak_memory_stats(device)
        trainer.take_step()
        return torch.cuda.max_memory_allocated(device)
    parameters = [*trainer.model.parameters()]
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        trainer.take_step()
    saved = sum(each.untyped_storage().nbytes() for key, each in kept.items() if key not in own)
    return saved + 4 * sum(each.untyped_storage().nbytes() for each in parameters)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description="What a training step costs.")
    cuda = torch.cuda.is_available()
    parser.add_argument("--sizes", choices=[*SIZES], default="full" if cuda else "small")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=VARIANTS if cuda else VARIANTS[:2]
    )
    parser.add_argument("--steps", type=int, default=30 if cuda else 8)
    parser.add_argument("--only", choices=["throughput", "hierarchy"])
    args = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    if cuda:
        print(torch.cuda.get_device_name(device))
    else:
        torch.set_num_threads(1)
        print("One thread of a CPU: these are no figures of a GPU.")
    if args.only != "hierarchy":
        for size in SIZES[args.sizes]:
            throughput(size, [*args.variants], args.steps, device)
    if args.only != "throughput":
        print("\nhierarchy against one flat level")
        for size in SIZES[args.sizes]:
            hierarchy(size, args.steps, device)


if __name__ == "__main__":
    main()

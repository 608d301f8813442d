"""How fast ViLBERT ranks and learns visual dialog, as a ratio to the straightforward way (`visdial_reference.py`).

    python scripts/benchmarks/visdial.py                       # one CPU thread, six minutes
    python scripts/benchmarks/visdial.py --only evaluate --options 100 --rounds 1,5,10
    python scripts/benchmarks/visdial.py --device cuda --options 100 --sequences 64 --repeats 5

The published base: 30,522 words, 37 regions x 2048, 1,601 classes; of its 250 million parameters the 239 million that
are read. Both ways have the same weights and get the same sequences; scores, ranks, losses and all gradients are
compared in the same run (assertions).
Dialogs are random words whose numbers follow those of real ones (`sizes.py`), read through limner's own data module:
77 tokens a sequence on average, 26 in round 1, 127 in round 10. Times are CPU seconds of this process, or the time
between CUDA events; those of limner are medians, the straightforward way runs once, because it is slow.

- "evaluate": options of every round of a dialog. The straightforward way takes ten at a time in the order of the
  file; all of its sequences cost the same, so a few options of each round do.
- "train": a step of the base stage: forward, three losses, backward, with dropout. Lengths are spread as in a batch of
  80. The optimiser's share is printed apart, since it does not grow with the batch.
- "dense": forward, the losses of relevance and alignment over options of one round, backward. limner computes them in
  parts with exact gradients; the straightforward way keeps one graph.
- "batch": making a training batch of 80: choosing sequences, wrong answers and masks, looking up tokens, copying
  regions; as a share of limner's own step.
- "words": texts to word parts, once, and from the cache.
- "memory": the peak of a process that makes one training or dense step, its optimiser's state not counted.

FLOPs are counted by torch while each way runs. --quick compares both ways at a tiny size and measures nothing.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from visdial_work import BASE, TINY, Work, check_alignment, check_gradients
from vqa import has_bfloat16, matmul_peak, timer

from limner.data.dialog_regions import with_whole_image
from limner.visdial_optim import BertAdamW

BATCH = 80  # sequences of a published training batch
PARTS = ("evaluate", "train", "dense", "batch", "words", "memory")


class Row(NamedTuple):
    """Seconds and GFLOP of both ways."""

    times: dict[str, float]
    flop: dict[str, float]

    def line(self, title: str, peak: float) -> str:
        plain, ours = self.times["plain"], self.times["ours"]
        shares = "".join(f"{self.flop[way] / self.times[way] / peak:8.0%}" for way in ("plain", "ours"))
        flop = f"{self.flop['plain']:8.0f}{self.flop['ours']:8.0f}"
        return f"{title:<20}{plain:9.2f}{ours:9.2f}{plain / ours:7.2f}x{flop}{shares}"


def counted(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and its GFLOP as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        found = call()
    return found, counter.get_total_flops() / 1e9


def both(call: Callable[[str], Any], repeats: int, seconds: Callable) -> tuple[Row, dict[str, Any]]:
    """Both ways: ours is counted, then timed before and after the straightforward way, which is counted and timed."""
    found: dict[str, Any] = {}
    flop: dict[str, float] = {}

    def run(way: str) -> None:
        found[way] = call(way)

    def count(way: str) -> None:
        found[way], flop[way] = counted(lambda: call(way))

    count("ours")
    spent = [seconds(lambda: run("ours")) for _ in range((repeats + 1) // 2)]
    plain = seconds(lambda: count("plain"))
    spent += [seconds(lambda: run("ours")) for _ in range(repeats // 2)]
    return Row({"plain": plain, "ours": statistics.median(spent)}, flop), found


def evaluate(work: Work, options: argparse.Namespace, seconds: Callable) -> Row:
    """Options of some rounds of a dialog, ranked."""
    text, seen = work.options(options.rounds, options.options), work.image(1)
    row, found = both(lambda way: work.evaluate(way, text, seen), options.repeats, seconds)
    told = f"{len(text[0])} candidates, {options.options} in each of {len(options.rounds)} rounds"
    print(f"evaluate: {told}, {text[2].sum() / len(text[0]):.1f} tokens; ", end="")
    if work.context is nullcontext:
        worst, equal = check_alignment(found["plain"], found["ours"], len(options.rounds))
        spread = (found["plain"] - found["plain"].mean(0)).abs().max()
        print(f"logits, spread over {spread:.1e}, differ by {worst:.1e}; ", end="")
        print(f"ranks are equal in {equal} of {len(options.rounds)} rounds")
    else:
        print(f"logits differ by {(found['plain'] - found['ours']).abs().max():.1e}")
    return row


def train(work: Work, options: argparse.Namespace, seconds: Callable) -> Row:
    """A step of the base stage."""
    batch = work.training(options.sequences)
    print(f"train: {options.sequences} sequences, {batch['text_mask'].sum() / options.sequences:.1f} tokens", end="")
    if work.context is nullcontext:
        few = {name: tensor[: options.checked] for name, tensor in batch.items()}
        loss, gradients = check_gradients(work, lambda way: work.train(way, few))
        print(
            f"; of {options.checked}, losses differ by {loss:.1e}, gradients by {gradients:.1e} of the largest", end=""
        )
    print()
    work.learn(0.1)
    return both(lambda way: work.train(way, batch), options.repeats, seconds)[0]


def dense(work: Work, options: argparse.Namespace, seconds: Callable) -> Row:
    """A step over the options of round 6, which is of average length."""
    seen = work.image(1)
    text = work.options([6], options.dense)
    print(f"dense: {options.dense} options, {text[2].sum() / len(text[0]):.1f} tokens", end="")
    if work.context is nullcontext:
        few = work.options([6], min(options.checked, options.dense))
        loss, gradients = check_gradients(work, lambda way: work.dense(way, few, seen))
        print(f"; of {len(few[0])}, losses differ by {loss:.1e}, gradients by {gradients:.1e} of the largest", end="")
    print()
    work.learn(0.1)
    return both(lambda way: work.dense(way, text, seen), options.repeats, seconds)[0]


def optimiser(work: Work, seconds: Callable) -> float:
    """Seconds of one update of all parameters."""
    work.ours.zero_grad()
    made = BertAdamW(work.ours.parameters(), lr=0.0)
    for parameter in work.ours.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    return min(seconds(made.step) for _ in range(3))


def prepare(work: Work, batches: int = 100) -> float:
    """CPU seconds of making a training batch, regions and all."""
    loader = work.data.training_loader(dense=False)
    count = 0
    for epoch in range(1 + -(-batches // len(loader))):
        loader.set_epoch(epoch)
        if epoch == 1:  # buffers are there
            begin = time.process_time()
        for batch in loader:
            with_whole_image(batch["feats"], batch["boxes"], batch["mask"], batch["size"], regions=None)
            count += epoch > 0
    return (time.process_time() - begin) / count


def read_words(work: Work) -> tuple[float, float, int]:
    """CPU seconds of turning all texts into word parts, the first time and from the cache, and their number."""
    assert work.data.fit is not None
    split, words = work.data.fit.split, work.data.words
    pools, spent = (split.captions, split.questions, split.answers), []
    for _ in range(2):
        begin = time.process_time()
        for pool in pools:
            words.encode_pool(pool, cache=work.folder / "words")
        spent.append(time.process_time() - begin)
    return spent[0], spent[1], sum(map(len, pools))


def peak_memory(part: str, way: str, count: int, options: argparse.Namespace) -> float:
    """MB at the peak of one step: of a process of its own (Linux), or as the CUDA allocator counts."""
    command = [sys.executable, __file__, "--memory-of", f"{part},{way},{count}", "--device", options.device]
    command += ["--threads", str(options.threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def one_step(part: str, way: str, count: int, folder: Path, device: str) -> float:
    work = Work(folder, BASE, device)
    work.learn(0.1)
    if way == "ours":
        work.plain = None
    else:
        work.ours = nn.Identity()
    batch, given = work.training(count), (work.options([6], count), work.image(1))
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    if part == "train":
        work.train(way, batch)
    else:
        work.dense(way, *given)
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


def run(options: argparse.Namespace, folder: Path) -> dict[str, Row]:
    """Measure what is asked for, print it, return the rows of the first table."""
    seconds, device = timer(options.device), options.device
    work = Work(folder, TINY if options.quick else BASE, device)
    print(f"{device}, {options.threads} thread(s), torch {torch.__version__}, ", end="")
    print(f"{sum(p.numel() for p in work.ours.parameters()) / 1e6:.1f} million parameters")
    contexts: dict[str, Callable[[], Any]] = {"fp32": nullcontext}
    if has_bfloat16(device):
        contexts["bf16"] = lambda: torch.autocast(device, dtype=torch.bfloat16)
    peak, rows = matmul_peak(device, seconds), {}
    for precision, context in contexts.items():
        work.context = context
        for part, measure in (("evaluate", evaluate), ("train", train), ("dense", dense)):
            if part in options.only:
                rows[f"{part}, {precision}"] = measure(work, options, seconds)
    if rows and not options.quick:
        peak = max(peak, matmul_peak(device, seconds))
        print(f"\nlargest matrix product (fp32): {peak:.1f} GFLOP/s")
        print(f"{'':<20}{'plain s':>9}{'ours s':>9}{'ratio':>8}{'GFLOP':>8}{'ours':>8}{'of peak':>8}{'ours':>8}")
        for title, row in rows.items():
            print(row.line(title, peak))
        if "bf16" not in contexts:
            print(f"{'bf16':<20}not measured: no bf16 here")
    step = rows["train, fp32"].times["ours"] / options.sequences * BATCH if "train, fp32" in rows else None
    if "train" in options.only and not options.quick:
        print(f"{'the optimiser':<20}{optimiser(work, seconds):18.2f} more for each update")
    if "batch" in options.only:
        spent = prepare(work, 5 if options.quick else 100)
        share = f": {spent / step:.2%} of a step ({step:.0f} s)" if step and not options.quick else ""
        print(f"a training batch of {BATCH} sequences is made in {1e3 * spent:.1f} ms{share}")
    if "words" in options.only:
        first, again, texts = read_words(work)
        print(f"{texts:,} texts to word parts: {first:.2f} s, {again:.3f} s from the cache; all: full_size.py visdial")
    if "memory" in options.only and (device == "cuda" or Path("/proc/self/clear_refs").exists()):
        print("\npeak memory of a process that makes one step, without its optimiser's state (MB)")
        for part, way, count in (
            ("train", "plain", options.sequences), ("train", "ours", options.sequences),
            ("dense", "plain", options.dense), ("dense", "ours", options.dense), ("dense", "ours", 4 * options.dense),
        ):  # fmt: skip
            used = peak_memory(part, way, count, options)
            print(f"{part}, {count} {'options' if part == 'dense' else 'sequences'}, {way:<20}{used:9.0f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    numbers = lambda text: [int(number) for number in text.split(",")]  # noqa: E731
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2, help="times that limner's way is timed (default 2)")
    parser.add_argument("--rounds", type=numbers, default=list(range(1, 11)), help="rounds evaluated (default all ten)")
    parser.add_argument("--options", type=int, default=6, help="options of each, at most 100 (default 6)")
    parser.add_argument("--sequences", type=int, default=8, help="of a training step (default 8)")
    parser.add_argument("--dense", type=int, default=6, help="options of a dense step (default 6)")
    parser.add_argument("--checked", type=int, default=3, help="sequences whose gradients are compared (default 3)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="compare both ways at a tiny size, measure nothing")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if wrong := [part for part in options.only if part not in PARTS]:
        parser.error(f"--only: {wrong[0]} is none of {', '.join(PARTS)}")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        if options.memory_of:
            part, way, count = options.memory_of.split(",")
            print(one_step(part, way, int(count), Path(name), options.device))
            return
        if options.quick:
            options.only = [part for part in options.only if part != "memory"]
            options.options, options.sequences, options.dense, options.repeats = 4, 4, 4, 1
        run(options, Path(name))


if __name__ == "__main__":
    main()

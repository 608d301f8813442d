"""How fast the Up-Down captioner trains and writes, as a ratio to the straightforward way (`captioner_reference.py`).

    python scripts/benchmarks/captioner.py                 # one CPU thread, a quarter of an hour
    python scripts/benchmarks/captioner.py --only xe1,beam --repeats 2
    python scripts/benchmarks/captioner.py --device cuda --repeats 20

100 images x 36 regions x 2048, both LSTMs of 1000, 10,010 words. Both ways have the same weights and inputs; their
log-probabilities, gradients and captions are compared first (assertions). Times are medians of alternating
repetitions in one run: CPU seconds of this process, or CUDA events. A training step is forward, loss, backward,
clipping at 0.1 and Adam: for the straightforward way torch's default one, as published, for ours the fused one. What
Adam alone takes is printed too.

- "xe1", "xe5": cross-entropy, 1 or 5 captions an image with lengths as in COCO, cut at 16 words: of 1,700 places for
  tokens at 100 x 1, 1,116 are real.
- "beam": beam search with 5 beams. "scst": one self-critical step, 5 samples an image, greedy baseline; rewards of
  both ways come from the same `limner.scst` CIDEr-D (`ciderd.py` compares that with the textbook's).

Random weights do not end captions after ten words. For "beam" and "scst" some units of the language LSTM count steps,
and the end's row of the word layer reads them, so that lengths are near those of COCO (they are printed).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from captioner_reference import STEPS, PlainCaptioner
from sizes import CAPTION_LENGTHS
from torch import Tensor, nn
from vqa import alternate, matmul_peak, timer

from limner.caption_losses import cross_entropy
from limner.data.caption_split import CaptionSplit, References
from limner.data.caption_words import CaptionVocabulary
from limner.decode import Beam
from limner.models.updown_captioner import UpDownCaptioner
from limner.scst import SCST

IMAGES, REGIONS, FEATURES, EMBED, HIDDEN, ATTENTION, WORDS = 100, 36, 2048, 1000, 1000, 512, 10_010
LONGEST = 16  # words of a caption in training
COUNTERS, SEED = 100, 0  # units that count steps; the seed whose captions have 1,116 tokens at 100 x 1
PARTS = ("xe1", "xe5", "beam", "scst")
TITLES = dict(zip(PARTS, ("XE step, 100 x 1", "XE step, 100 x 5", "beam search, 5 beams", "SCST step, 100 x 5")))


@cache
def captions(count: int) -> tuple[Tensor, Tensor]:
    """`tokens (count, T+1)` and `lengths (count,)`: lengths as in COCO, words by a Zipf law."""
    generator = torch.Generator().manual_seed(SEED)
    share = torch.tensor(CAPTION_LENGTHS, dtype=torch.float)
    words = (torch.multinomial(share, count, True, generator=generator) + 8).clamp(max=LONGEST)
    place = torch.arange(LONGEST + 1)
    drawn = torch.multinomial(1 / torch.arange(3, WORDS + 3.0), count * (LONGEST + 1), True, generator=generator)
    tokens = torch.where(place < words[:, None], drawn.view(count, -1), WORDS + 2)
    tokens[torch.arange(count), words] = WORDS
    return torch.cat((torch.full((count, 1), WORDS + 1), tokens), 1), words + 1


class Work:
    """Both models and 100 images."""

    def __init__(self, device: str) -> None:
        torch.manual_seed(0)
        sizes = {"embed_dim": EMBED, "hidden": HIDDEN, "attention_hidden": ATTENTION}
        ours = UpDownCaptioner(words=WORDS, feature_dim=FEATURES, **sizes)
        generator = torch.Generator().manual_seed(1)
        self.feats = torch.rand(IMAGES, REGIONS, FEATURES, generator=generator).half().to(device)
        self.mask = torch.ones(IMAGES, REGIONS, dtype=torch.bool, device=device)
        self.full = self.feats.float()  # the straightforward way gets its own copy; making it is not counted
        count_steps(ours)
        self.models: dict[str, nn.Module] = {"ours": ours.to(device), "plain": PlainCaptioner(ours).to(device)}
        self.optimisers = {
            way: torch.optim.Adam(model.parameters(), lr=0.0, fused=True if way == "ours" else None)
            for way, model in self.models.items()
        }
        self.device, self.tokens, self.end = device, 0, 0.0
        self.phase = SCST(baseline="greedy", samples=5)

    def set_end(self, bias: float) -> None:
        self.end = bias
        for model in self.models.values():
            layer = model.word_layer if isinstance(model, UpDownCaptioner) else model.output
            with torch.no_grad():
                layer.bias[WORDS] = bias

    def train(self, way: str, loss: Callable[[str], Tensor]) -> None:
        model, optimiser = self.models[way].train(), self.optimisers[way]
        optimiser.zero_grad()
        loss(way).backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.1)
        optimiser.step()

    def cross_entropy(self, way: str, copies: int, images: int = IMAGES) -> Tensor:
        tokens, lengths = (part[: images * copies].to(self.device) for part in captions(IMAGES * copies))
        if way == "plain":
            return self.models[way].loss(self.full[:images], tokens, lengths, copies)
        image = torch.arange(images, device=self.device).repeat_interleave(copies)
        model = self.models[way]
        states = model.states(self.feats[:images], self.mask[:images], image, tokens, lengths)
        return cross_entropy(states, model.word_layer, tokens).mean

    def beam(self, way: str, images: int = IMAGES) -> tuple[Tensor, Tensor]:
        """The best captions `(I, 20)` and their log-probabilities."""
        model = self.models[way].eval()
        if way == "plain":
            return model.beam(self.full[:images], 5)
        with torch.no_grad():
            state = model.begin(self.feats[:images], self.mask[:images])
            found = Beam(size=5, keep=1, max_length=STEPS)(model.step, state, words=WORDS)
        tokens = torch.full((images, STEPS), WORDS, device=self.device)
        tokens[:, : found.tokens.shape[2]] = found.tokens[:, 0].clamp(max=WORDS)
        return tokens, found.logp[:, 0]

    def prepare_rewards(self) -> None:
        """Five reference captions an image; document frequencies from them."""
        tokens, lengths = (part.numpy() for part in captions(5 * IMAGES))
        words = np.concatenate([row[1:length] for row, length in zip(tokens, lengths)]).astype(np.int32)
        split = CaptionSplit(
            image_id=np.arange(IMAGES),
            first=np.arange(0, 5 * IMAGES + 1, 5),
            words=[str(word) for word in range(WORDS)],
            tokens=words,
            offsets=np.concatenate(([0], np.cumsum(lengths - 1))),
            text=np.zeros(0, np.uint8),
            where=np.zeros((5 * IMAGES, 2), np.int64),
        )
        self.phase.prepare(References(split, raw=False), CaptionVocabulary(split.words))

    def reward(self, tokens: Tensor, copies: int) -> Tensor:
        """For the straightforward way: captions `(N, 20)` with ends behind their end."""
        ended = tokens == WORDS
        lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, STEPS)
        ids = np.arange(IMAGES).repeat(copies)
        return torch.from_numpy(self.phase.rewards(tokens.cpu().numpy(), lengths.cpu().numpy(), ids)).to(self.full)

    def scst(self, way: str) -> Tensor:
        if way == "plain":
            return self.models[way].scst(self.full, 5, self.reward)
        batch = {"id": torch.arange(IMAGES), "feats": self.feats, "mask": self.mask}
        found = self.phase.losses(self.models[way], batch)
        self.tokens = found["loss"].count
        return found["loss"].mean


@torch.no_grad()
def count_steps(model: UpDownCaptioner) -> None:
    """Some units of the language LSTM grow with the number of words read, and the end's row of the word layer reads
    them; the word layer is scaled until its likeliest words have a probability of some 10 %, as in a trained model."""
    lstm, layer = model.language_lstm, model.word_layer
    gates = torch.arange(COUNTERS).repeat(4) + torch.arange(0, 4 * HIDDEN, HIDDEN).repeat_interleave(COUNTERS)
    lstm.weight_ih[gates], lstm.weight_hh[gates] = 0, 0
    lstm.bias_hh[gates] = 0
    lstm.bias_ih[gates] = torch.tensor([10.0, 10.0, 0.1, 10.0]).repeat_interleave(COUNTERS)  # i, f, g, o
    lstm.weight_ih[COUNTERS:HIDDEN] *= 2
    layer.weight.mul_(40)
    layer.weight[:, :COUNTERS] = 0
    layer.weight[WORDS, :COUNTERS] = 40 / COUNTERS


def end_after(work: Work, mean: float, lengths: Callable[[], Tensor]) -> float:
    """Sets the end's bias so that captions have `mean` tokens, and says how many they then have."""
    low, high, found = -60.0, 60.0, 0.0
    for _ in range(9):
        work.set_end((low + high) / 2)
        found = lengths().float().mean().item()
        low, high = ((low + high) / 2, high) if found > mean else (low, (low + high) / 2)
    return found


def tokens_of(captions_: Tensor) -> Tensor:
    """Tokens of captions `(N, 20)`, their end included."""
    ended = captions_ == WORDS
    return torch.where(ended.any(1), ended.int().argmax(1) + 1, STEPS)


def check_equal(work: Work) -> None:
    """Loss and gradients of both ways for 4 images, beam search for 20."""
    for model in work.models.values():
        model.eval()
    losses = {way: work.cross_entropy(way, 5, images=4) for way in work.models}
    for loss in losses.values():
        loss.backward()
    ours, plain = work.models["ours"], work.models["plain"]
    difference = (losses["ours"] - losses["plain"]).abs().item()
    assert difference < 1e-4, f"losses differ by {difference}"
    pairs = [
        (ours.words.weight, plain.words.weight),
        (ours.region_net.linear.weight, plain.region.weight),
        (ours.attention.query.weight, plain.query.weight),
        (ours.attention.score.weight, plain.score.weight),
        (ours.attention_lstm.weight_ih, plain.lstm1.weight_ih),
        (ours.language_lstm.weight_hh, plain.lstm2.weight_hh),
        (ours.word_layer.weight, plain.output.weight),
    ]
    worst = max(((a.grad - b.grad).abs().max() / b.grad.abs().max()).item() for a, b in pairs)
    assert worst < 1e-3, f"gradients differ by {worst} of the largest"
    end_after(work, 11, lambda: tokens_of(work.beam("ours", 20)[0]))
    (mine, logp), (other, other_logp) = work.beam("ours", 20), work.beam("plain", 20)
    assert torch.equal(mine, other), "the beam searches find other captions"
    assert (logp - other_logp).abs().max() < 1e-3, "the beams' log-probabilities differ"
    print(f"losses differ by {difference:.1e}, gradients by {worst:.1e} of the largest; 20 captions are equal")


def flops(part: str, tokens: int, rows: int = 0) -> tuple[float, float]:
    """GFLOP of both ways (plain, ours); a multiply and an add are two. Features get no gradient.

    Args:
        tokens: real ones, of captions that are learned from or written.
        rows: rows of all steps of our search.
    """
    region = 2 * REGIONS * FEATURES * HIDDEN + 2 * FEATURES * HIDDEN  # for one image
    keys, vector = 2 * REGIONS * HIDDEN * ATTENTION, 8 * HIDDEN * HIDDEN
    state = 8 * HIDDEN * HIDDEN  # four gates from one hidden state
    attend = 2 * HIDDEN * ATTENTION + 2 * REGIONS * (ATTENTION + HIDDEN)
    layer = 2 * HIDDEN * (WORDS + 1)
    step = 6 * state + attend + layer + 8 * HIDDEN * EMBED - state  # ours: the global vector's part is not in it
    image = IMAGES * (region + keys)
    if part == "beam":
        return (image + (IMAGES + 5 * IMAGES * (STEPS - 1)) * (step + vector)) / 1e9, (image + rows * step) / 1e9
    train_image = IMAGES * (2 * region + 3 * keys)
    copies = 1 if part == "xe1" else 5
    started = 3 * 3 * IMAGES * copies * state  # the first step has no state to multiply
    if part == "scst":
        slots = IMAGES * copies * STEPS
        plain = train_image + image + (3 * slots + IMAGES * STEPS) * (step + vector)
        ours = train_image + image + 3 * tokens * step + tokens * layer + rows * step - started
    else:
        slots = IMAGES * copies * (LONGEST + 1)
        plain, ours = train_image + 3 * slots * (step + vector), train_image + 3 * tokens * step - started
    return plain / 1e9, (ours + 3 * IMAGES * vector) / 1e9


def measure(part: str, work: Work, repeats: int, seconds: Callable) -> tuple[dict[str, float], tuple[float, float]]:
    """Seconds of both ways, and their GFLOP."""
    rows = 0
    if part.startswith("xe"):
        copies = int(part[2:])
        tokens = int(captions(IMAGES * copies)[1].sum())
        print(f"{TITLES[part]}: {tokens:,} of {IMAGES * copies * (LONGEST + 1):,} places are tokens")
        calls = {way: (lambda way=way: work.train(way, lambda w: work.cross_entropy(w, copies))) for way in work.models}
        return alternate(calls, repeats, seconds), flops(part, tokens)
    step = work.models["ours"].step

    def counting(words: Tensor, state: object) -> object:
        nonlocal rows
        rows += len(words)
        return step(words, state)

    work.models["ours"].step = counting  # type: ignore[method-assign]
    if part == "beam":
        mean = end_after(work, 11, lambda: tokens_of(work.beam("ours", 20)[0]))
        print(f"{TITLES[part]}: captions of {mean:.1f} tokens")
        rows = 0
        tokens = int(tokens_of(work.beam("ours")[0]).sum())
        calls = {way: (lambda way=way: work.beam(way)) for way in work.models}
    else:
        work.prepare_rewards()
        work.models["ours"].train()
        with torch.no_grad():
            mean = end_after(work, 11.15, lambda: torch.tensor([work.scst("ours") is not None and work.tokens / 500.0]))
            rows = 0
            work.scst("ours")
        tokens = work.tokens
        print(f"{TITLES[part]}: sampled captions of {mean:.1f} tokens, {rows:,} of greedy decoding")
        calls = {way: (lambda way=way: work.train(way, work.scst)) for way in work.models}
    counted = flops(part, tokens, rows)
    work.models["ours"].step = step  # type: ignore[method-assign]
    return alternate(calls, repeats, seconds), counted


def peak_memory(part: str, way: str, end: float, options: argparse.Namespace) -> float:
    """MB at the peak of one training step: of a process of its own (Linux), or as the CUDA allocator counts."""
    command = [sys.executable, __file__, "--memory-of", f"{part},{way},{end}", "--device", options.device]
    command += ["--threads", str(options.threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def one_step(part: str, way: str, end: float, device: str) -> float:
    work = Work(device)
    work.set_end(end)
    if part == "scst":
        work.prepare_rewards()
    unused = {"ours": "plain", "plain": "ours"}[way]
    del work.models[unused], work.optimisers[unused]
    if way == "ours":
        work.full = work.full[:0]
    if device != "cuda":
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    work.train(way, work.scst if part == "scst" else lambda w: work.cross_entropy(w, int(part[2:])))
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


def run(options: argparse.Namespace) -> dict[str, float]:
    """Measure what is asked for, print it, return the ratio of each part."""
    seconds, device = timer(options.device), options.device
    print(f"{device}, {options.threads} thread(s), torch {torch.__version__}")
    work = Work(device)
    check_equal(work)
    peak, found, ends = matmul_peak(device, seconds), {}, {}
    for part in options.only:
        found[part] = measure(part, work, options.repeats, seconds)
        ends[part] = work.end
    peak = max(peak, matmul_peak(device, seconds))
    print(f"\nlargest matrix product: {peak:.1f} GFLOP/s")
    print(f"{'':<24}{'plain s':>9}{'ours s':>9}{'ratio':>8}", end="")
    print(f"{'GFLOP: plain':>15}{'ours':>8}{'of peak: plain':>16}{'ours':>7}")
    for part, (times, (of_plain, of_ours)) in found.items():
        plain, ours = times["plain"], times["ours"]
        print(f"{TITLES[part]:<24}{plain:9.2f}{ours:9.2f}{plain / ours:7.2f}x{of_plain:15.0f}{of_ours:8.0f}", end="")
        print(f"{of_plain / plain / peak:16.0%}{of_ours / ours / peak:7.0%}")
    times = alternate({way: optimiser.step for way, optimiser in work.optimisers.items()}, options.repeats, seconds)
    print(f"{'of a step, Adam':<24}{times['plain']:9.2f}{times['ours']:9.2f}")
    if options.memory and (device == "cuda" or Path("/proc/self/clear_refs").exists()):
        print("\npeak memory of a process that makes one step (MB)")
        for part in [part for part in options.only if part != "beam"]:
            used = {way: peak_memory(part, way, ends[part], options) for way in ("plain", "ours")}
            print(f"{TITLES[part]:<24}{used['plain']:9.0f}{used['ours']:9.0f}{used['plain'] / used['ours']:7.2f}x")
    return {part: times["plain"] / times["ours"] for part, (times, _) in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave out the memory table")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if wrong := [part for part in options.only if part not in PARTS]:
        parser.error(f"--only: {wrong[0]} is none of {', '.join(PARTS)}")
    torch.set_num_threads(options.threads)
    if options.memory_of:
        part, way, end = options.memory_of.split(",")
        print(one_step(part, way, float(end), options.device))
    else:
        run(options)


if __name__ == "__main__":
    main()

"""How fast Up-Down VQA trains and answers, as a ratio to the straightforward way (`vqa_reference.py`).

    python scripts/benchmarks/vqa.py                       # one CPU thread, some minutes
    python scripts/benchmarks/vqa.py --device cuda --repeats 20

Both ways have the same weights and get the same questions and images; their outputs and gradients are compared first
(1e-5, an assertion). Times are medians of alternating repetitions in one run: CPU seconds of this process, or CUDA
events. A training step is forward, loss, backward, clipping to 0.25 and Adamax.

- "same batches": 512 questions about 512 images, as a shuffled epoch gives them.
- "grouped": 512 questions about 95 images (5.4 an image, as in VQA v2). The straightforward way gets a float32 copy
  of its image's regions for each question, as its loader makes it; making that copy is not counted.
- "questions once": the recurrent states of 8 batches computed in one call, one eighth of it counted for each batch.

Questions are real ones if there is a file (--questions, official VQA JSON, may be .gz); else their lengths follow
the histogram of VQA v2 below and their words a Zipf law.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from sizes import QUESTION_LENGTHS
from torch import Tensor
from vqa_reference import PlainUpDownVQA

from limner.losses import soft_bce
from limner.models import question_trie
from limner.models.question import left_pad
from limner.models.updown_vqa import UpDownVQA

WORDS, ANSWERS, REGIONS, FEATURES, EMBED, HIDDEN, CLASSIFIER, LENGTH = 19901, 3129, 36, 2048, 300, 1024, 2048, 14
PER_IMAGE = 5.4
SHARED = Path(os.environ.get("LIMNER_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
QUESTIONS = SHARED / "data/vqa_v2_60k/questions_train.json.gz"


def read_questions(path: Path | None, count: int) -> Tensor:
    """`count` questions as token ids `(count, 14)`, padded on the right."""
    rows = torch.full((count, LENGTH), WORDS)
    if path is None or not path.is_file():
        generator = torch.Generator().manual_seed(0)
        share = torch.tensor(QUESTION_LENGTHS, dtype=torch.float)
        lengths = torch.multinomial(share, count, True, generator=generator) + 3
        words = torch.multinomial(1 / torch.arange(3, WORDS + 3.0), count * LENGTH, True, generator=generator)
        real = torch.arange(LENGTH) < lengths[:, None]
        return torch.where(real, words.view(count, LENGTH), rows)
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    vocabulary: dict[str, int] = {}
    for row, item in zip(rows, json.loads(text)["questions"]):
        words = item["question"].lower().replace(",", "").replace("?", "").replace("'s", " 's").split()[:LENGTH]
        row[: len(words)] = torch.tensor([vocabulary.setdefault(word, len(vocabulary)) for word in words])
    if len(vocabulary) > WORDS:
        raise SystemExit(f"{path}: {len(vocabulary)} words, expected {WORDS} or fewer")
    return rows


class Work:
    """One batch of questions and both models over it."""

    def __init__(self, ours: UpDownVQA, plain: PlainUpDownVQA, tokens: Tensor, images: int, device: str) -> None:
        count = len(tokens)
        generator = torch.Generator().manual_seed(images)
        self.feats = torch.rand(images, REGIONS, FEATURES, generator=generator).half().to(device)
        self.mask = torch.ones(images, REGIONS, dtype=torch.bool, device=device)
        if images == count:
            image = torch.arange(count)
        else:  # three an image at least, the rest at random
            rest = torch.randint(images, (count - 3 * images,), generator=generator)
            image = torch.cat((torch.arange(images).repeat(3), rest)).sort().values
        self.image, self.tokens = image.to(device), tokens.to(device)
        self.scores = torch.zeros(count, ANSWERS)
        self.scores[torch.arange(count), torch.randint(ANSWERS, (count,), generator=generator)] = 0.9
        self.scores = self.scores.to(device)
        self.copied = self.feats.float()[self.image]
        self.left = left_pad(self.tokens, (self.tokens != WORDS).sum(1), LENGTH, WORDS)
        self.models = {"ours": ours, "plain": plain}

    def forward(self, way: str) -> tuple[Tensor, Tensor]:
        if way == "ours":
            return self.models[way](self.feats, self.mask, self.image, self.tokens)
        return self.models[way](self.copied, self.left)

    def train(self, way: str, optimiser: torch.optim.Optimizer, context: Callable = nullcontext) -> None:
        model = self.models[way].train()
        with context():
            loss = soft_bce(self.forward(way)[0], self.scores).mean
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimiser.step()

    def evaluate(self, way: str, context: Callable = nullcontext) -> None:
        self.models[way].eval()
        with torch.no_grad(), context():
            self.forward(way)


def models(device: str) -> tuple[UpDownVQA, PlainUpDownVQA]:
    torch.manual_seed(0)
    ours = UpDownVQA(words=WORDS, answers=ANSWERS, feature_dim=FEATURES)
    return ours.to(device), PlainUpDownVQA(ours).to(device)


def check_equal(work: Work) -> float:
    """The largest difference of logits and attention; gradients are compared too, relative to their largest."""
    ours, plain = work.models["ours"].eval(), work.models["plain"].eval()
    outputs = [work.forward("ours"), work.forward("plain")]
    difference = max((a - b).abs().max().item() for a, b in zip(*outputs))
    assert difference < 1e-5, f"outputs differ by {difference}"
    for output in outputs:
        soft_bce(output[0], work.scores).mean.backward()
    pairs = [
        (ours.question.words.weight, plain.words.weight),
        (ours.question.rnn.weight_hh_l0, plain.rnn.weight_hh_l0),
        (ours.question.rnn.bias_hh_l0, plain.rnn.bias_hh_l0),
        (ours.attention.region.linear.weight_v, plain.layers["region"].parametrizations.weight.original1),
        (ours.classifier.output.weight_v, plain.layers["output"].parametrizations.weight.original1),
    ]
    for a, b in pairs:
        error = ((a.grad - b.grad).abs().max() / b.grad.abs().max()).item()
        assert error < 1e-4, f"gradients differ by {error} of the largest"
    return difference


def flops(tokens: Tensor, images: int) -> dict[str, tuple[float, float, float, float]]:
    """GFLOP by part: (plain forward, plain step, ours forward, ours step); a multiply and an add are two."""
    count = len(tokens)
    left = left_pad(tokens, (tokens != WORDS).sum(1), LENGTH, WORDS)
    trie = question_trie.build(left, torch.full((count,), LENGTH))
    nodes, words = len(trie.token), len(trie.token.unique())
    region = 2 * REGIONS * FEATURES * HIDDEN  # for one image; features get no gradient, so a step is twice this
    gates, state = 2 * EMBED * 3 * HIDDEN, 2 * HIDDEN * 3 * HIDDEN  # for one word, for one state
    attend = 2 * HIDDEN * HIDDEN + 2 * REGIONS * HIDDEN  # for one question
    fuse = 2 * REGIONS * FEATURES + 2 * FEATURES * HIDDEN + 2 * HIDDEN * HIDDEN
    classify = 2 * HIDDEN * CLASSIFIER + 2 * CLASSIFIER * ANSWERS
    parts = {
        "region projection": (count * region, images * region, 2),
        "question GRU": (count * LENGTH * (gates + state), words * gates + nodes * state, 3),
        "attention": (count * attend, count * attend, 3),
        "pooling and fusion": (count * fuse, count * fuse, 3),
        "classifier": (count * classify, count * classify, 3),
    }
    return {name: (p / 1e9, p * n / 1e9, o / 1e9, o * n / 1e9) for name, (p, o, n) in parts.items()}


def timer(device: str) -> Callable[[Callable[[], None]], float]:
    """Seconds that a call takes: CPU time of this process, or the time between two CUDA events."""

    def on_cpu(call: Callable[[], None]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    def on_cuda(call: Callable[[], None]) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3

    return on_cuda if device == "cuda" else on_cpu


def alternate(calls: dict[str, Callable[[], None]], repeats: int, seconds: Callable) -> dict[str, float]:
    """The median time of each call, in turns, after one turn that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            spent = seconds(call)
            if turn:
                times[name].append(spent)
    return {name: statistics.median(values) for name, values in times.items()}


def has_bfloat16(device: str) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    info = Path("/proc/cpuinfo")
    return info.is_file() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def peak_memory(way: str, images: int, options: argparse.Namespace) -> float:
    """MB at the peak of one training step: of a process of its own (Linux), or as the CUDA allocator counts."""
    command = [sys.executable, __file__, "--memory-of", way, "--images", str(images), "--batch", str(options.batch)]
    command += ["--device", options.device, "--threads", str(options.threads)]
    command += ["--questions", str(options.questions)] if options.questions else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def one_step(way: str, images: int, options: argparse.Namespace) -> float:
    work = Work(*models(options.device), read_questions(options.questions, options.batch), images, options.device)
    unused = {"ours": "plain", "plain": "ours"}[way]
    del work.models[unused]
    if way == "ours":
        del work.copied
    else:
        del work.feats
    optimiser = torch.optim.Adamax(work.models[way].parameters())
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    work.train(way, optimiser)
    if options.device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1e3


def matmul_peak(device: str, seconds: Callable) -> float:
    """GFLOP/s of the largest product of the model, (18432 x 2048) (2048 x 1024): the best of five."""
    a, b = torch.randn(18432, FEATURES, device=device), torch.randn(FEATURES, HIDDEN, device=device)
    out = torch.empty(18432, HIDDEN, device=device)
    return 2 * a.numel() * HIDDEN / 1e9 / min(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(5))


def run(
    *,
    threads: int = 1,
    batch: int = 512,
    repeats: int = 5,
    device: str = "cpu",
    questions: Path | None = QUESTIONS,
    memory: bool = True,
) -> dict[str, float]:
    """Measure everything, print the tables, return the ratio of each row."""
    options = argparse.Namespace(batch=batch, device=device, threads=threads, questions=questions)
    torch.set_num_threads(threads)
    seconds = timer(device)
    tokens = read_questions(questions, 8 * batch)
    ours, plain = models(device)
    small = Work(ours, plain, tokens[:64], 12, device)
    print(f"{device}, {threads} thread(s), batch {batch}, torch {torch.__version__}")
    print(f"questions: {'real' if questions and questions.is_file() else 'drawn from a histogram'}")
    print(f"largest difference of outputs: {check_equal(small):.1e}; gradients agree")
    peak = matmul_peak(device, seconds)
    optimisers = {way: torch.optim.Adamax(model.parameters()) for way, model in small.models.items()}
    contexts = {"fp32": nullcontext}
    if has_bfloat16(device):
        contexts["bf16"] = lambda: torch.autocast(device, dtype=torch.bfloat16)
    ratios, lines = {}, []
    for name, images in (("same batches", batch), ("grouped", round(batch / PER_IMAGE))):
        work = Work(ours, plain, tokens[:batch], images, device)
        parts = flops(tokens[:batch], images)
        total = [sum(values) for values in zip(*parts.values())]
        print(f"\nGFLOP, {name}: {'plain fwd':>28}{'plain step':>12}{'ours fwd':>12}{'ours step':>12}")
        for part, values in [*parts.items(), ("all", total)]:
            print(f"  {part:<36}" + "".join(f"{value:12.1f}" for value in values))
        for precision, context in contexts.items():
            steps = {way: partial(work.train, way, optimiser, context) for way, optimiser in optimisers.items()}
            answers = {way: partial(work.evaluate, way, context) for way in optimisers}
            for kind, calls, (of_plain, of_ours) in (
                ("train", steps, (total[1], total[3])),
                ("evaluate", answers, (total[0], total[2])),
            ):
                times = alternate(calls, repeats, seconds)
                lines.append((f"{name}, {precision}, {kind}", times["plain"], times["ours"], of_plain, of_ours))
        if name == "grouped":
            once = alternate(_questions_once(work, tokens.to(device)), repeats, seconds)
            spent = once["encode"] * batch / len(tokens) + once["answer"]
            lines.append((f"{name}, fp32, evaluate, questions once", lines[3][1], spent, total[0], None))
    peak = max(peak, matmul_peak(device, seconds))
    print(f"\nlargest matrix product of the model: {peak:.1f} GFLOP/s")
    print(f"{'':<42}{'plain s':>9}{'ours s':>9}{'ratio':>8}{'questions/s':>13}{'of peak: plain':>16}{'ours':>7}")
    for name, slow, fast, of_plain, of_ours in lines:
        ratios[name] = slow / fast
        share = f"{of_ours / fast / peak:7.0%}" if of_ours else f"{'':7}"
        print(f"{name:<42}{slow:9.3f}{fast:9.3f}{slow / fast:7.2f}x{batch / fast:13.0f}", end="")
        print(f"{of_plain / slow / peak:16.0%}{share}")
    if memory and (device == "cuda" or Path("/proc/self/clear_refs").exists()):
        print("\npeak memory of a process that makes one training step (MB)")
        for name, images in (("same batches", batch), ("grouped", round(batch / PER_IMAGE))):
            used = {way: peak_memory(way, images, options) for way in ("plain", "ours")}
            print(f"{name:<42}{used['plain']:9.0f}{used['ours']:9.0f}{used['plain'] / used['ours']:7.2f}x")
    return ratios


def _questions_once(work: Work, tokens: Tensor) -> dict[str, Callable[[], None]]:
    model = work.models["ours"].eval()

    @torch.no_grad()
    def encode() -> Tensor:
        return model.encode_questions(tokens)

    vectors = encode()[: len(work.tokens)]

    @torch.no_grad()
    def answer() -> None:
        model.answer(work.feats, work.mask, work.image, vectors)

    return {"encode": encode, "answer": answer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--questions", type=Path, default=QUESTIONS, help="official VQA questions, JSON or JSON.gz")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave out the memory table")
    parser.add_argument("--memory-of", choices=["ours", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--images", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        torch.set_num_threads(options.threads)
        print(one_step(options.memory_of, options.images, options))
        return
    arguments = vars(options)
    del arguments["memory_of"], arguments["images"]
    run(**arguments)


if __name__ == "__main__":
    main()

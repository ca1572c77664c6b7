"""Train a small GPT on the plays of Shakespeare, in crnn and in PyTorch: quality and time.

    python benchmarks/shakespeare.py input.txt [--positions learned] [--only crnn]

input.txt is the file data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn (1,115,394
characters). The last tenth is held out.

The setting is the one that nanoGPT recommends for a CPU (config/train_shakespeare_char.py with
--block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 --max_iters=2000
--lr_decay_iters=2000 --dropout=0.0), for which it reports a loss of 1.88 nats a character: learned
positions, pre-norm blocks without biases, GELU in its exact form, an output layer with the weights
of the embedding, AdamW with betas 0.9 and 0.99 and a decay of 0.1 of all matrices, gradients
clipped at norm 1, a rate that rises to 1e-3 in 100 updates and falls to 1e-4. Without an option
both libraries have rotary positions, as the blocks of crnn by default, and the rest as above.

Both libraries begin with the same weights and read the same batches: a function of seed and update.
They train in turn, BLOCK updates each, on one core with one thread; the script checks first that
both compute the same logits. The time is that of the process, so other processes disturb it little.

The loss is that of the whole held-out text in windows of T characters, each read without the text
before it. nanoGPT's own measure is the mean over random windows of the same kind; this is its
expectation, without the noise of the sample. crnn trains with `crnn.fit`; PyTorch with a plain
loop and the fused optimizer.

Results (seed 0, losses of both libraries equal to four digits): 1.7998 nats with rotary positions,
1.9200 with learned ones.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from measuring import keep_to, processor
from sections import check

import crnn
from crnn.callbacks import Cosine
from crnn.data import Vocabulary

LAYERS, HEADS, WIDTH, T, B = 4, 4, 128, 64, 12
PEAK, LOW, WARMUP, UPDATES = 1e-3, 1e-4, 100, 2000
BETAS, DECAY, CLIP = (0.9, 0.99), 0.1, 1.0
DEVIATION = 0.02  # of the initial weights
BLOCK = 50  # updates of a library before it is the other one's turn
BOUND = 1.90  # nats, for all 2000 updates
ROWS = 134  # windows of the held-out text that are evaluated together


class Windows:
    """Batches of random windows of a text; an epoch has BLOCK of them."""

    def __init__(self, symbols: Any, seed: int, updates: int) -> None:
        self.symbols, self.seed, self.updates, self.epoch = symbols, seed, updates, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return min(BLOCK, self.updates - self.epoch * BLOCK)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for update in range(self.epoch * BLOCK, self.epoch * BLOCK + len(self)):
            rng = np.random.default_rng([self.seed, update])
            places = rng.integers(len(self.symbols) - T, size=(B, 1)) + np.arange(T + 1)
            rows = self.symbols[places]
            yield rows[:, :-1], rows[:, 1:]


class Text:
    """A text, its last tenth held out."""

    def __init__(self, text: str, seed: int, updates: int) -> None:
        self.vocabulary = Vocabulary.from_text(text)
        symbols = self.vocabulary.encode(text)
        end = int(0.9 * len(symbols))
        self.train = Windows(symbols[:end], seed, updates)
        held_out = symbols[end:]
        rows = (len(held_out) - 1) // T
        x, target = (held_out[i : i + rows * T].reshape(rows, T) for i in (0, 1))
        self.held_out = [(x[i : i + ROWS], target[i : i + ROWS]) for i in range(0, rows, ROWS)]


def new_model(K: int, seed: int, positions: str = "rotary") -> crnn.Sequential:
    """Return the untrained model with nanoGPT's initial weights."""
    embedding, learned = crnn.Embedding(K, WIDTH, seed=seed), positions == "learned"
    embedding.params["W"] *= DEVIATION
    options = {"activation": "gelu_exact", "bias": False, "rotary": not learned}
    blocks = [
        crnn.TransformerBlock(
            WIDTH, HEADS, scale=(2 * LAYERS) ** -0.5, seed=10 * seed + 1 + i, **options
        )
        for i in range(LAYERS)
    ]
    table = [crnn.Positions(WIDTH, T, seed=10 * seed)] if learned else []
    head = crnn.TiedDense(embedding, bias=False)
    return crnn.Sequential([embedding, *table, *blocks, crnn.LayerNorm(WIDTH), head])


class Contender(Protocol):
    """A model that is trained for an epoch of Windows, and evaluated."""

    def logits(self, x: Any) -> Any: ...
    def epoch(self) -> None: ...
    def nats(self) -> float: ...


class Crnn:
    """The model in crnn."""

    def __init__(self, model: crnn.Sequential, text: Text, updates: int) -> None:
        self.model, self.text = model, text
        self.optimizer = crnn.optim.AdamW(
            model, PEAK, betas=BETAS, weight_decay=DECAY, decay_biases=False, clip_norm=CLIP
        )
        self.schedule = Cosine(PEAK, total=updates, low=LOW, warmup=min(WARMUP, updates // 2))

    def logits(self, x: Any) -> Any:
        return self.model(x)[0]

    def epoch(self) -> None:
        crnn.fit(
            self.model,
            self.text.train,
            loss=crnn.losses.cross_entropy,
            optimizer=self.optimizer,
            epochs=1,
            callbacks=[self.schedule],
            progress=False,
        )

    def nats(self) -> float:
        loss = crnn.losses.cross_entropy
        return float(crnn.evaluate(self.model, self.text.held_out, loss=loss))


class Torch:
    """The model in PyTorch, with the training loop of nanoGPT."""

    def __init__(self, model: crnn.Sequential, text: Text, updates: int) -> None:
        import torch
        import torch_blocks

        self.torch, self.text, self.update = torch, text, 0
        self.model = torch_blocks.GPT(model.state_dict(), HEADS)
        params = list(self.model.parameters())
        groups = [
            {"params": [p for p in params if p.dim() >= 2], "weight_decay": DECAY},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, PEAK, betas=BETAS, fused=True)
        self.schedule = Cosine(PEAK, total=updates, low=LOW, warmup=min(WARMUP, updates // 2))

    def logits(self, x: Any) -> Any:
        with self.torch.no_grad():
            return self.model(self.torch.from_numpy(x)).numpy()

    def loss(self, x: Any, target: Any) -> Any:
        from_numpy, cross_entropy = self.torch.from_numpy, self.torch.nn.functional.cross_entropy
        return cross_entropy(self.model(from_numpy(x)).flatten(0, 1), from_numpy(target).flatten())

    def epoch(self) -> None:
        self.text.train.set_epoch(self.update // BLOCK)
        for x, target in self.text.train:
            for group in self.optimizer.param_groups:
                group["lr"] = self.schedule.rate(self.update)
            self.loss(x.copy(), target.copy()).backward()
            self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.update += 1

    def nats(self) -> float:
        with self.torch.no_grad():
            sums = [self.loss(x, y).item() * y.size for x, y in self.text.held_out]
        return sum(sums) / sum(y.size for _, y in self.text.held_out)


def contenders(
    text: Text, names: list[str], seed: int, updates: int, positions: str = "rotary"
) -> dict[str, Contender]:
    """Return the models, once they compute the same."""
    model, kinds = new_model(len(text.vocabulary), seed, positions), {"crnn": Crnn, "torch": Torch}
    made: dict[str, Contender] = {name: kinds[name](model, text, updates) for name in names}
    if len(made) == 2:
        ours, theirs = (each.logits(text.held_out[0][0]) for each in made.values())
        check("logits", float(abs(ours - theirs).max()), 1e-4)
    return made


def train(made: dict[str, Contender], updates: int) -> dict[str, list[float]]:
    """Train all in turn; return the seconds of each turn."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for done in range(BLOCK, updates + BLOCK, BLOCK):
        for name, contender in made.items():
            start = time.process_time()
            contender.epoch()
            seconds[name].append(time.process_time() - start)
        if done % (10 * BLOCK) == 0 or done >= updates:
            results = (f"{name} {each.nats():.4f} nats" for name, each in made.items())
            print(f"{min(done, updates):5d} updates   {'   '.join(results)}", flush=True)
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Train, and print the losses and the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", type=Path, help="input.txt of tiny Shakespeare, or another text")
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--positions", choices=["rotary", "learned"], default="rotary")
    parser.add_argument("--only", choices=["crnn", "torch"], help="train one library alone")
    options = parser.parse_args(arguments)
    keep_to(1)
    crnn.set_num_threads(1)
    names = [options.only] if options.only else ["crnn", "torch"]
    if "torch" in names:
        import torch

        torch.set_num_threads(1)
    text = Text(options.text.read_text("utf-8"), options.seed, options.updates)
    print(f"{processor()}; {len(text.vocabulary)} symbols, seed {options.seed}", flush=True)
    made = contenders(text, names, options.seed, options.updates, options.positions)
    seconds = train(made, options.updates)
    print(", ".join(f"{name} {sum(turns):.1f} s" for name, turns in seconds.items()))
    if len(names) == 2:
        ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
        print(
            f"time of crnn / time of torch: {statistics.median(ratios):.3f}, the median of "
            f"{len(ratios)} turns from {min(ratios):.3f} to {max(ratios):.3f}"
        )
    result = made[names[0]].nats()
    return int(options.updates >= UPDATES and result > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())

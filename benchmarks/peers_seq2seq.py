"""One sequence to sequence model in crnn and in PyTorch behind one face, for seq2seq.py.

Each side has a name and does, with the same weights and the same numbers:

    logits(told)        (B, T, K) of all sources, after these symbols of the target
    learn()             forward, cross-entropy, backward; returns the loss
    gradient()          of the source's embedding, which backward reaches last
    training()          one update: learn, and a step of Adam
    generation(rows)    the likeliest symbols (rows, T) for the first sources, each read by the next
                        step; nothing ends a row

PyTorch's side is what its own manual has for such a model: its fused layer reads, its cell writes
step by step, its fused Adam, inference_mode for what is not trained.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from measuring import ROOT
from torch import nn

import crnn

sys.path.append(str(ROOT / "tests"))
from torch_twins import to_torch

B, H, E, T, K = 64, 256, 256, 30, 64
START = 0


def symbols(seed: int) -> Any:
    """Symbols (B, T)."""
    return np.random.default_rng(seed).integers(0, K, (B, T))


SOURCE, TOLD, TARGET = (symbols(seed) for seed in range(3))


class Crnn:
    """crnn.Seq2Seq."""

    name, version = "crnn", crnn.__version__

    def __init__(self, threads: int) -> None:
        crnn.set_num_threads(threads)
        self.model = crnn.Seq2Seq(
            crnn.GRU(E, H, seed=1),
            crnn.GRU(E + H, H, seed=2),
            source_symbols=K,
            target_symbols=K,
            attention="additive",
            seed=3,
        )
        self.optimizer = crnn.optim.Adam(self.model)

    def logits(self, told: Any) -> Any:
        return self.model.forward(SOURCE, told)[0]

    def learn(self) -> float:
        logits, tape = self.model.forward(SOURCE, TOLD)
        loss, dlogits = crnn.losses.cross_entropy(logits, TARGET)
        self.model.backward(tape, dlogits)
        return loss

    def gradient(self) -> Any:
        return self.model.grads["source_embedding.W"]

    def training(self) -> None:
        self.learn()
        self.optimizer.step()  # and the gradients are zero again

    def generation(self, rows: int) -> Any:
        return self.model.generate(SOURCE[:rows], start=START, stop=None, max_steps=T)[0]


class Model(nn.Module):
    """The equations of `crnn.reference.seq2seq`: additive attention with input feeding."""

    def __init__(self) -> None:
        super().__init__()
        self.source_embedding, self.target_embedding = nn.Embedding(K, E), nn.Embedding(K, E)
        self.encoder, self.decoder = nn.GRU(E, H, batch_first=True), nn.GRUCell(E + H, H)
        self.query, self.key = nn.Linear(H, H, bias=False), nn.Linear(H, H, bias=False)
        self.v = nn.Linear(H, 1, bias=False)
        self.output = nn.Linear(2 * H, K)

    def encode(self, source: Any) -> tuple[Any, Any, Any]:
        """What was read (rows, T, H), its keys, and the decoder's first h (rows, H)."""
        read, h = self.encoder(self.source_embedding(source))
        return read, self.key(read), h[0]

    def step(self, x: Any, h: Any, read: Any, keys: Any) -> tuple[Any, Any]:
        """What the output layer reads (rows, 2 H), and h."""
        scores = self.v(torch.tanh(keys + self.query(h)[:, None])).squeeze(-1)
        context = torch.bmm(torch.softmax(scores, -1)[:, None], read)[:, 0]
        h = self.decoder(torch.cat([x, context], -1), h)
        return torch.cat([h, context], -1), h

    def forward(self, source: Any, told: Any) -> Any:
        read, keys, h = self.encode(source)
        x, shown = self.target_embedding(told), []
        for t in range(told.shape[1]):
            both, h = self.step(x[:, t], h, read, keys)
            shown.append(both)
        return self.output(torch.stack(shown, 1))

    def generate(self, source: Any, steps: int) -> Any:
        read, keys, h = self.encode(source)
        symbol, chosen = torch.full((len(source),), START), []
        for _ in range(steps):
            both, h = self.step(self.target_embedding(symbol), h, read, keys)
            symbol = self.output(both).argmax(-1)
            chosen.append(symbol)
        return torch.stack(chosen, 1)


def copied(model: Any) -> Model:
    """The model with crnn's weights."""
    made, params = Model(), model.params
    given = {
        "source_embedding.weight": params["source_embedding.W"],
        "target_embedding.weight": params["target_embedding.W"],
        "query.weight": params["attention.W_query"],
        "key.weight": params["attention.W_key"],
        "v.weight": params["attention.v"][None],
        "output.weight": params["output.W"],
        "output.bias": params["output.b"],
    }
    weights = {name: torch.tensor(array) for name, array in given.items()}
    for part in ("encoder", "decoder"):
        for name, tensor in to_torch(getattr(model, part), "gru").state_dict().items():
            weights[f"{part}.{name if part == 'encoder' else name.removesuffix('_l0')}"] = tensor
    made.load_state_dict(weights)
    return made


class Torch:
    """PyTorch: the same, from the weights of crnn's model as it is now."""

    name, version = "PyTorch", torch.__version__.partition("+")[0]

    def __init__(self, model: Any, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = copied(model)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        self.source, self.told, self.target = map(torch.from_numpy, (SOURCE, TOLD, TARGET))

    def logits(self, told: Any) -> Any:
        with torch.inference_mode():
            return self.model(self.source, torch.from_numpy(told)).numpy()

    def learn(self) -> float:
        logits = self.model(self.source, self.told)
        loss = self.loss(logits.flatten(0, 1), self.target.flatten())
        loss.backward()
        return loss.item()

    def gradient(self) -> Any:
        return self.model.source_embedding.weight.grad.numpy()

    def training(self) -> None:
        self.optimizer.zero_grad()
        self.learn()
        self.optimizer.step()

    def generation(self, rows: int) -> Any:
        with torch.inference_mode():
            return self.model.generate(self.source[:rows], T).numpy()

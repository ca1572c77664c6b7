"""One sequence to sequence model in crnn and in PyTorch with the same methods, for seq2seq.py.

Both classes have a name and these methods, with the same weights and data:

    logits(target_in)   logits (B, T, K) for all sources, with target_in as the decoder's input
    learn()             forward, cross-entropy, backward; returns the loss
    gradient()          gradient of the source's embedding, the last one that backward computes
    training()          one update: learn, and a step of Adam
    generation(rows)    most likely symbols (rows, T) for the first sources, each of which is the
                        input of the next step; no symbol ends a row

PyTorch is used as its manual recommends for such a model: its fused layer as encoder, its cell as
decoder, step by step, its fused Adam, and inference_mode for evaluation.
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
from support.torch_twins import to_torch

B, H, E, T, K = 64, 256, 256, 30, 64
START = 0


def symbols(seed: int) -> Any:
    """Return random symbols (B, T)."""
    return np.random.default_rng(seed).integers(0, K, (B, T))


SOURCE, TARGET_IN, TARGET = (symbols(seed) for seed in range(3))


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

    def logits(self, target_in: Any) -> Any:
        return self.model.forward(SOURCE, target_in)[0]

    def learn(self) -> float:
        logits, tape = self.model.forward(SOURCE, TARGET_IN)
        loss, dlogits = crnn.losses.cross_entropy(logits, TARGET)
        self.model.backward(tape, dlogits)
        return loss

    def gradient(self) -> Any:
        return self.model.grads["source_embedding.W"]

    def training(self) -> None:
        self.learn()
        self.optimizer.step()  # also zeroes the gradients

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
        """Return the encoder's output (rows, T, H), its keys, and the first h (rows, H)."""
        encoded, h = self.encoder(self.source_embedding(source))
        return encoded, self.key(encoded), h[0]

    def step(self, x: Any, h: Any, encoded: Any, keys: Any) -> tuple[Any, Any]:
        """Return the input of the output layer (rows, 2 H), and h."""
        scores = self.v(torch.tanh(keys + self.query(h)[:, None])).squeeze(-1)
        context = torch.bmm(torch.softmax(scores, -1)[:, None], encoded)[:, 0]
        h = self.decoder(torch.cat([x, context], -1), h)
        return torch.cat([h, context], -1), h

    def forward(self, source: Any, target_in: Any) -> Any:
        encoded, keys, h = self.encode(source)
        x, joined = self.target_embedding(target_in), []
        for t in range(target_in.shape[1]):
            both, h = self.step(x[:, t], h, encoded, keys)
            joined.append(both)
        return self.output(torch.stack(joined, 1))

    def generate(self, source: Any, steps: int) -> Any:
        encoded, keys, h = self.encode(source)
        symbol, chosen = torch.full((len(source),), START), []
        for _ in range(steps):
            both, h = self.step(self.target_embedding(symbol), h, encoded, keys)
            symbol = self.output(both).argmax(-1)
            chosen.append(symbol)
        return torch.stack(chosen, 1)


def copied(model: Any) -> Model:
    """Return the PyTorch model with the weights of a crnn model."""
    copy, params = Model(), model.params
    arrays = {
        "source_embedding.weight": params["source_embedding.W"],
        "target_embedding.weight": params["target_embedding.W"],
        "query.weight": params["attention.W_query"],
        "key.weight": params["attention.W_key"],
        "v.weight": params["attention.v"][None],
        "output.weight": params["output.W"],
        "output.bias": params["output.b"],
    }
    weights = {name: torch.tensor(array) for name, array in arrays.items()}
    for part in ("encoder", "decoder"):
        for name, tensor in to_torch(getattr(model, part), "gru").state_dict().items():
            weights[f"{part}.{name if part == 'encoder' else name.removesuffix('_l0')}"] = tensor
    copy.load_state_dict(weights)
    return copy


class Torch:
    """The same model in PyTorch, with the current weights of a crnn model."""

    name, version = "PyTorch", torch.__version__.partition("+")[0]

    def __init__(self, model: Any, threads: int) -> None:
        torch.set_num_threads(threads)
        self.model = copied(model)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), fused=True)
        arrays = SOURCE, TARGET_IN, TARGET
        self.source, self.target_in, self.target = map(torch.from_numpy, arrays)

    def logits(self, target_in: Any) -> Any:
        with torch.inference_mode():
            return self.model(self.source, torch.from_numpy(target_in)).numpy()

    def learn(self) -> float:
        logits = self.model(self.source, self.target_in)
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

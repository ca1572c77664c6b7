"""The networks of benchmarks/blocks.py and shakespeare.py in PyTorch, with crnn's weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def _tensor(array: Any) -> Any:
    return torch.from_numpy(array.copy())


class _Chomped(nn.Module):
    """A causal convolution: zeros at both ends, cut at the end, as locuslab's code has it."""

    def __init__(self, width: int, taps: int, dilation: int) -> None:
        super().__init__()
        self.cut = (taps - 1) * dilation
        conv = nn.Conv1d(width, width, taps, padding=self.cut, dilation=dilation)
        self.conv = weight_norm(conv)

    def forward(self, x: Any) -> Any:
        y = self.conv(x)
        return torch.relu(y[:, :, : -self.cut].contiguous())


class TCN(nn.Module):
    """A stack of residual blocks of one width."""

    def __init__(self, params: Any, taps: int, levels: int) -> None:
        super().__init__()
        width = params["0.conv1.g"].size
        self.convs = nn.ModuleList(
            _Chomped(width, taps, 2**level) for level in range(levels) for _ in range(2)
        )
        with torch.no_grad():
            for i, conv in enumerate(self.convs):
                place = f"{i // 2}.conv{1 + i % 2}"
                weight = conv.conv.parametrizations.weight
                weight.original0.copy_(_tensor(params[f"{place}.g"])[:, None, None])
                weight.original1.copy_(_tensor(params[f"{place}.v"].transpose(1, 2, 0)))
                conv.conv.bias.copy_(_tensor(params[f"{place}.b"]))

    def forward(self, x: Any) -> Any:
        h = x
        for first, second in zip(self.convs[::2], self.convs[1::2], strict=True):
            h = torch.relu(second(first(h)) + h)
        return h

    def run(self, x: Any) -> Any:
        """Return the outputs (B, T, C) of x (B, T, C)."""
        with torch.no_grad():
            return self(_tensor(x).transpose(1, 2)).transpose(1, 2).numpy()

    def train(self, x: Any = True, *_: Any) -> Any:  # of a module: switches the mode
        if isinstance(x, bool):
            return super().train(x)
        for parameter in self.parameters():
            parameter.grad = None
        given = _tensor(x).transpose(1, 2).contiguous().requires_grad_()
        self(given).backward(given.detach())
        return None

    def stream(self) -> Any:
        """Return a function of one step (1, C): rings of inputs, and one product for all taps."""
        flat = [
            (
                conv.conv.weight.detach().permute(2, 1, 0).reshape(-1, conv.conv.out_channels),
                conv.conv.bias.detach(),
                conv.conv.dilation[0],
            )
            for conv in self.convs
        ]
        rings = [torch.zeros(2 * d + 1, w.shape[1]) for w, _, d in flat]
        now = [0]

        @torch.inference_mode()
        def step(x: Any) -> Any:
            h, t = torch.from_numpy(x), now[0]
            z = h
            for i, ((w, b, d), ring) in enumerate(zip(flat, rings, strict=True)):
                n = ring.shape[0]
                ring[t % n] = z[0]
                taps = torch.cat((ring[(t - 2 * d) % n], ring[(t - d) % n], z[0]))
                z = torch.relu_(torch.addmv(b, w.t(), taps))[None]
                if i % 2:
                    h = z = torch.relu(h + z)
            now[0] = t + 1
            return h.numpy()

        return step


class _Block(nn.Module):
    """A pre-norm block, as crnn.TransformerBlock: rotary if it gets angles."""

    def __init__(
        self, params: Any, place: str, heads: int, dropout: float, approximate: str = "tanh"
    ) -> None:
        super().__init__()
        width, bias = params[f"{place}.norm1.gain"].size, f"{place}.linear1.b" in params
        self.heads, self.dropout, self.approximate = heads, dropout, approximate
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.up = nn.Linear(width, 4 * width, bias=bias)
        self.down = nn.Linear(4 * width, width, bias=bias)
        names = {
            "norm1": (self.norm1, "gain", "bias"),
            "norm2": (self.norm2, "gain", "bias"),
            "attention": (self.qkv, "W_qkv", "b_qkv"),
            "attention ": (self.out, "W_o", "b_o"),
            "linear1": (self.up, "W", "b"),
            "linear2": (self.down, "W", "b"),
        }
        with torch.no_grad():
            for part, (module, weight, bias) in names.items():
                module.weight.copy_(_tensor(params[f"{place}.{part.strip()}.{weight}"]))
                if module.bias is not None:
                    module.bias.copy_(_tensor(params[f"{place}.{part.strip()}.{bias}"]))

    def split(self, x: Any, angles: Any) -> Any:
        """Return q, k, v (B, M, T, A); q and k are rotated if there are angles."""
        B, T, H = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, T, 3, self.heads, H // self.heads).unbind(2)
        if angles is None:
            return tuple(z.transpose(1, 2) for z in (q, k, v))
        cos, sin = angles

        def rotated(z: Any) -> Any:
            first, second = z.chunk(2, dim=-1)
            return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

        return rotated(q).transpose(1, 2), rotated(k).transpose(1, 2), v.transpose(1, 2)

    def finish(self, x: Any, context: Any) -> Any:
        B, T, H = x.shape
        p, training = self.dropout, self.training
        x = x + F.dropout(self.out(context.transpose(1, 2).reshape(B, T, H)), p, training)
        fed = self.down(F.gelu(self.up(self.norm2(x)), approximate=self.approximate))
        return x + F.dropout(fed, p, training)

    def forward(self, x: Any, angles: Any) -> Any:
        q, k, v = self.split(x, angles)
        p = self.dropout if self.training else 0.0
        return self.finish(x, F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True))


def _angles(size: int) -> tuple[Any, Any]:
    """Return cosine and sine of the angles of rotary positions (T, 1, A / 2)."""
    rates = 10000.0 ** (-2 * torch.arange(size // 2, dtype=torch.float64) / size)
    angles = torch.arange(4096, dtype=torch.float64)[:, None, None] * rates
    return torch.cos(angles).float(), torch.sin(angles).float()


class Transformer(nn.Module):
    """A language model of blocks."""

    def __init__(self, params: Any, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(_tensor(params["0.W"]), freeze=False)
        self.blocks = nn.ModuleList(
            _Block(params, str(1 + i), heads, dropout) for i in range(blocks)
        )
        width = params["0.W"].shape[1]
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, params["0.W"].shape[0])
        with torch.no_grad():
            self.norm.weight.copy_(_tensor(params[f"{1 + blocks}.gain"]))
            self.norm.bias.copy_(_tensor(params[f"{1 + blocks}.bias"]))
            self.head.weight.copy_(_tensor(params[f"{2 + blocks}.W"]))
            self.head.bias.copy_(_tensor(params[f"{2 + blocks}.b"]))
        self.angles = _angles(width // heads)

    def positions(self, begin: int, end: int) -> Any:
        return tuple(part[begin:end] for part in self.angles)

    def forward(self, x: Any) -> Any:
        h, angles = self.embedding(x), self.positions(0, x.shape[1])
        for block in self.blocks:
            h = block(h, angles)
        return self.head(self.norm(h))

    def run(self, x: Any) -> Any:
        """Return the logits of x (B, T)."""
        with torch.no_grad():
            return self.eval()(_tensor(x)).numpy()

    def train(self, x: Any = True, y: Any = None) -> Any:  # of a module: switches the mode
        if isinstance(x, bool):
            return super().train(x)
        super().train(True)
        for parameter in self.parameters():
            parameter.grad = None
        logits = self(_tensor(x))
        F.cross_entropy(logits.flatten(0, 1), _tensor(y).flatten()).backward()
        return None

    def stream(self, steps: int) -> Any:
        """Return a function of one symbol (1,) with room for so many steps."""
        return _Cached(self.eval(), steps)


class GPT(nn.Module):
    """The model of nanoGPT: learned or rotary positions, the output layer has the embedding's W.

    `params` are those of a Sequential(Embedding, [Positions,] blocks, LayerNorm, TiedDense).
    """

    def __init__(self, params: Any, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(_tensor(params["0.W"]), freeze=False)
        width = params["0.W"].shape[1]
        places = sorted({int(name.split(".")[0]) for name in params})
        learned = "1.norm1.gain" not in params
        self.table = nn.Parameter(_tensor(params["1.P"])) if learned else None
        self.angles = None if learned else _angles(width // heads)
        blocks = places[2 if learned else 1 : -1]
        self.blocks = nn.ModuleList(_Block(params, str(i), heads, 0.0, "none") for i in blocks)
        self.norm = nn.LayerNorm(width)
        with torch.no_grad():
            self.norm.weight.copy_(_tensor(params[f"{places[-1]}.gain"]))
            self.norm.bias.copy_(_tensor(params[f"{places[-1]}.bias"]))

    def forward(self, x: Any) -> Any:
        T, h, angles = x.shape[1], self.embedding(x), None
        if self.table is None:
            angles = tuple(part[:T] for part in self.angles)
        else:
            h = h + self.table[:T]
        for block in self.blocks:
            h = block(h, angles)
        return F.linear(self.norm(h), self.embedding.weight)


class _Cached:
    """Single steps with a preallocated cache of keys and values."""

    def __init__(self, model: Any, steps: int) -> None:
        self.model, self.at = model, 0
        heads = model.blocks[0].heads
        shape = len(model.blocks), 2, 1, heads, steps, model.embedding.weight.shape[1] // heads
        self.cache = torch.zeros(shape)

    def rewind(self, at: int) -> None:
        """Go on behind step `at`."""
        self.at = at

    @torch.inference_mode()
    def __call__(self, x: Any) -> Any:
        model, t = self.model, self.at
        h, angles = model.embedding(torch.from_numpy(x)[:, None]), model.positions(t, t + 1)
        for block, (keys, values) in zip(model.blocks, self.cache, strict=True):
            q, keys[:, :, t : t + 1], values[:, :, t : t + 1] = block.split(h, angles)
            seen = keys[:, :, : t + 1], values[:, :, : t + 1]
            h = block.finish(h, F.scaled_dot_product_attention(q, *seen))
        self.at = t + 1
        return model.head(model.norm(h))[:, 0].numpy()


def tcn(params: Any, taps: int, levels: int) -> TCN:
    """Return the stack with the parameters of a crnn.TCN."""
    return TCN(params, taps, levels)


def transformer(params: Any, heads: int, blocks: int, dropout: float) -> Transformer:
    """Return the language model with the parameters of one of crnn."""
    return Transformer(params, heads, blocks, dropout)

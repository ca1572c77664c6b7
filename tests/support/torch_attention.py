"""Self-attention and blocks of language models as functions of PyTorch.

They read parameters by the names of crnn's layers, ``w``; `layer` is a layer, or its twin.
"""

import torch
from torch.nn import functional as F


def split(a, heads):
    """Return (B, T, H) as (B, M, T, A)."""
    return a.unflatten(2, (heads, -1)).transpose(1, 2)


def turned(a, steps=None):
    """Return a (B, M, T, A) rotated as in Llama: with a table for both halves, and rotate_half.

    The table is computed in float64.
    """
    A, steps = a.shape[3], torch.zeros(len(a)) if steps is None else steps
    frequency = 1.0 / (10000 ** (torch.arange(0, A, 2, dtype=torch.float64) / A))
    t = steps[:, None] + torch.arange(a.shape[2])
    angles = t[:, None, :, None] * torch.cat([frequency, frequency])
    half = torch.cat([-a[..., A // 2 :], a[..., : A // 2]], dim=3)
    return a * angles.cos().to(a.dtype) + half * angles.sin().to(a.dtype)


def attended(w, x, layer, part="", state=None):
    """Return y of self-attention through scaled_dot_product_attention, and keys and values."""
    q, k, v = (
        split(a, layer.heads)
        for a in F.linear(x, w[f"{part}W_qkv"], w.get(f"{part}b_qkv")).chunk(3, dim=2)
    )
    steps = None if state is None else state[2]
    if layer.rotary:
        q, k = turned(q, steps), turned(k, steps)
    S = 0
    if state is not None:
        S, (k_old, v_old) = state[0].shape[1], (split(a, layer.heads) for a in state[:2])
        k, v = torch.cat([k_old, k], dim=2), torch.cat([v_old, v], dim=2)
    slot, step = torch.arange(S + x.shape[1]), S + torch.arange(x.shape[1])[:, None]
    seen = (slot <= step) & (slot > step - (layer.window or S + x.shape[1]))
    seen = (seen if layer.causal else torch.ones_like(seen)).expand(len(x), 1, -1, -1)
    if state is not None:
        seen = seen & (slot >= S - steps[:, None])[:, None, None]
    c = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    y = F.linear(c.transpose(1, 2).flatten(2), w[f"{part}W_o"], w.get(f"{part}b_o"))
    return y, k.transpose(1, 2).flatten(2), v.transpose(1, 2).flatten(2)


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.gain"], w[f"{name}.bias"], 1e-5)


def feedforward(w, x, activation):
    h = F.linear(x, w["linear1.W"], w["linear1.b"])
    if activation == "swiglu":
        h = F.silu(F.linear(x, w["gate.W"], w["gate.b"])) * h
    else:
        kinds = {"gelu": F.gelu, "gelu_exact": F.gelu, "relu": F.relu}
        h = kinds[activation](h, **({"approximate": "tanh"} if activation == "gelu" else {}))
    return F.linear(h, w["linear2.W"], w["linear2.b"])


def gpt_block(w, x, heads):
    """Return y of the block of nanoGPT, as it is written there."""
    B, T, C = x.shape
    u = F.linear(norm(w, "norm1", x), w["attention.W_qkv"], w["attention.b_qkv"])
    q, k, v = (split(a, heads) for a in u.split(C, dim=2))
    c = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    c = c.transpose(1, 2).contiguous().view(B, T, C)
    x = x + F.linear(c, w["attention.W_o"], w["attention.b_o"])
    return x + feedforward(w, norm(w, "norm2", x), "gelu")


def pre_norm_block(w, x, layer):
    """Return y of a block with the options of `layer`, as in Llama but for the norms."""
    x = x + attended(w, norm(w, "norm1", x), layer.attention, "attention.")[0]
    return x + feedforward(w, norm(w, "norm2", x), layer.activation)


def many_heads(w, part, heads, size, memory_size):
    """Return nn.MultiheadAttention with the weights of attention to a memory, or to the input."""
    kinds = {"kdim": memory_size, "vdim": memory_size, "batch_first": True}
    layer = torch.nn.MultiheadAttention(size, heads, **kinds, dtype=w[f"{part}.W_o"].dtype)
    names = {"out_proj.weight": w[f"{part}.W_o"], "out_proj.bias": w[f"{part}.b_o"]}
    if f"{part}.W_qkv" in w:
        names |= {"in_proj_weight": w[f"{part}.W_qkv"], "in_proj_bias": w[f"{part}.b_qkv"]}
    else:
        k, v = w[f"{part}.W_kv"].chunk(2)
        names |= {"q_proj_weight": w[f"{part}.W_q"], "k_proj_weight": k, "v_proj_weight": v}
        names |= {"in_proj_bias": torch.cat([w[f"{part}.b_q"], w[f"{part}.b_kv"]])}
    return lambda *x, **o: torch.func.functional_call(layer, names, x, o)[0]


def encoder_layer(w, x, lengths, heads):
    """Return y of a pre-norm block in which each step sees all steps of its row."""
    padding = torch.arange(x.shape[1]) >= lengths[:, None]
    u = norm(w, "norm1", x)
    attention = many_heads(w, "attention", heads, x.shape[2], None)
    x = x + attention(u, u, u, key_padding_mask=padding, need_weights=False)
    return x + feedforward(w, norm(w, "norm2", x), "gelu_exact")


def decoder_layer(w, x, memory, lengths, heads):
    """Return y of a pre-norm block that reads a memory, through nn.MultiheadAttention."""
    T, S = x.shape[1], memory.shape[1]
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    u = norm(w, "norm1", x)
    attention = many_heads(w, "attention", heads, x.shape[2], None)
    x = x + attention(u, u, u, attn_mask=later, need_weights=False)
    padding = torch.arange(S) >= lengths[:, None]
    cross = many_heads(w, "cross", heads, x.shape[2], memory.shape[2])
    u = norm(w, "norm_memory", x)
    x = x + cross(u, memory, memory, key_padding_mask=padding, need_weights=False)
    return x + feedforward(w, norm(w, "norm2", x), "gelu_exact")


def gpt(w, symbols, heads):
    """Return the logits of nanoGPT: its embeddings, blocks, last norm and tied head.

    The parameters are those of a Sequential of these layers, by its names; none is dropped.
    """
    numbers = sorted({int(name.partition(".")[0]) for name in w})
    x = F.embedding(symbols, w["0.W"]) + w["1.P"][torch.arange(symbols.shape[1])]
    for number in numbers[2:-1]:
        own = {name.removeprefix(f"{number}."): W for name, W in w.items()}
        x = gpt_block(own, x, heads)
    return F.linear(norm(w, str(numbers[-1]), x), w["0.W"])

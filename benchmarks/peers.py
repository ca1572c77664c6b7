"""Recurrent layers of crnn and of other libraries with the same methods, for compare.py.

Each library is a class with a name and two methods. A method builds a layer of a shape and returns
a function without arguments that runs it once:

    inference(cell, shape, threads)   computes the layer's outputs
    training(cell, shape, threads)    runs forward, then backward to the parameters and to x

A method returns None if the library does not have the cell. Each library is used as its manual
recommends for a CPU: PyTorch's fused layers under inference_mode, ONNX Runtime's operators, JAX
with one product for all inputs before a compiled scan.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

import crnn


class Shape(NamedTuple):
    """Sizes of a layer and its input: sequences, steps, inputs, hidden units."""

    B: int
    T: int
    I: int
    H: int


class Cell(NamedTuple):
    """Names of one cell in each library; None if the library does not have it."""

    gates: int
    crnn: str
    options: dict[str, Any]
    torch: str | None
    onnx: str | None
    jax: bool


CELLS = {
    "LSTM": Cell(4, "LSTM", {}, "LSTM", "LSTM", True),
    "GRU": Cell(3, "GRU", {"reset": "after"}, "GRU", "GRU", True),
    "GRU before": Cell(3, "GRU", {"reset": "before"}, None, "GRU", True),
    "RNN": Cell(1, "RNN", {}, "RNN", "RNN", True),
    "JANET": Cell(2, "JANET", {}, None, None, True),
}

Call = Callable[[], object]


def _input(shape: Shape, dtype: str) -> tuple[Any, Any]:
    """Return x (B, T, I) and dy (B, T, H)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.B, shape.T, shape.I)).astype(dtype)
    return x, rng.standard_normal((shape.B, shape.T, shape.H)).astype(dtype)


class Crnn:
    """Layers of crnn."""

    name = "crnn"

    def __init__(self, dtype: str = "float32") -> None:
        self.version, self.dtype = crnn.__version__, dtype

    def _layer(self, cell: str, shape: Shape) -> Any:
        row = CELLS[cell]
        return getattr(crnn, row.crnn)(shape.I, shape.H, dtype=self.dtype, seed=0, **row.options)

    def inference(self, cell: str, shape: Shape, threads: int) -> Call:
        crnn.set_num_threads(threads)
        layer, (x, _) = self._layer(cell, shape), _input(shape, self.dtype)
        return lambda: layer(x)

    def training(self, cell: str, shape: Shape, threads: int) -> Call:
        crnn.set_num_threads(threads)
        layer, (x, dy) = self._layer(cell, shape), _input(shape, self.dtype)

        def step() -> None:
            _, _, tape = layer.forward(x)
            layer.backward(tape, dy)

        return step


class Torch:
    """PyTorch: torch.nn.LSTM, GRU and RNN, batch first."""

    name = "PyTorch"

    def __init__(self) -> None:
        import torch

        self.torch, self.version = torch, torch.__version__.partition("+")[0]

    def _layer(self, cell: str, shape: Shape, threads: int) -> Any:
        self.torch.set_num_threads(threads)
        name = CELLS[cell].torch
        return name and getattr(self.torch.nn, name)(shape.I, shape.H, batch_first=True)

    def inference(self, cell: str, shape: Shape, threads: int) -> Call | None:
        layer, x = self._layer(cell, shape, threads), self.torch.from_numpy(_input(shape, "f4")[0])
        if layer is None:
            return None

        def run() -> None:
            with self.torch.inference_mode():
                layer(x)

        return run

    def training(self, cell: str, shape: Shape, threads: int) -> Call | None:
        layer = self._layer(cell, shape, threads)
        if layer is None:
            return None
        x, dy = (self.torch.from_numpy(array) for array in _input(shape, "f4"))
        x.requires_grad_()

        def step() -> None:
            x.grad = None
            layer(x)[0].backward(dy)

        return step


class Onnx:
    """ONNX Runtime: the operators LSTM, GRU and RNN, time-major; only inference."""

    name = "ONNX Runtime"

    def __init__(self) -> None:
        import onnxruntime

        self.runtime, self.version = onnxruntime, onnxruntime.__version__

    def inference(self, cell: str, shape: Shape, threads: int) -> Call | None:
        if CELLS[cell].onnx is None:
            return None
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        model = _onnx_model(cell, shape).SerializeToString()
        session = self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        x = np.ascontiguousarray(_input(shape, "f4")[0].transpose(1, 0, 2))
        return lambda: session.run(None, {"x": x})

    def training(self, cell: str, shape: Shape, threads: int) -> None:
        return None


def _onnx_model(cell: str, shape: Shape) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    row, rng = CELLS[cell], np.random.default_rng(0)
    sizes = {"w": (1, row.gates * shape.H, shape.I), "r": (1, row.gates * shape.H, shape.H)}
    sizes["b"] = (1, 2 * row.gates * shape.H)
    weights = [
        numpy_helper.from_array(rng.uniform(-0.1, 0.1, size).astype("f4"), name)
        for name, size in sizes.items()
    ]
    options = {"linear_before_reset": int(cell == "GRU")} if row.onnx == "GRU" else {}
    node = helper.make_node(row.onnx, ["x", *sizes], ["y", "h"], hidden_size=shape.H, **options)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (shape.T, shape.B, shape.I))]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (shape.T, 1, shape.B, shape.H)),
        helper.make_tensor_value_info("h", TensorProto.FLOAT, (1, shape.B, shape.H)),
    ]
    graph = helper.make_graph([node], "layer", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


class Jax:
    """JAX: a compiled scan, which uses all cores of the process."""

    name = "JAX"

    def __init__(self) -> None:
        import os

        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        self.jax, self.version = jax, version("jax")

    def _run(self, cell: str, shape: Shape) -> tuple[Any, Any, Any, Any]:
        """Return the function run(params, x) -> y (T, B, H), and params, x and dy."""
        jax, rows = self.jax, CELLS[cell].gates * shape.H
        step = _JAX_STEPS[cell](jax, shape.H)
        rng = np.random.default_rng(0)
        sizes = ((shape.I, rows), (shape.H, rows), (rows,))
        params = [jax.numpy.asarray(rng.uniform(-0.1, 0.1, size).astype("f4")) for size in sizes]
        x, dy = (jax.numpy.asarray(each.transpose(1, 0, 2)) for each in _input(shape, "f4"))

        def run(params: Any, x: Any) -> Any:
            W_x, W_h, b = params
            zeros = jax.numpy.zeros((shape.B, shape.H), "float32")
            state = (zeros, zeros)
            return jax.lax.scan(lambda s, xs: step(s, xs, W_h), state, x @ W_x + b)[1]

        return run, params, x, dy

    def inference(self, cell: str, shape: Shape, threads: int) -> Call:
        run, params, x, _ = self._run(cell, shape)
        compiled = self.jax.jit(run)
        return lambda: compiled(params, x).block_until_ready()

    def training(self, cell: str, shape: Shape, threads: int) -> Call:
        run, params, x, dy = self._run(cell, shape)

        def step(params: Any, x: Any) -> Any:
            return self.jax.vjp(run, params, x)[1](dy)

        compiled = self.jax.jit(step)
        return lambda: self.jax.block_until_ready(compiled(params, x))


def _jax_lstm(jax: Any, H: int) -> Any:
    def step(state: Any, sums: Any, W_h: Any) -> Any:
        h, c = state
        i, f, g, o = jax.numpy.split(sums + h @ W_h, 4, axis=1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jax.numpy.tanh(g)
        h = jax.nn.sigmoid(o) * jax.numpy.tanh(c)
        return (h, c), h

    return step


def _jax_gru(jax: Any, H: int) -> Any:
    def step(state: Any, sums: Any, W_h: Any) -> Any:
        h, c = state
        from_h = h @ W_h
        r, z = jax.numpy.split(jax.nn.sigmoid((sums + from_h)[:, : 2 * H]), 2, axis=1)
        h = h + z * (jax.numpy.tanh(sums[:, 2 * H :] + r * from_h[:, 2 * H :]) - h)
        return (h, c), h

    return step


def _jax_gru_before(jax: Any, H: int) -> Any:
    def step(state: Any, sums: Any, W_h: Any) -> Any:
        h, c = state
        gates = jax.nn.sigmoid(sums[:, : 2 * H] + h @ W_h[:, : 2 * H])
        r, z = jax.numpy.split(gates, 2, axis=1)
        h = h + z * (jax.numpy.tanh(sums[:, 2 * H :] + (r * h) @ W_h[:, 2 * H :]) - h)
        return (h, c), h

    return step


def _jax_rnn(jax: Any, H: int) -> Any:
    def step(state: Any, sums: Any, W_h: Any) -> Any:
        h, c = state
        h = jax.numpy.tanh(sums + h @ W_h)
        return (h, c), h

    return step


def _jax_janet(jax: Any, H: int) -> Any:
    def step(state: Any, sums: Any, W_h: Any) -> Any:
        h, c = state
        s, g = jax.numpy.split(sums + h @ W_h, 2, axis=1)
        h = jax.nn.sigmoid(s) * h + (1 - jax.nn.sigmoid(s - 1)) * jax.numpy.tanh(g)
        return (h, c), h

    return step


_JAX_STEPS = {
    "LSTM": _jax_lstm,
    "GRU": _jax_gru,
    "GRU before": _jax_gru_before,
    "RNN": _jax_rnn,
    "JANET": _jax_janet,
}

PEERS = (Torch, Onnx, Jax)

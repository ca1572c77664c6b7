"""Write the golden numbers: results of PyTorch's layers in float64, in crnn's conventions.

    PYTHONPATH=tests python -m support.golden

makes ``<kind>.npz`` in ``files/golden`` for the kinds of ``torch_twins.KINDS``; it needs
PyTorch and an installed crnn. Each file holds

- the inputs: ``x (B, T, I)``, the initial state ``h0``, ``c0`` (B, H), the gradients
  ``dy (B, T, H)`` and ``dh``, ``dc`` (B, H) of the last state, the parameters ``param.W_x`` etc.;
- the results: ``y``, the last state ``h``, ``c``, the gradients ``dx``, ``dh0``, ``dc0``,
  ``grad.W_x`` etc.;
- ``seed`` and ``torch_version``.
"""

import numpy as np
import torch

from support import torch_twins
from support.folders import GOLDEN

SEED, B, T, I, H = 20, 3, 4, 3, 5


def numbers(kind):
    """Return the content of one file as a dict of name -> array."""
    cell = torch_twins.KINDS[kind][2]
    rng = np.random.default_rng(SEED)
    params = {name: rng.normal(0, 0.7, shape) for name, shape in cell.shapes(I, H).items()}
    x, dy = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
    first = tuple(rng.normal(size=(B, H)) for _ in cell.state_names)
    dlast = tuple(rng.normal(size=(B, H)) for _ in cell.state_names)
    module = torch_twins.to_torch(params, kind)
    found = torch_twins.forward_backward(module, kind, x, first, dy, dlast)

    content = {"x": x, "dy": dy, "y": found["y"], "dx": found["dx"]}
    for k, name in enumerate(cell.state_names):
        content |= {name + "0": first[k], name: found["state"][k]}
        content |= {"d" + name: dlast[k], "d" + name + "0": found["dstate"][k]}
    content |= {"param." + name: array for name, array in params.items()}
    content |= {"grad." + name: array for name, array in found["grads"].items()}
    content |= {"seed": np.array(SEED), "torch_version": np.array(torch.__version__)}
    return content


if __name__ == "__main__":
    for kind in torch_twins.KINDS:
        np.savez_compressed(GOLDEN / f"{kind}.npz", **numbers(kind))
        print(GOLDEN / f"{kind}.npz")

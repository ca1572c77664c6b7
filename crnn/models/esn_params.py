"""Arguments of an echo state network by name, in the manner of scikit-learn."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from crnn.layers.base.adapted import layer_of
from crnn.layers.compose.sequential import Sequential
from crnn.layers.pointwise.ridge import Ridge, check_alpha


def flat_params(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of layers, with the names of the layers before them: "readout__alpha".

    Parameters
    ----------
    parts : mapping of str to object
        Layers by name; other values are ignored.
    """
    found = {}
    for name, part in parts.items():
        if hasattr(part, "forward"):
            for key, value in _arguments_of(part).items():
                found[f"{name}__{key}"] = value
    return found


def _arguments_of(layer: Any) -> dict[str, Any]:
    """Return the arguments of a layer, and those of the layers inside."""
    inside = layer_of(layer).parts
    return flat_params(inside) if inside else dict(layer.config)


def set_params(esn: Any, params: Mapping[str, Any]) -> None:
    """Change arguments of a network in place; nothing has changed after an error."""
    before = esn.get_params(deep=False)
    own = {name: params.get(name, value) for name, value in before.items()}
    known = own | flat_params(own)
    unknown = [name for name in params if name not in known]
    if unknown:
        raise ValueError(
            f"{unknown[0]}: expected a parameter of the network, one of {', '.join(known)}"
        )
    inner = {name: value for name, value in params.items() if name not in before}
    if params.keys() == {"readout__alpha"} and isinstance(esn.readout, Ridge):
        _set_alpha(esn.readout, params["readout__alpha"])
        return
    for part in ("reservoir", "readout"):
        changes = _below(part, inner)
        if changes:
            with _named(part, changes):
                own[part] = _rebuilt(own[part], changes)
    others = any(own[name] is not before[name] for name in before if name != "readout")
    if others and "readout" not in params and "readout__input_size" not in inner:
        own["readout"] = _unfitted(own)
    made = type(esn)(**own)
    vars(esn).update(vars(made))


def _set_alpha(readout: Ridge, alpha: Any) -> None:
    """Set the alpha of a Ridge; solve for the weights if it is fitted."""
    with _named("readout", ("alpha",)):
        checked = check_alpha("alpha", alpha)
        if readout.steps_:
            readout.solve(checked)
        elif is_fitted(readout):
            raise ValueError(
                "alpha: expected a readout that has the sums of its fit, to which a new alpha is "
                "applied at once. A loaded one has the weights alone: set readout.alpha and call "
                f"fit(x, y), got {readout!r:.100}"
            )
    readout.alpha = checked


@contextmanager
def _named(part: str, names: Collection[str]) -> Iterator[None]:
    """Put the name of a part before that of an argument, in the message of an error.

    Parameters
    ----------
    part : str
    names : collection of str
        The arguments of the part as they are called there.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if str(error).partition(":")[0] not in names:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{part}__{error}") from error


def _below(part: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a part by the names that they have there."""
    prefix = f"{part}__"
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix)
    }


def _rebuilt(layer: Any, changes: Mapping[str, Any]) -> Any:
    """Return a layer like another one, with some other arguments and the same seed."""
    if not layer_of(layer).parts:
        unknown = changes.keys() - layer.config.keys()
        if unknown:
            raise ValueError(f"{min(unknown)}: expected an argument of {layer!r:.100}")
        return type(layer).from_config(dict(layer.config) | dict(changes))
    if type(layer) is not Sequential:
        raise ValueError(
            f"reservoir: expected a layer without layers inside, or a crnn.Sequential, to change "
            f"{', '.join(changes)}; set the reservoir itself, got {layer!r:.100}"
        )
    layers = list(layer.layers)
    for i, part in enumerate(layers):
        own = _below(str(i), changes)
        if own:
            with _named(str(i), own):
                layers[i] = _rebuilt(part, own)
    return Sequential(layers)


def _unfitted(own: Mapping[str, Any]) -> Any:
    """Return a readout without a fit, of the size that the reservoir needs."""
    readout, reservoir = own["readout"], layer_of(own["reservoir"])
    config = dict(readout.config)
    width, inputs = reservoir.output_size, reservoir.input_size
    if width is not None:
        if own["join_input"] and inputs is not None:
            width += inputs - (config["output_size"] if own["feedback"] else 0)
        config["input_size"] = width
    return type(readout).from_config(config)


def clone_of(esn: Any) -> Any:
    """Return a copy of a network without a fit of the readout."""
    params = esn.get_params(deep=False)
    readout = params["readout"]
    params["reservoir"] = copy.deepcopy(params["reservoir"])
    params["readout"] = type(readout).from_config(readout.config)
    return type(esn)(**params)


def is_fitted(readout: Any) -> bool:
    """Return whether a readout has other weights than at first."""
    if (
        getattr(readout, "alpha_", None) is not None
        or getattr(readout, "_factor", None) is not None
    ):
        return True
    fresh = type(readout).from_config(readout.config)
    return any(
        not np.array_equal(array, fresh.params[name]) for name, array in readout.params.items()
    )


def regressor_tags() -> Any:
    """Return the tags of scikit-learn for a regressor of sequences."""
    from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

    return Tags(
        estimator_type="regressor",
        target_tags=TargetTags(required=True, multi_output=True, two_d_labels=True),
        regressor_tags=RegressorTags(),
        input_tags=InputTags(two_d_array=True, three_d_array=True),
    )

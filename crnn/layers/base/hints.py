"""Texts for error messages: what to write in crnn instead of names of other libraries."""

from __future__ import annotations

from collections.abc import Iterable

#: Attributes and methods of models in PyTorch, Keras and scikit-learn.
ATTRIBUTES = {
    "eval": "a call, model(x), is evaluation; model.forward(x) is training",
    "train": "model.forward(x) is training, and crnn.fit trains; a call, model(x), is evaluation",
    "parameters": "optimizers take the model, crnn.optim.Adam(model); the parameters are "
    "model.params, a mapping of names to arrays",
    "named_parameters": "the parameters are model.params.items()",
    "weights": "the parameters are model.params, a mapping of names to arrays",
    "trainable_weights": "the parameters are model.params, a mapping of names to arrays",
    "get_weights": "copies of the parameters are model.state_dict()",
    "set_weights": "write model.load_state_dict(state)",
    "coef_": "the parameters are model.params, a mapping of names to arrays",
    "compile": "the loss and the optimizer are arguments of crnn.fit",
    "fit": "write crnn.fit(model, data, loss=..., optimizer=..., epochs=...)",
    "predict": "write crnn.predict(model, x)",
    "predict_proba": "write crnn.predict(model, x); its logits y are probabilities "
    "np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True)",
    "evaluate": "write crnn.evaluate(model, data, loss=...)",
    "score": "write crnn.evaluate(model, data, loss=..., metrics={...})",
    "save": "write crnn.save(path, model)",
    "save_weights": "write crnn.save(path, model)",
    "load": "write model = crnn.load(path)",
    "load_weights": "write model = crnn.load(path)",
    "to": "crnn computes on the CPU; model.astype('float64') changes the type",
    "cuda": "crnn computes on the CPU",
    "cpu": "crnn computes on the CPU",
    "float": "write model.astype('float32')",
    "double": "write model.astype('float64')",
    "half": "the types are float32 and float64",
    "modules": "the layers inside are model.parts, a mapping of names to layers",
    "children": "the layers inside are model.parts.values()",
    "add": "write model.append(layer)",
    "num_layers": "stacked layers are crnn.Sequential([...]), and len(model) counts them",
    "units": "the number of units is layer.hidden_size",
    "weight_ih_l0": "the weights of the input are layer.params['W_x']",
    "weight_hh_l0": "the recurrent weights are layer.params['W_h']",
    "bias_ih_l0": "the bias is layer.params['b']; there is one",
    "bias_hh_l0": "the bias is layer.params['b']; there is one",
    "requires_grad_": "write layer.trainable = False",
}

#: Arguments of recurrent layers in PyTorch and Keras.
OPTIONS = {
    "num_layers": "write crnn.Sequential([{name}(I, H), {name}(H, H)]) for two layers",
    "batch_first": "leave it out: arrays are always batch first, (B, T, I)",
    "bidirectional": "write crnn.Bidirectional({name}(I, H))",
    "dropout": "write recurrent_dropout= for the recurrent product, or put crnn.Dropout(p) between "
    "the layers of a crnn.Sequential",
    "nonlinearity": "write activation=",
    "proj": "write proj_size=",
    "units": "write {name}(input_size, hidden_size)",
    "dilation": "write delays=",
    "return_sequences": "leave it out: all steps are returned; put crnn.LastState around the layer "
    "for the last one",
    "return_state": "leave it out: the state is always returned, y, state = layer(x)",
    "go_backwards": "write reverse=True",
    "stateful": "write crnn.fit(..., stateful=True), or pass the state, layer(x, state)",
    "unroll": "leave it out",
    "use_bias": "write bias=",
    "unit_forget_bias": "write forget_bias=1.0, which is the default",
    "reset_after": "write reset='after' or reset='before'",
    "device": "leave it out: crnn computes on the CPU",
}


def attribute_hint(cls: type, name: str) -> str | None:
    """Return the message for an attribute of another library, or None.

    A class may have texts of its own, `_hints`.
    """
    hint = getattr(cls, "_hints", ATTRIBUTES).get(name, ATTRIBUTES.get(name))
    return hint and f"{cls.__name__!r} object has no attribute {name!r}: {hint}"


def check_option_names(cls: type, names: Iterable[str]) -> None:
    """Raise TypeError for arguments of another library.

    Parameters
    ----------
    cls : type
        The class of the layer.
    names : iterable of str
        Names of the arguments.
    """
    for name in OPTIONS.keys() & names:
        hint = OPTIONS[name].format(name=f"crnn.{cls.__name__}")
        raise TypeError(f"{name}: not an argument of {cls.__name__}: {hint}")

"""Wrong calls of the public functions, as text that wrong_calls.py reads.

One or more calls, one per line, and below them, indented, the exception (or several, with |) and a
regular expression for the beginning of its message. A message names the argument, the expected
value or shape, and the value that was passed.
"""

# `call` is a layer, or its forward; x (3, 4, ...) and dy are valid.
EVERY_LAYER = r"""
call(x.sum())
    ValueError|TypeError x: expected .*, got
call([[1.0], [2.0, 3.0]])
    ValueError|TypeError x: expected
call(x + 0j)
    TypeError x: expected .*, got complex128
call(x > 0)
    TypeError x: expected .*, got bool
call(x.astype(object))
call(None)
    TypeError x: expected .*, got object
call('x')
    TypeError x: expected .*, got <U1
call()
    TypeError .*missing .*argument:? '?x'?
call(x, lengths=[1])
    ValueError lengths: expected .*\(B=3,\), got .*\(1,\)
call(x, lengths=[[1, 1, 1]])
    ValueError lengths: expected .*\(B=3,\), got .*\(1, 3\)
call(x, lengths=2)
    ValueError lengths: expected .*\(B=3,\), got .*\(\)
call(x, lengths=[0, 5, 2])
    ValueError lengths: expected integers from 0 to (T=)?4, got .*5
call(x, lengths=[0, -1, 2])
    ValueError lengths: expected integers from 0 to (T=)?4, got .*-1
call(x, lengths=np.array([2**64 - 1, 0, 0], 'u8'))
    ValueError lengths: expected integers from 0 to (T=)?4, got
call(x, lengths=[0.0, 1.0, 2.0])
    TypeError lengths: expected integers .*, got float64
call(x, lengths=[True, True, False])
    TypeError lengths: expected integers .*, got bool
call(x, lengths='abc')
    TypeError lengths: expected integers .*, got <U3
call(x, lengths=[[1], [2, 3]])
call(x, lengths=[2**63, 0, 0])
    ValueError|TypeError lengths: expected
call(x, 'state')
call(x, {})
    ValueError|TypeError state: .*expected .*, got
call(x, state, [1, 1, 1])
    TypeError .*positional argument
call(x, length=[1, 1, 1])
    TypeError .*'length'
"""

EVERY_BACKWARD = r"""
layer.backward(tape, dy[:, :-1])
layer.backward(tape, dy[..., :-1])
layer.backward(tape, dy[None])
    ValueError dy: expected floats of shape .*, got .*shape
layer.backward(tape, dy.astype(int))
    TypeError dy: expected floats .*, got int64
layer.backward(tape, dy + 0j)
    TypeError dy: expected floats .*, got complex128
layer.backward(tape, 'dy')
    TypeError dy: expected floats .*, got <U2
layer.backward(tape, [[1.0], [2.0, 3.0]])
    ValueError|TypeError dy: expected
layer.backward(tape, dy, 'dstate')
layer.backward(tape, dy, {})
    ValueError|TypeError dstate: .*expected .*, got
layer.backward(None, dy)
layer.backward(dy, dy)
layer.backward([], dy)
    ValueError|TypeError tape: expected
layer.backward(foreign['lstm'], None)
layer.backward(foreign['dense'], None)
layer.backward(foreign['layernorm'], None)
layer.backward(foreign['embedding'], None)
layer.backward(foreign['bidirectional'], None)
layer.backward(foreign['sequential'], None)
    ValueError|TypeError tape: expected
layer.backward()
    TypeError .*'tape'
layer.backward(tape)
    TypeError .*'dy'
layer.load_state_dict(None)
    TypeError|ValueError state.*: expected
layer.load_state_dict({'nothing': 0})
    ValueError state_dict: expected .*'nothing'
layer.astype('int32')
layer.astype(None)
    ValueError dtype: expected 'float32' or 'float64', got
"""

# `call` takes an argument (B=3, T=4) that is named MASK in the message.
EVERY_MASK = r"""
call(x, MASK=z((3, 3), bool))
call(x, MASK=z((3, 3), int))
    ValueError MASK: expected booleans, or integers 0 and 1, of shape \(B=3, T=4\), got .*\(3, 3\)
call(x, MASK=True)
call(x, MASK=1)
    ValueError MASK: expected booleans, or integers 0 and 1, of shape \(B=3, T=4\), got .*\(\)
call(x, MASK=[])
    ValueError MASK: expected booleans, or integers 0 and 1, of shape \(B=3, T=4\), got .*\(0,\)
call(x, MASK=z((3, 4)))
    TypeError MASK: expected booleans, or integers 0 and 1, of shape \(B=3, T=4\), got float64
call(x, MASK=z((3, 4), object))
    TypeError MASK: expected booleans, or integers 0 and 1, of shape \(B=3, T=4\), got object
call(x, MASK=z((3, 4), 'm8[s]'))
    TypeError MASK: expected booleans, or integers 0 and 1, of shape \(B=3, T=4\), got timedelta64
call(x, MASK='abc')
call(x, MASK=[[0, 1], [1]])
    TypeError|ValueError MASK: expected
call(x, MASK=2 * np.eye(3, 4, 1, int))
    ValueError MASK: expected booleans, .* of shape \(B=3, T=4\), got 2 in row 0 at step 1
call(x, MASK=-np.eye(3, 4, -1, 'b'))
    ValueError MASK: expected booleans, or integers 0 and 1, of shape .*, got -1 in row 1 at step 0
call(x, MASK=np.full((3, 4), 2**64 - 1, 'u8'))
    ValueError MASK: expected booleans, .*, got 18446744073709551615 in row 0 at step 0
call(x, MASK=np.full((4, 3), 256, '>u2').T)
    ValueError MASK: expected booleans, .*, got 256 in row 0 at step 0
"""

# `one` is the name of a parameter, ONE in the message.
EVERY_PARAMETER = r"""
layer.load_state_dict({key: array for key, array in given.items() if key != one})
    ValueError state_dict: expected .*missing: .*ONE
layer.load_state_dict(given | {one: z(99)})
    ValueError ONE: expected .*, got .*99
layer.load_state_dict(given | {one: given[one][None]})
    ValueError ONE: expected .*, got .*shape
layer.load_state_dict(given | {one: given[one] + 0j})
    ValueError ONE: expected .*, got complex128
layer.load_state_dict(given | {one: given[one] > 0})
    ValueError ONE: expected .*, got bool
layer.load_state_dict(given | {one: None})
layer.load_state_dict(given | {one: 'a'})
layer.load_state_dict(given | {one: [[1.0], [2.0, 3.0]]})
    ValueError|TypeError ONE: expected
"""

# A recurrent layer of I = 3, H = 4; `pack` makes a state with this as its last part.
EVERY_CELL = r"""
layer.forward(x, call=-1)
layer.forward(x, call=2**64)
    ValueError call: expected an integer from 0 to 2\*\*64 - 1, got
layer.forward(x, call=1.0)
    TypeError call: expected an integer from 0 to 2\*\*64 - 1, got 1.0
layer.forward(x, first_row=-1)
    ValueError first_row: expected an integer from 0
layer.forward(x, first_step=2**32)
    ValueError first_step: expected an integer from 0 to 2\*\*32 - 1, got 4294967296
layer.forward(x, layer='a')
    TypeError layer: expected an integer from 0
layer.backward(other(layer_norm=True), dy)
layer.backward(other(zoneout=0.5), dy)
layer.backward(other(learn_state=True), dy)
    ValueError tape: expected .* layer like this
call(z((3, 4, 2)))
    ValueError x: expected .*\(B, T, I=3\) or integers .*\(B, T\), got .*\(3, 4, 2\)
call(z((3, 4)))
    ValueError x: expected .*, got float64 of shape \(3, 4\)
call(x[..., None])
    ValueError x: expected .*, got float64 of shape \(3, 4, 3, 1\)
call(z((3, 4, 3), int))
    ValueError x: expected .*, got int64 of shape \(3, 4, 3\); .* numbers as floats
call(z((3, 4), int) + 3)
    ValueError x: expected symbols from 0 to I-1=2, got 3 in row 0 at step 0; .* numbers as floats
call(z((3, 4), int) - np.eye(3, 4, 1, int))
    ValueError x: expected symbols from 0 to I-1=2, got -1 in row 0 at step 1; .* numbers as floats
call(z((3, 4), 'u8') + 2**63)
    ValueError|TypeError x: expected
call(x, z((9, 9)))
call(x, (z((3, 4)),))
call(x, [z((3, 4))] * 3)
call(x, [None, None])
    ValueError|TypeError state: expected .*B=3, H=4\), got
call(x, pack(z((2, 4))))
    ValueError state: expected .*\(B=3, H=4\), got .*\(2, 4\)
call(x, pack(z((3, 5))))
    ValueError state: expected .*\(B=3, H=4\), got .*\(3, 5\)
call(x, pack(z((1, 3, 4))))
    ValueError state: expected .*\(B=3, H=4\), got .*\(1, 3, 4\)
call(x, pack(z((3, 4), int)))
    TypeError state: expected floats .*, got int64
layer.backward(tape, dy, pack(z((2, 4))))
    ValueError dstate: expected .*\(B=3, H=4\), got .*\(2, 4\)
layer.backward(tape, dy, pack(z((3, 4), bool)))
    TypeError dstate: expected floats .*, got bool
layer.backward(tape, dy, None, True)
    TypeError .*positional argument
layer.backward(tape, dy, tracing=True)
    TypeError .*tracing
layer.backward(other(reverse=True), dy)
layer.backward(other(bias=False), dy)
layer.backward(other(dtype='float32'), dy)
    ValueError tape: expected .* layer like this
layer.backward(other(hidden=5), None)
    ValueError tape: expected .*H=4.*, got .*H=5
layer.backward(other(inputs=2), dy)
    ValueError tape: expected .*I=3.*, got .*I=2
layer.stream(0)
layer.stream(-1)
layer.stream(2**70)
    ValueError batch_size: expected an integer of at least 1 .*, got
layer.stream(1.0)
layer.stream('a')
    TypeError batch_size: expected an integer of at least 1 .*, got
layer.stream(2**62)
    ValueError batch_size: .*too large
layer.stream(3, pack(z((2, 4))))
    ValueError state: expected .*\(B=3, H=4\), got .*\(2, 4\)
layer.stream(3, 'a')
    TypeError state: expected
layer.stream(rows=3)
    TypeError .*rows
stream.step()
    TypeError .*argument
stream.step(z((2, 3)))
    ValueError x: expected floats of shape \(B=3, I=3\), got .*\(2, 3\)
stream.step(z((3, 2)))
    ValueError x: expected floats of shape \(B=3, I=3\), got .*\(3, 2\)
stream.step(z((3, 1, 3)))
    ValueError x: expected floats of shape \(B=3, I=3\), got .*\(3, 1, 3\)
stream.step(z((3, 3), int))
stream.step([0, 1])
    ValueError x: expected integers of shape \(B=3,\), got .*; .* numbers as floats
stream.step([0, 3, 1])
    ValueError x: expected symbols from 0 to I-1=2, got 3 in row 1 at step 0; .* numbers as floats
stream.step([0, -1, 1])
    ValueError x: expected symbols from 0 to I-1=2, got -1 in row 1 at step 0; .* numbers as floats
stream.step('a')
stream.step(None)
stream.step(z((3, 3), complex))
    TypeError x: expected floats .*, got
stream.reset([0, 3])
    ValueError rows: expected integers from 0 to 2, got 3
stream.reset([0, -1])
    ValueError rows: expected integers from 0 to 2, got -1
stream.reset(1)
    ValueError rows: expected integers .*, got .*\(\)
stream.reset([0.0])
stream.reset([True, False, True])
    TypeError rows: expected integers .*, got
setattr(stream, 'state', pack(z((2, 4))))
    ValueError state: expected .*\(B=3, H=4\), got .*\(2, 4\)
setattr(stream, 'state', pack(z((3, 4), int)))
setattr(stream, 'state', 'a')
    TypeError state: expected
delattr(stream, 'state')
    AttributeError state: cannot be deleted
setattr(layer, 'hidden_size', 5)
    AttributeError .*hidden_size
setattr(layer, 'params', {})
    AttributeError .*params
"""

LOSSES = r"""
losses.cross_entropy(z((2, 5, 3)), z((2, 4), int))
    ValueError targets: expected .*\(2, 5\), got .*\(2, 4\)
losses.cross_entropy(z((2, 5, 3)), z((2, 5, 3), int))
    ValueError targets: expected .*\(2, 5\), got .*\(2, 5, 3\)
losses.cross_entropy(z((2, 5, 3)), z((2, 5)))
    TypeError targets: expected integers .*\(2, 5\), got float64
losses.cross_entropy(z((2, 3)), None)
    TypeError targets: expected integers .*\(2,\), got object
losses.cross_entropy(z((2, 5, 3)), z((2, 5), int) + 3)
    ValueError targets: expected integers from 0 to K-1=2, got 3
losses.cross_entropy(z((2, 5, 3)), z((2, 5), int) - 1)
    ValueError targets: expected integers from 0 to K-1=2, got -1
losses.cross_entropy(z((2, 5, 3), int), z((2, 5), int))
losses.cross_entropy('a', z((2, 5), int))
losses.cross_entropy(z((2, 5, 3), complex), z((2, 5), int))
    TypeError logits: expected floats.*, got
losses.cross_entropy([[1.0], [2.0, 3.0]], z(2, int))
    ValueError|TypeError logits: expected
losses.cross_entropy(z(3), 0)
losses.cross_entropy(z((2, 5, 0)), z((2, 5), int))
    ValueError logits: expected .*\(B, T, K\) or \(B, K\) with K >= 1, got
losses.cross_entropy(z((2, 5, 3)), z((2, 5), int), [6, 0])
losses.mse(z((2, 5)), z((2, 5)), [6, 0])
    ValueError lengths: expected integers from 0 to T=5, got .*6
losses.cross_entropy(z((2, 5, 3)), z((2, 5), int), [5])
losses.mse(z((2, 5)), z((2, 5)), [1])
    ValueError lengths: expected .*\(B=2,\), got .*\(1,\)
losses.cross_entropy(z((2, 5, 3)), z((2, 5), int), [5.0, 1.0])
losses.mse(z((2, 5)), z((2, 5)), [5.0, 1.0])
    TypeError lengths: expected integers .*, got float64
losses.cross_entropy(z((2, 3)), z(2, int), [1, 1])
losses.mse(z(2), z(2), [1, 1])
    ValueError lengths: expected none
losses.mse(z((2, 5, 3)), z((2, 5, 4)))
    ValueError target: expected .*\(2, 5, 3\).*, got .*\(2, 5, 4\)
losses.mse(z((2, 5)), 0.0)
    ValueError target: expected .*\(2, 5\).*, got .*\(\)
losses.mse(z((2, 5)), z((2, 5), complex))
losses.mse(z((2, 5)), None)
    TypeError target: expected real numbers .*, got
losses.mse(z((2, 5), int), z((2, 5)))
    TypeError y: expected floats, got
losses.binary_cross_entropy(z((2, 5, 3)), z((2, 5, 3)) + 2)
    ValueError targets: expected numbers from 0 to 1
losses.binary_cross_entropy(z((2, 5, 3)), z((2, 4, 3)))
    ValueError targets: expected real numbers of shape \(2, 5, 3\).*, got shape \(2, 4, 3\)
losses.binary_cross_entropy(z((2, 5, 3), int), z((2, 5, 3)))
    TypeError logits: expected floats of shape .*, got int64
losses.binary_cross_entropy(z((2, 5, 3)), z((2, 5, 3)), [6, 0])
    ValueError lengths: expected integers from 0 to T=5, got .*6
"""

OPTIMIZERS = r"""
setattr(adam, 'lr', -1)
setattr(adam, 'lr', 'a')
setattr(adam, 'lr', np.nan)
    ValueError|TypeError lr: expected a finite number of at least 0, got
adam.load_state_dict(None)
    TypeError|ValueError state.*: expected
adam.load_state_dict({})
    ValueError state_dict: expected .* missing: .*'m\.W_x'
adam.load_state_dict(kept | {'q': 1})
    ValueError state_dict: expected .* unknown: .*'q'
adam.load_state_dict(optim.SGD(lstm).state_dict())
    ValueError state_dict: expected .* missing: .*'m\.W_x'
adam.load_state_dict(kept | {'m.b': z(3)})
    ValueError m\.b: expected .*\(16,\), got .*\(3,\)
adam.load_state_dict(kept | {'v.b': None})
    ValueError v\.b: expected
adam.load_state_dict(kept | {'lr': -1})
adam.load_state_dict(kept | {'lr': 'a'})
adam.load_state_dict(kept | {'lr': np.inf})
    ValueError lr: expected
adam.load_state_dict(kept | {'steps': -1})
adam.load_state_dict(kept | {'steps': 1.5})
adam.load_state_dict(kept | {'steps': None})
    ValueError steps: expected
optim.SGD(lstm, nesterov=True)
    TypeError .*nesterov
"""

CHECKS = r"""
crnn.gradcheck(None, x)
crnn.gradcheck(crnn.LSTM, x)
    TypeError layer: expected a layer, got
crnn.gradcheck(lstm, None)
crnn.gradcheck(lstm, z((3, 4, 2)))
    ValueError|TypeError x: expected
crnn.gradcheck(lstm, x, z(3))
    ValueError|TypeError state: expected
crnn.gradcheck(lstm, x, lengths=[9, 9, 9])
    ValueError lengths: expected
crnn.gradcheck(lstm, x, epsilon=0)
crnn.gradcheck(lstm, x, epsilon=-1e-5)
crnn.gradcheck(lstm, x, epsilon=np.nan)
crnn.gradcheck(lstm, x, epsilon='a')
    ValueError|TypeError epsilon: expected a positive number, got
crnn.gradcheck(lstm, x, tolerance=-1)
crnn.gradcheck(lstm, x, tolerance='a')
    ValueError|TypeError tolerance: expected
crnn.set_num_threads(0)
crnn.set_num_threads(-1)
crnn.set_num_threads(2**70)
    ValueError n: expected an integer of at least 1.*, got
crnn.set_num_threads(1.0)
crnn.set_num_threads('2')
crnn.set_num_threads(None)
    TypeError n: expected an integer of at least 1.*, got
"""

LAYERS = r"""
dense(z((3, 4, 2)))
    ValueError x: expected floats of shape \(B, T, I=3\) or \(B, I=3\), got .*\(3, 4, 2\)
dense(z((3, 4, 3), int))
dropout(z((3, 4), int))
    TypeError x: expected floats .*, got int64
dense(z((3, 3)), lengths=[1, 1, 1])
    ValueError lengths: expected none
dense.forward(x, state=z(3))
    ValueError state: Dense has no state, expected None, got
crnn.LayerNorm(3)(z((3, 4, 2)))
    ValueError x: expected floats .*size=3.*, got .*\(3, 4, 2\)
embedding(z((3, 4)))
    TypeError x: expected integers of shape \(B, T\), got float64
embedding(z((3, 4), int) + 3)
    ValueError x: expected .*integers from 0 to .*2, got 3
embedding(z((3, 4), int) - 1)
    ValueError x: expected .*integers from 0 to .*2, got -1
dropout.forward(x, call=-1)
dropout.forward(x, call='a')
dropout.forward(x, call=1.5)
dropout.forward(x, call=2**70)
    ValueError|TypeError call: expected
crnn.Residual(lstm)(x)
crnn.Residual(lstm).forward(x)
    ValueError x: expected .*\(3, 4, 4\).*, got .*\(3, 4, 3\)
crnn.Residual(both).forward(x)
    ValueError x: expected .*\(3, 4, 8\).*, got .*\(3, 4, 3\)
crnn.Residual(embedding)(z((3, 4), int))
    ValueError|TypeError x: expected floats .*, got int64
crnn.Sequential([lstm, lstm])
    ValueError layers\[1\]: expected a layer that reads the 4 features of LSTM.*, which reads 3
seq(x, [None])
    ValueError state: expected None or a list of 2 states, got 1 item
seq(x, [None, z(3)])
    ValueError state: Dense has no state
seq(x, [z(3), None])
    ValueError|TypeError state: expected
seq.backward(seq_tape[:1], dy)
    ValueError|TypeError tape: expected the list of 2 tapes
seq.backward(seq_tape[::-1], dy)
seq.backward([seq_tape[0], None], dy)
    ValueError|TypeError tape: expected
seq.backward(seq_tape, dy, [None])
    ValueError dstate: expected None or a list of 2 states, got 1 item
seq.backward(seq_tape, dy, [z(3), None])
    ValueError|TypeError dstate: expected
seq.backward(seq_tape, dy, [None, z(3)])
    ValueError dstate: Dense has no state
seq.backward([short_tape[0], seq_tape[1]], dy)
    ValueError|TypeError (tape|dy): expected
lookup.backward(lookup_tape(9, crnn.RNN(3, 4)), None)
lookup.backward(lookup_tape(5, crnn.RNN(3, 5)), None)
lookup.backward(lookup_tape(5, crnn.RNN(3, 4, activation='relu')), None)
lookup.backward(lookup_tape(5, crnn.RNN(3, 4, reverse=True)), None)
lookup.backward(lookup_tape(5, crnn.GRU(3, 4)), None)
lookup.backward(lookup_tape(5, crnn.Dense(3, 4)), None)
    ValueError|TypeError tape: expected
lookup(z((3, 4), int) + 5)
lookup.forward(z((3, 4), int) - 1)
    ValueError x: expected .*integers from 0 to .*4, got
lookup.backward(lookup_tape(5, crnn.RNN(3, 4)), z((3, 4, 5)))
    ValueError dy: expected
lookup.backward(lookup_tape(5, crnn.RNN(3, 4)), z((3, 4, 4)), [None, z((2, 4))])
lookup.backward(lookup_tape(5, crnn.RNN(3, 4)), z((3, 4, 4)), [z((3, 4)), None])
    ValueError dstate: .*expected
both(x, z((3, 4)))
both.forward(x, [None] * 3)
    ValueError|TypeError state: expected None or the pair \(forward, backward\)
both(x, (None, z((3, 4))))
    ValueError|TypeError state: expected
both.backward(both_tape, z((3, 4, 8)), (None, z((3, 4))))
    ValueError|TypeError dstate: expected
both.backward(summed_tape, z((3, 4, 4)))
    ValueError tape: expected .*'concat'.*, got .*'sum'
crnn._core.Recurrent(2, 2)
    TypeError .*has no cell: use one of RNN, LSTM, GRU, JANET
crnn._core.Tape()
crnn._core.Stream()
    TypeError cannot create
"""

# x (3, 4, 3); conv, block and tcn read I = 3 and return 4 outputs.
TEMPORAL = r"""
crnn.CausalConv(3, 4, 0)
crnn.TCNBlock(3, 4, 0)
crnn.TCN(3, [4], 0)
    ValueError taps: expected an integer of at least 1.*, got 0
crnn.CausalConv(3, 4, 2.0)
    TypeError taps: expected an integer of at least 1, got 2.0
crnn.CausalConv(0, 4)
crnn.TCNBlock(0, 4)
crnn.TCN(0, [4])
    ValueError input_size: expected an integer of at least 1.*, got 0
crnn.CausalConv(3, 4, dilation=0)
crnn.TCNBlock(3, 4, dilation=0)
    ValueError dilation: expected an integer of at least 1.*, got 0
crnn.TCN(3, [4, 4], dilations=[1, 0])
    ValueError dilations\[1\]: expected an integer of at least 1.*, got 0
crnn.CausalConv(3, 4, 3, dilation=2**20)
crnn.TCNBlock(3, 4, 3, dilation=2**20)
crnn.TCN(3, [4] * 21)
crnn.TCN.covering(3, 4, 2**40)
    ValueError taps, dilation: expected \(taps - 1\) \* dilation of at most 1048576, got 2097152
crnn.CausalConv(3, 4, 2, dilation=2**62)
    ValueError taps, dilation: expected \(taps - 1\) \* dilation of at most 1048576, got 46116860184
crnn.CausalConv(3, 4, 2**62)
crnn.CausalConv(2**40, 2**40, 1)
    ValueError input_size, hidden_size, taps: expected sizes that memory can hold, got
crnn.CausalConv(3, 4, activation='sigmoid')
crnn.CausalConv(3, 4, activation=['relu'])
    ValueError activation: expected None or one of .*'relu', 'tanh'.*, got
crnn.CausalConv(3, 4, dtype='int8')
crnn.TCN(3, [4], dtype='int8')
    ValueError dtype: expected 'float32' or 'float64', got 'int8'
crnn.TCNBlock(3, 4, dropout=1.0)
crnn.TCNBlock(3, 4, dropout=float('nan'))
crnn.TCN(3, [4], dropout='a')
    ValueError dropout: expected a probability, 0 <= p < 1, got
crnn.CausalConv(3, 4, weight_norm='no')
crnn.TCNBlock(3, 4, weight_norm='no')
crnn.TCN(3, [4], weight_norm='no')
    TypeError weight_norm: expected True or False, got 'no'
crnn.CausalConv(3, 4, bias=None)
    TypeError bias: expected True or False, got None
crnn.CausalConv(3, 4, reverse=2)
    TypeError reverse: expected True or False, got 2
crnn.TCNBlock(3, 4, variational='no')
crnn.TCN(3, [4], variational='no')
    TypeError variational: expected True or False, got 'no'
setattr(conv, 'dilation', 0)
    AttributeError dilation: cannot be set
setattr(block, 'dropout', 0.5)
    AttributeError dropout: cannot be set
crnn.TCN(3, [])
crnn.TCN(3, 4)
crnn.TCN(3, '44')
crnn.TCN(3, np.array([4, 4]))
    TypeError hidden_sizes: expected a list of at least one integer, got
crnn.TCN(3, [4, 0])
    ValueError hidden_sizes\[1\]: expected an integer of at least 1.*, got 0
crnn.TCN(3, [4, 4], dilations=[1])
crnn.TCN(3, [4, 4], dilations=2)
    ValueError dilations: expected None or a list of 2 integers, one for each block, got
crnn.TCN.covering(3, 4, 0)
    ValueError steps: expected an integer of at least 1.*, got 0
crnn.TCN.covering(3, 4, 10, 1)
    ValueError taps: expected at least 2, got 1
conv(z((3, 4), int))
conv.forward(z((3, 4, 3), int))
block(z((3, 4), int))
tcn(z((3, 4), int))
    TypeError x: expected floats of shape \(B, T, I=3\), got int64 of shape \(3, 4
conv(z((4, 3)))
    ValueError x: expected floats of shape \(B, T, I=3\), got float64 .*: a batch of one .*None\]
conv(z((3, 4, 2)))
block.forward(z((3, 4, 2)))
    ValueError x: expected floats of shape \(B, T, I=3\), got float64 of shape \(3, 4, 2\)
conv(x, z((3, 3, 3)))
conv.forward(x, z((3, 3, 3)))
conv.stream(3, z((3, 3, 3)))
    ValueError state: expected floats of shape \(B=3, D=4, I=3\), got float64 of shape \(3, 3, 3\)
conv(x, z((3, 4, 3), int))
    TypeError state: expected floats of shape \(B=3, D=4, I=3\), got int64
block(x, z((3, 4, 3)))
block.forward(x, 'state')
block.stream(3, {})
    TypeError state: expected None or a list of 2 states, got
block(x, [z((3, 4, 3))])
    ValueError state: expected None or a list of 2 states, got 1
block(x, [None, z((3, 4, 3))])
    ValueError state\[1\]: expected floats of shape \(B=3, D=4, I=4\), got float64
conv.backward(conv_tape, z((3, 4, 3)))
block.backward(block_tape, z((3, 4, 3)))
    ValueError dy: expected floats of shape \(B=3, T=4, features=4\), got float64 of .* \(3, 4, 3\)
conv.backward(conv_tape, None, z((3, 4, 2)))
    ValueError dstate: expected floats of shape \(B=3, D=4, I=3\), got float64 of shape \(3, 4, 2\)
block.backward(block_tape, None, z((3, 4, 3)))
    TypeError dstate: expected None or a list of 2 states, got
block.backward(block_tape, None, [None, z((3, 4, 3))])
    ValueError dstate\[1\]: expected floats of shape \(B=3, D=4, I=4\)
conv.backward(block_tape, None)
conv.backward(crnn.CausalConv(3, 4, dilation=1).forward(x)[2], None)
conv.backward(crnn.CausalConv(3, 4, 2, dilation=4).forward(x)[2], None)
conv.backward(crnn.CausalConv(3, 4, dilation=2, reverse=True).forward(x)[2], None)
conv.backward(crnn.CausalConv(3, 4, dilation=2, activation='tanh').forward(x)[2], None)
conv.backward(crnn.CausalConv(3, 4, dilation=2, weight_norm=True).forward(x)[2], None)
conv.backward(crnn.CausalConv(3, 4, dilation=2, dtype='float64').forward(x)[2], None)
    TypeError tape: expected one that forward of this layer returned, got another one
conv.backward(seq_tape, None)
conv.backward(both_tape, None)
    TypeError tape: expected the one that forward returned, got
crnn.CausalConv(3, 4, reverse=True).stream()
    ValueError layer: expected one that runs step by step, got CausalConv
conv.stream(0)
conv.stream(2**62)
    ValueError batch_size: expected
conv.stream(2).step(z((2, 4)))
    ValueError x: expected floats of shape \(B=2, I=3\), got float64 of shape \(2, 4\)
conv.stream(2).step(z(2, int))
    ValueError|TypeError x: expected floats of shape \(B=2, I.*\), got int64
conv.stream(2).reset([2])
    ValueError rows: expected integers from 0 to 1, got 2
setattr(conv.stream(2), 'state', z((3, 4, 3)))
    ValueError state: expected floats of shape \(B=2, D=4, I=3\), got float64 of shape \(3, 4, 3\)
conv.params.update(W=z((2, 4, 3)))
    ValueError W: expected real numbers of shape \(3, 4, 3\).*, got float64 of shape \(2, 4, 3\)
conv.params.update(v=z((3, 4, 3)))
    TypeError v: the names are fixed, expected one of W, b
"""

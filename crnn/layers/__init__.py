"""All layers. The package imports every module, so that `crnn.load` finds every class."""

import crnn.layers.attention.alignment
import crnn.layers.compose.bidirectional
import crnn.layers.compose.checkpointed
import crnn.layers.compose.conditioned
import crnn.layers.compose.last_state
import crnn.layers.compose.pooling
import crnn.layers.compose.residual
import crnn.layers.compose.sequential
import crnn.layers.pointwise.dense
import crnn.layers.pointwise.dropout
import crnn.layers.pointwise.embedding
import crnn.layers.pointwise.normalisation
import crnn.layers.pointwise.tied
import crnn.layers.recurrent.cells  # noqa: F401

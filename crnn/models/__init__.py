"""Complete models for texts, sequences and forecasts, built from the layers of crnn."""

from crnn.models.autoencoder import SequenceAutoencoder
from crnn.models.backtest import Backtest
from crnn.models.captioner import Captioner
from crnn.models.char_model import CharModel
from crnn.models.deepar import DeepAR
from crnn.models.esn import ESN
from crnn.models.forecast import Forecast
from crnn.models.translator import Translator

__all__ = [
    "ESN",
    "Backtest",
    "Captioner",
    "CharModel",
    "DeepAR",
    "Forecast",
    "SequenceAutoencoder",
    "Translator",
]

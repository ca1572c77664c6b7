"""Sequence-to-sequence models: encoder, attention and decoder; training and generation."""

from crnn.layers.compose.last_state import LastState
from crnn.seq2seq.model import Seq2Seq
from crnn.seq2seq.teacher import TeacherForcing

__all__ = ["LastState", "Seq2Seq", "TeacherForcing"]

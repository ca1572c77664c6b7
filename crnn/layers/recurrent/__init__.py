"""The recurrent layers RNN, LSTM, GRU, JANET, MinGRU and MinLSTM."""

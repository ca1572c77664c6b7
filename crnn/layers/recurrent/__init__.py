"""The recurrent layers RNN, LSTM, GRU and JANET."""

"""Any `keras.Model` as a graph of layers: walked, counted, run, folded."""

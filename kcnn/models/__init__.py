"""Papers as rows: a name, its options, the plain `keras.Model` that they build."""

"""Finding what is wrong with a prepared dataset, and writing an index without it."""

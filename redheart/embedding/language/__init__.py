"""The language of a dataset, as far as its encoder's tokenizer tells: which texts the encoder can't read."""

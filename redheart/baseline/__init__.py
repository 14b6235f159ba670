"""The simple baseline: linear models on the encoder's vectors, and comparisons of the model with it.

Importing this loads neither torch nor scikit-learn; fitting a baseline does.
"""

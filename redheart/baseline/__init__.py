"""The simple baseline: linear models on the encoder's vectors, and where the model stands beside them.

Importing this loads neither torch nor scikit-learn; fitting a baseline does.
"""

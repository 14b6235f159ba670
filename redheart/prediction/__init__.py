"""New texts predicted by a trained model: read, embedded as its training data was, shown. Nothing is written.

Importing this loads neither torch nor numpy; predicting does.
"""

"""Predictions of new texts by a trained model: read, embedded as its training data was, shown. Nothing is written.

Importing this loads neither torch nor numpy; predicting does.
"""

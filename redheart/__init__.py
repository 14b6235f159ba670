"""Red Heart: moral situations to embeddings, a learning rate, a trained multi-module model and an honest report."""

__version__ = "0.1.0"
__license__ = "Apache-2.0"

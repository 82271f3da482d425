"""kcnn: the classic convolutional network in Keras 3.

Importing is fast and silent: Keras and TensorFlow load on first real use.
"""

__version__ = "0.1.0"

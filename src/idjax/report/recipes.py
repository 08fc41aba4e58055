"""Stub until the page branch lands."""


def flax_code(settings, inputs, outputs, autoencoder):
    """Code."""
    return ""


def keras_code(settings, inputs, outputs, autoencoder):
    """Code."""
    return ""

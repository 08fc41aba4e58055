"""The Flax model, its losses, optimizers and the compiled steps that train it."""

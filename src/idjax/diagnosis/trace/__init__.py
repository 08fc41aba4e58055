"""A loss as its jaxpr has it: graph, layers, activations and what is compared with targets, and what they hold."""

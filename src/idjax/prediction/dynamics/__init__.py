"""How the loss moves along a training run: one module for each theory, all with the same face (`Trajectory`)."""

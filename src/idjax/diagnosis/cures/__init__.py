"""Cures built into a program, what they gain, the fastest learning rate, and trainings that prove them."""

"""Sweeps: at every point of a grid the theory is held against a training, and nothing that is finished is lost.

config reads and refuses, plan cuts the points into shards, compute makes the results of one, run drives and writes.
"""

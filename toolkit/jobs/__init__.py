"""Runs in the background: kinds of request, queue, supervisor, workers, sweeps, Ray."""

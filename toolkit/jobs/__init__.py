"""Background runs: kinds of requests, queue, supervisor, workers, sweeps, Ray."""

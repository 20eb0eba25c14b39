"""Class-incremental methods, and the metrics of a whole run."""

"""What a learner does beyond one stage's training: methods and the metrics of a whole run."""

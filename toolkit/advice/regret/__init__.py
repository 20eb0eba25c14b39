"""Regret of rules on problems whose choices were all piloted, and the part of it that is seed noise."""

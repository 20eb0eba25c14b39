"""Figures, images and tables made from results: pure functions for the app, notebooks and reports."""

"""Texts of app, command line and reports: one catalogue file per language."""

"""Sections of the report: results and conditions."""

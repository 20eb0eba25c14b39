"""Plotly figures as pure functions of the result JSON; the caller sets backgrounds and text."""

"""Plotly figures as pure functions of the result JSON; backgrounds and text are left to whoever shows them."""

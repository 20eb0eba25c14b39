"""What ``recallrate app`` serves: the app behind its door. ``app.py`` of the repository serves the same."""

from streamlit.starlette import App

from toolkit.ui.serving import SCRIPT, serving

app = App(SCRIPT, **serving())

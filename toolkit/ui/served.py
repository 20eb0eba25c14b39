"""Script served by ``recallrate app``: the app behind its gateway. ``app.py`` of the repository does the same."""

from streamlit.starlette import App

from toolkit.ui.serving import SCRIPT, serving

app = App(SCRIPT, **serving())

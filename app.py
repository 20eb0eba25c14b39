"""``streamlit run app.py``: the app. Everything is in :mod:`toolkit.ui`."""

from toolkit.ui.shell import main

main()

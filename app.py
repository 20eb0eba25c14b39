"""``streamlit run app.py [-- --root FOLDER]``: the app. Everything is in :mod:`toolkit.ui`."""

from toolkit.ui.shell import main

main()

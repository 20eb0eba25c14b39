"""``streamlit run app.py [-- --root FOLDER]``: the app behind its door. Everything is in :mod:`toolkit.ui`."""

from streamlit.starlette import App

from toolkit.ui.serving import SCRIPT, serving

if __name__ == "__main__":  # run by Streamlit itself, where there is no server to put a door before
    from toolkit.ui.shell import main

    main()
else:
    app = App(SCRIPT, **serving())

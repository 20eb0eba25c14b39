"""What Streamlit runs at every change. It shows every string that stands alone in this file, so none does."""

from toolkit.ui.shell import main

main()

"""The script that Streamlit runs at every change. It would display any bare string below this one."""

from toolkit.ui.shell import main

main()

"""The gateway before Streamlit: allowed hosts, login, and the requests that it passes on."""

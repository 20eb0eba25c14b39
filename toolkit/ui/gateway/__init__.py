"""What stands before Streamlit: allowed hosts, the login, and what is let through after it."""

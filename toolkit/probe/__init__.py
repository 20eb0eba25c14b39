"""What each codec setting costs and keeps, measured on the user's own images."""

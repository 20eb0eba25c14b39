"""The app: shows what the lower rooms compute and starts their runs in the background. Never imports torch."""

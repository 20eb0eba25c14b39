"""Errors, files, progress, threads and byte sizes, used by every room. Imports no other room."""

"""What every room stands on: errors, files, progress, threads and byte sizes. Imports no other room."""

"""What goes into production: the memory with everything that is needed to go on with it, in one folder."""

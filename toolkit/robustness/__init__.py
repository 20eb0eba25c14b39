"""How well a network withstands attacks, with the JPEG layer in front and without; the attacks are foolbox's."""

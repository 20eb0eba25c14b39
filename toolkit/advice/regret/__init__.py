"""How far rules were off where pilots measured every choice, and how much of that is seed noise."""

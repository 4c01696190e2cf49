"""How fast the routes are, each against what one would write or take instead."""

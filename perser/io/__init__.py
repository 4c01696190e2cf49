"""Files: written so that they are complete or absent, checked against damage, and models found by name."""

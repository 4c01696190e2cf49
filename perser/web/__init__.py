"""What the page of `perser demo` and the server of `perser serve` share: limits, models, and who may ask."""

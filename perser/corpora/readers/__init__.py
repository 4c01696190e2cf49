"""One file per corpus (or two small ones alike): reads the published layout, untouched, into a `Listing`."""

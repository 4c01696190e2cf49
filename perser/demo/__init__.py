"""The web page on which a person labels a few clips and sees what that changes."""

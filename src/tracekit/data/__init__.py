"""Small data files that ship with the package; each says on top what it is and how it was made."""

"""Side-by-side measurements (`make bench`): each compares two ways in one run, in alternating rounds."""

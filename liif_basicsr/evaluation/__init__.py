"""Tables and figures: what is compared, on what, what was measured, and the numbers of the paper beside."""

"""The datasets: where images come from, and what is drawn from them."""
import basicsr  # noqa: F401  (first and whole: importing it registers what is in this folder)

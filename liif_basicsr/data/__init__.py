"""The datasets: where images come from, and which samples are drawn from them."""
import basicsr  # noqa: F401  (imported first and completely: importing basicsr registers the datasets here)

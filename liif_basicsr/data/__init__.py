"""The datasets: where pictures come from, and what is drawn from them."""

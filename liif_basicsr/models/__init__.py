"""The model class that BasicSR trains and validates."""
import basicsr  # noqa: F401  (first and whole: importing it registers what is in this folder)

"""The model class that BasicSR trains and validates."""

"""What holds of every case: exhaustive search over a finite abstraction of the orders."""

"""What is the night shift worth? The watch, three simple controllers and an all-knowing one on the
same simulated cluster, over the same faults. `watchkeeper eval remediation` asks."""

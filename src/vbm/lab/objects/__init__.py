"""The managed objects of the lab, one file per type; ``registry`` finds them by reference."""

"""What lies between two points? Passes, curves of low loss, trees of minima."""

"""How do optimisers move? Many runs of torch's own classes, and the laws beside them."""

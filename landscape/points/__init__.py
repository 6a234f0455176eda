"""What is this point? Search, verdict, checks and the report of all of them."""

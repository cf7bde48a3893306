"""Many runs of the pipeline with chosen parameters, and the table that compares them."""

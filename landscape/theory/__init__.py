"""What mathematics expects of landscapes and of optimisers on them: closed forms and sampled laws, no landscape in sight."""

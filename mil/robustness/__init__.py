"""What trained models make of damaged test patients: patches left out, pixels changed."""

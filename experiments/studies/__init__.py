"""What is asked of finished runs: tables as the papers have them."""

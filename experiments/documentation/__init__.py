"""What the documentation has from the code: pages that are generated, and files that pages point to."""
